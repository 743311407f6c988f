package catraca;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.time.Duration;

/** Requests as bytes (wire/PROTOCOL.md, Layouts). */
final class Requests {
    static final int HEADER_LEN = 16;
    static final int VERSION = 1;
    static final int HELLO = 1;
    static final int SUBMIT = 3;
    static final int LOOKUP = 5;
    static final int PING = 11;
    static final int CLUSTER = 14;
    static final int AUTH = 26;
    static final int HELLO_LEN = 128;
    /** SUBMIT's body: the transaction, and four reserved bytes. */
    static final int SUBMIT_LEN = 176;
    private static final int BUDGET_AT = 76;
    /** The longest credential within HELLO; a longer one comes in AUTH frames behind it, with this flag. */
    private static final int MAX_CREDENTIAL_LEN = 64;
    private static final short FLAG_AUTH = 1;
    private static final int MAX_TOKEN_LEN = 8192;
    private static final int PART_LEN = 488;

    private Requests() {}

    static byte[] frame(int kind, long correlation, byte[] body) {
        ByteBuffer raw = buffer(HEADER_LEN + body.length);
        raw.putInt(HEADER_LEN + body.length).put((byte) kind).put((byte) VERSION).putShort((short) 0).putLong(correlation);
        return raw.put(body).array();
    }

    /** What a connection begins with: HELLO, and behind it a credential that it has no room for. */
    static byte[] greeting(String credential, String name, long inFlight, long correlation) {
        byte[] token = credential.getBytes(StandardCharsets.UTF_8);
        byte[] program = name.getBytes(StandardCharsets.UTF_8);
        if (token.length > MAX_TOKEN_LEN || program.length > 40) {
            throw new CatracaException.WrongField("a credential has at most 8192 bytes, a client's name at most 40");
        }
        boolean follows = token.length > MAX_CREDENTIAL_LEN;
        byte[] shown = follows ? new byte[0] : token;
        ByteBuffer body = buffer(HELLO_LEN - HEADER_LEN).put((byte) VERSION).put((byte) VERSION);
        body.put((byte) shown.length).put((byte) program.length).putInt((int) inFlight);
        byte[] hello = frame(HELLO, correlation, body.put(shown).position(72).put(program).array());
        if (!follows) {
            return hello;
        }
        buffer(hello).putShort(6, FLAG_AUTH);
        byte[] parts = tokenFrames(token, correlation);
        return buffer(hello.length + parts.length).put(hello).put(parts).array();
    }

    /** A token in AUTH frames, of which the last one is answered. */
    static byte[] tokenFrames(byte[] token, long correlation) {
        int parts = (token.length + PART_LEN - 1) / PART_LEN;
        ByteBuffer frames = buffer(parts * (HEADER_LEN + 8 + PART_LEN));
        for (int at = 0; at < token.length; at += PART_LEN) {
            ByteBuffer body = buffer(8 + PART_LEN).putShort((short) token.length).putShort((short) at).position(8);
            frames.put(frame(AUTH, correlation, body.put(token, at, Math.min(PART_LEN, token.length - at)).array()));
        }
        return frames.array();
    }

    /** A token as bytes, or an exception for what can be none. */
    static byte[] token(String text) {
        byte[] token = text.getBytes(StandardCharsets.UTF_8);
        check(token.length >= 1 && token.length <= MAX_TOKEN_LEN, "a token has 1 to 8192 bytes");
        return token;
    }

    /** SUBMIT's body, or an exception for what the server would refuse. */
    static byte[] submit(Transaction t) {
        String payer = Document.canonical(t.payer());
        String payee = Document.canonical(t.payee());
        check(isId(t.id()), "an id is 1 to 32 printable ASCII characters without spaces");
        check(t.amountCentavos() >= 1, "an amount is at least 1 centavo");
        Duration budget = t.budget();
        check(!budget.isNegative() && budget.compareTo(Transaction.MAX_BUDGET) <= 0 && (budget.isZero() || micros(budget) > 0),
                "a budget is 1 microsecond to 2 s, or zero");
        check(t.flags() >= 0 && t.flags() <= 0xffff, "flags have 16 bits");
        byte[] pixKey = t.pixKey();
        byte[] traceId = t.traceId();
        check(pixKey.length == 16 && traceId.length == 16, "a Pix key's hash and a trace id have 16 bytes");
        check(isIspb(t.payerIspb()) && isIspb(t.payeeIspb()), "an ISPB is 8 ASCII letters or digits, or empty");
        ByteBuffer body = buffer(SUBMIT_LEN);
        body.put(ascii(t.id())).position(32).put(ascii(payer)).position(46).put(ascii(payee)).position(60);
        body.putLong(t.amountCentavos()).putLong(t.eventTimeNs()).putInt((int) micros(budget));
        body.put((byte) t.rail().code()).put((byte) t.channel().code()).putShort((short) t.flags());
        body.putLong(t.payerAccount()).putLong(t.payeeAccount()).put(pixKey).putLong(t.device());
        if (t.ip() != null) {
            byte[] address = t.ip().getAddress();
            if (address.length == 4) {
                body.position(134).put((byte) 0xff).put((byte) 0xff);
            }
            body.put(address);
        }
        body.position(140).put(ascii(t.payerIspb())).position(148).put(ascii(t.payeeIspb())).position(156);
        return body.put(traceId).array();
    }

    /** The same with another budget, which is no part of what makes two transactions the same. */
    static byte[] withBudget(byte[] submit, long budgetUs) {
        byte[] changed = submit.clone();
        buffer(changed).putInt(BUDGET_AT, (int) budgetUs);
        return changed;
    }

    static byte[] lookup(String id, String payer) {
        check(isId(id), "an id is 1 to 32 printable ASCII characters without spaces");
        ByteBuffer body = buffer(48).put(ascii(id)).position(32);
        return (payer.isEmpty() ? body : body.put(ascii(Document.canonical(payer)))).array();
    }

    /** CLUSTER's body that changes nothing. */
    static byte[] describe() {
        return new byte[] {1, 0, 0, 0, 0, 0, 0, 0};
    }

    static long micros(Duration time) {
        return time.toNanos() / 1_000;
    }

    static ByteBuffer buffer(int length) {
        return ByteBuffer.allocate(length).order(ByteOrder.LITTLE_ENDIAN);
    }

    static ByteBuffer buffer(byte[] raw) {
        return ByteBuffer.wrap(raw).order(ByteOrder.LITTLE_ENDIAN);
    }

    private static byte[] ascii(String text) {
        return text.getBytes(StandardCharsets.US_ASCII);
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new CatracaException.WrongField(what);
        }
    }

    private static boolean isId(String id) {
        return !id.isEmpty() && id.length() <= 32 && id.chars().allMatch(c -> c >= 0x21 && c <= 0x7e);
    }

    private static boolean isIspb(String ispb) {
        return ispb.isEmpty() || ispb.matches("[0-9A-Za-z]{8}");
    }
}
