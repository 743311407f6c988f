package catraca;

import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.HexFormat;

/** Replies from bytes; nothing of them is taken on trust (wire/PROTOCOL.md, Layouts). */
final class Replies {
    private static final int WELCOME = 2;
    private static final int VERDICT = 4;
    private static final int RECORD = 6;
    private static final int PONG = 12;
    private static final int ERROR = 13;
    private static final int CLUSTER_STATE = 15;
    private static final int AUTH_STATE = 27;
    /** The longest reply of the kinds that this client asks for: a RECORD with the longest extension. */
    private static final int MAX_RECORD_LEN = 320 + 4096;
    private static final String[] REASONS = {"clear", "payer_listed", "payee_listed", "both_listed", "allowed", "rule", "score"};

    private Replies() {}

    /** A reply: a Welcome, Decision, StoredDecision, ClusterState, AuthState, Refused, or a Long, the server's clock. */
    record Reply(long correlation, Object answer) {}

    /** A token counts until then, nanoseconds since 1970 UTC; 0 for no end. */
    record AuthState(long expiresAtNs) {}

    /** The length of the reply that begins with this header. */
    static int length(byte[] header) {
        int length = Requests.buffer(header).getInt(0);
        int low = switch (header[4]) {
            case WELCOME -> 128;
            case VERDICT -> 64;
            case RECORD -> 320;
            case PONG -> 24;
            case ERROR -> 152;
            case CLUSTER_STATE -> 256;
            case AUTH_STATE -> 32;
            default -> Integer.MAX_VALUE;
        };
        int high = header[4] == RECORD ? MAX_RECORD_LEN : low;
        if (header[5] != Requests.VERSION || length < low || length > high) {
            throw new CatracaException.BrokenProtocol("a frame of a kind, version or length that it can't have");
        }
        return length;
    }

    static Reply decode(byte[] raw) {
        if (length(raw) != raw.length) {
            throw new CatracaException.BrokenProtocol("a frame is not as long as it says");
        }
        ByteBuffer body = Requests.buffer(Arrays.copyOfRange(raw, Requests.HEADER_LEN, raw.length));
        Object answer = switch (raw[4]) {
            case WELCOME -> welcome(body);
            case VERDICT -> decision(body);
            case RECORD -> stored(body);
            case PONG -> body.getLong(0);
            case CLUSTER_STATE -> clusterState(body);
            case AUTH_STATE -> new AuthState(body.getLong(0));
            default -> error(body, (raw[6] & 1) == 1);
        };
        return new Reply(Requests.buffer(raw).getLong(8), answer);
    }

    private static Welcome welcome(ByteBuffer b) {
        Welcome welcome = new Welcome(isPrimary(b.get(1)), Durability.of(b.get(2)), b.getInt(4), hex(b, 8, 16), hex(b, 24, 16),
                Short.toUnsignedInt(b.getShort(40)), Integer.toUnsignedLong(b.getInt(44)), Integer.toUnsignedLong(b.getInt(48)),
                address(b, 52));
        check(b.get(0) == Requests.VERSION && welcome.shards() > 0 && welcome.inFlight() > 0
                && welcome.maxFrame() >= Requests.HEADER_LEN + Requests.SUBMIT_LEN);
        return welcome;
    }

    private static Decision decision(ByteBuffer b) {
        int flags = b.get(1);
        return new Decision(Verdict.of(Byte.toUnsignedInt(b.get(0))), (flags & 1) != 0, (flags & 2) != 0, (flags & 4) != 0,
                score(b.getShort(2)), b.getInt(4), b.getLong(8), b.getLong(16), Short.toUnsignedInt(b.getShort(24)), b.getInt(26),
                b.getLong(30), b.getLong(38), reason(b.get(46)));
    }

    private static String reason(byte code) {
        int reason = Byte.toUnsignedInt(code);
        return reason < REASONS.length ? REASONS[reason] : Integer.toString(reason);
    }

    private static StoredDecision stored(ByteBuffer b) {
        int at = 48;
        int extensionLen = b.capacity() - 304;
        check(b.get(at) == 1 && b.get(at + 1) == 1 && Short.toUnsignedInt(b.getShort(6)) == extensionLen
                && Short.toUnsignedInt(b.getShort(at + 2)) == extensionLen);
        return new StoredDecision(Verdict.of(Byte.toUnsignedInt(b.get(at + 4))),
                reason(b.get(at + 8)), Byte.toUnsignedInt(b.get(at + 5)),
                score(b.getShort(at + 6)), Byte.toUnsignedInt(b.get(at + 9)), Byte.toUnsignedInt(b.get(at + 10)),
                b.getInt(at + 12), b.getLong(at + 16), b.getLong(at + 24), b.getLong(at + 32), b.getLong(at + 40),
                b.getLong(at + 48), Short.toUnsignedInt(b.getShort(at + 56)), b.getLong(at + 58),
                Short.toUnsignedInt(b.getShort(at + 66)), text(b, at + 68, 16),
                Short.toUnsignedInt(b.getShort(4)), b.getInt(0), b.getInt(8), b.getInt(12), hex(b, 16, 32),
                transaction(b, at + 84), hex(b, 304, extensionLen));
    }

    private static Transaction transaction(ByteBuffer b, int at) {
        return new Transaction(text(b, at, 32), text(b, at + 32, 14), text(b, at + 46, 14), b.getLong(at + 60),
                b.getLong(at + 68), Duration.ofNanos(Integer.toUnsignedLong(b.getInt(at + 76)) * 1_000), Rail.of(b.get(at + 80)),
                Channel.of(b.get(at + 81)), Short.toUnsignedInt(b.getShort(at + 82)), b.getLong(at + 84), b.getLong(at + 92),
                bytes(b, at + 100, 16), b.getLong(at + 116), ip(bytes(b, at + 124, 16)), text(b, at + 140, 8),
                text(b, at + 148, 8), bytes(b, at + 156, 16));
    }

    private static ClusterState clusterState(ByteBuffer b) {
        check((b.get(2) & ~1) == 0 && (b.get(3) & ~1) == 0);
        return new ClusterState(isPrimary(b.get(0)), Durability.of(b.get(1)), b.get(2) == 1, b.get(3) == 1, b.getInt(4),
                hex(b, 8, 16), hex(b, 24, 16), hex(b, 40, 16), b.getLong(56), b.getLong(64), b.getLong(72), address(b, 80),
                address(b, 128));
    }

    private static CatracaException.Refused error(ByteBuffer b, boolean closing) {
        int detailLen = Short.toUnsignedInt(b.getShort(2));
        check(detailLen <= 128);
        Duration retryAfter = Duration.ofMillis(Integer.toUnsignedLong(b.getInt(4)));
        ErrorCode code = ErrorCode.of(Short.toUnsignedInt(b.getShort(0)));
        return new CatracaException.Refused(code, retryAfter, text(b, 8, detailLen), closing, false);
    }

    private static boolean isPrimary(byte role) {
        check(role == 1 || role == 2);
        return role == 1;
    }

    private static int score(short score) {
        check(score >= 0 && score <= 1000);
        return score;
    }

    private static void check(boolean holds) {
        if (!holds) {
            throw new CatracaException.BrokenProtocol("a frame with a value that it can't have");
        }
    }

    private static byte[] bytes(ByteBuffer b, int at, int length) {
        return Arrays.copyOfRange(b.array(), at, at + length);
    }

    private static String hex(ByteBuffer b, int at, int length) {
        return HexFormat.of().formatHex(b.array(), at, at + length);
    }

    private static String text(ByteBuffer b, int at, int length) {
        int end = at + length;
        while (end > at && b.get(end - 1) == 0) {
            end--;
        }
        return new String(b.array(), at, end - at, StandardCharsets.UTF_8);
    }

    /** An address that a server names, which is printed and connected to: anything but printable ASCII and a port is none. */
    private static String address(ByteBuffer b, int at) {
        String named = text(b, at, 48);
        return named.chars().allMatch(c -> c >= '!' && c <= '~') && Route.isAddress(named) ? named : "";
    }

    private static InetAddress ip(byte[] address) {
        try {
            return Arrays.equals(address, new byte[16]) ? null : InetAddress.getByAddress(address);
        } catch (UnknownHostException never) {
            throw new IllegalStateException("16 bytes are an address", never);
        }
    }
}
