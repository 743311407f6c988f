package catraca;

import java.nio.file.Path;
import java.time.Duration;
import java.util.HashSet;
import java.util.List;

/** Where to connect, who the client is, and how long it waits. Begin with {@link #of}, and change what differs. */
public final class Options {
    final List<String> addresses;
    boolean anyRole;
    boolean lazy;
    String credential = "";
    String name = "";
    /** Null where everything is sent in clear. */
    Tls tls;
    int inFlight;
    long connectTimeoutNs = Duration.ofSeconds(2).toNanos();
    long answerTimeoutNs = Duration.ofMillis(2_500).toNanos();
    long reconnectBaseNs = Duration.ofMillis(50).toNanos();
    long reconnectMaxNs = Duration.ofSeconds(2).toNanos();
    // How soon another primary is looked for, of the protocol; tests are less patient. A node that owes something is silent for
    // half a second: far above the pauses of a healthy disk, and a quarter of the longest budget.
    long silenceNs = Duration.ofMillis(500).toNanos();
    long lookEveryNs = Duration.ofSeconds(1).toNanos();
    long lookTimeNs = Duration.ofMillis(500).toNanos();

    private Options(List<String> addresses) {
        this.addresses = addresses;
    }

    /** host:port of each node, in order of preference. */
    public static Options of(String... addresses) {
        check(addresses.length > 0, "give an address");
        for (String address : addresses) {
            check(Route.isAddress(address), "'" + address + "' is no host:port");
        }
        check(new HashSet<>(List.of(addresses)).size() == addresses.length, "an address is given twice");
        return new Options(List.of(addresses));
    }

    /**
     * Stays with the first node that answers, a standby too, which is enough to look up. Without it the client leaves a standby
     * for the node that decides, and follows when another one becomes it.
     */
    public Options anyRole() {
        anyRole = true;
        return this;
    }

    /** Leaves connecting to the first request, which waits for a primary as long as for its answer. */
    public Options lazy() {
        lazy = true;
        return this;
    }

    /**
     * The token that the operator gave, or an access token of an issuer, of which {@link Client#renew} takes a newer one: at most
     * 8192 bytes of UTF-8.
     */
    public Options credential(String token) {
        credential = token;
        return this;
    }

    /**
     * Speaks TLS 1.3 to the nodes' port for it (listen_tls). Their certificates must be of an
     * authority in this PEM file, and of the host that the address names.
     */
    public Options tls(Path caFile) {
        tls = Tls.of(caFile, null, null);
        return this;
    }

    /**
     * As {@link #tls(Path)}, and shows this certificate, of a PEM file as well; its key is PKCS#8
     * without a password.
     */
    public Options tls(Path caFile, Path certificateFile, Path keyFile) {
        tls = Tls.of(caFile, certificateFile, keyFile);
        return this;
    }

    /** The name of this program, at most 40 bytes of UTF-8. */
    public Options name(String program) {
        name = program;
        return this;
    }

    /** How many frames may be unanswered, at most {@link Client#MAX_IN_FLIGHT}; 0 leaves it to the server. */
    public Options inFlight(int frames) {
        check(frames >= 0 && frames <= Client.MAX_IN_FLIGHT, "too many frames would be unanswered");
        inFlight = frames;
        return this;
    }

    /** Time for one address and its WELCOME. */
    public Options connectTimeout(Duration time) {
        connectTimeoutNs = checked(time);
        return this;
    }

    /** The longest wait for an answer, reconnects included; a transaction's budget and half a second where that is less. */
    public Options answerTimeout(Duration time) {
        answerTimeoutNs = checked(time);
        return this;
    }

    /** Pauses between rounds of attempts: the first one, which doubles, and the longest. */
    public Options reconnect(Duration base, Duration longest) {
        reconnectBaseNs = checked(base);
        reconnectMaxNs = checked(longest);
        return this;
    }

    /** Without the credential. */
    @Override
    public String toString() {
        return "catraca at " + addresses + " as '" + name + "'";
    }

    private static long checked(Duration time) {
        boolean sound = !time.isNegative() && !time.isZero() && time.compareTo(Duration.ofHours(1)) <= 0;
        check(sound, "a time is above 0, and an hour at most");
        return time.toNanos();
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new CatracaException.WrongField(what);
        }
    }
}
