package catraca;

import java.net.InetAddress;
import java.time.Duration;
import java.time.Instant;

/**
 * A payment to decide on. Keep it to send it again: with another event time it would be another one. Hashes are keyed hashes of
 * the caller's, unsigned; 0 or zeros is unknown.
 *
 * @param id 1 to 32 printable ASCII characters without spaces
 * @param payer CPF or CNPJ, with or without mask; so is payee
 * @param eventTimeNs when it happened, nanoseconds since 1970 UTC
 * @param budget time for the answer, at most 2 s, from the call on; zero means 2 s
 * @param pixKey 16 bytes
 * @param ip where it came from; null where that is unknown
 * @param payerIspb 8 ASCII letters or digits, or empty; so is payeeIspb
 * @param traceId W3C trace id, 16 bytes; no part of what makes two transactions the same
 */
public record Transaction(String id, String payer, String payee, long amountCentavos, long eventTimeNs, Duration budget,
        Rail rail, Channel channel, int flags, long payerAccount, long payeeAccount, byte[] pixKey, long device,
        InetAddress ip, String payerIspb, String payeeIspb, byte[] traceId) {
    /** The longest budget, and what zero means. */
    public static final Duration MAX_BUDGET = Duration.ofSeconds(2);

    public Transaction {
        pixKey = pixKey.clone();
        traceId = traceId.clone();
    }

    /** The bytes of the Pix key's hash; a copy. */
    @Override
    public byte[] pixKey() {
        return pixKey.clone();
    }

    /** The bytes of the trace id; a copy. */
    @Override
    public byte[] traceId() {
        return traceId.clone();
    }

    /** A payment by Pix that happens now; the builder has the rest. */
    public static Builder builder(String id, String payer, String payee, long amountCentavos) {
        return new Builder(id, payer, payee, amountCentavos);
    }

    /** Masks documents, and shows no account or device. */
    @Override
    public String toString() {
        return "transaction " + id + " of " + amountCentavos + " centavos from " + Document.maskedText(payer) + " to "
                + Document.maskedText(payee);
    }

    /** Puts a transaction together; what is not set is unknown. */
    public static final class Builder {
        private final String id;
        private final String payer;
        private final String payee;
        private final long amountCentavos;
        private long eventTimeNs;
        private Duration budget = Duration.ZERO;
        private Rail rail = Rail.PIX;
        private Channel channel = Channel.OTHER;
        private int flags;
        private long payerAccount;
        private long payeeAccount;
        private byte[] pixKey = new byte[16];
        private long device;
        private InetAddress ip;
        private String payerIspb = "";
        private String payeeIspb = "";
        private byte[] traceId = new byte[16];

        private Builder(String id, String payer, String payee, long amountCentavos) {
            this.id = id;
            this.payer = payer;
            this.payee = payee;
            this.amountCentavos = amountCentavos;
            Instant now = Instant.now();
            this.eventTimeNs = now.getEpochSecond() * 1_000_000_000L + now.getNano();
        }

        /** When it happened, nanoseconds since 1970 UTC. */
        public Builder eventTimeNs(long ns) {
            eventTimeNs = ns;
            return this;
        }

        /** Time for the answer, at most 2 s. */
        public Builder budget(Duration time) {
            budget = time;
            return this;
        }

        public Builder rail(Rail of) {
            rail = of;
            return this;
        }

        public Builder channel(Channel of) {
            channel = of;
            return this;
        }

        /** Bits for the policy, 0 to 65,535. */
        public Builder flags(int bits) {
            flags = bits;
            return this;
        }

        /** Keyed hashes of both accounts. */
        public Builder accounts(long ofPayer, long ofPayee) {
            payerAccount = ofPayer;
            payeeAccount = ofPayee;
            return this;
        }

        /** Keyed hash of the Pix key, 16 bytes. */
        public Builder pixKey(byte[] hash) {
            pixKey = hash.clone();
            return this;
        }

        /** Keyed hash of the device. */
        public Builder device(long hash) {
            device = hash;
            return this;
        }

        /** Where it came from; null where that is unknown. */
        public Builder ip(InetAddress address) {
            ip = address;
            return this;
        }

        /** ISPB of both institutions. */
        public Builder ispbs(String ofPayer, String ofPayee) {
            payerIspb = ofPayer;
            payeeIspb = ofPayee;
            return this;
        }

        /** W3C trace id, 16 bytes. */
        public Builder traceId(byte[] id) {
            traceId = id.clone();
            return this;
        }

        public Transaction build() {
            return new Transaction(id, payer, payee, amountCentavos, eventTimeNs, budget, rail, channel, flags, payerAccount,
                    payeeAccount, pixKey, device, ip, payerIspb, payeeIspb, traceId);
        }
    }
}
