package catraca;

import java.time.Duration;

/** Whatever fails in this package. None of these is ever an approval. */
public abstract sealed class CatracaException extends RuntimeException {
    private static final long serialVersionUID = 1;

    private final Recorded recorded;

    private CatracaException(String message, Recorded recorded) {
        super(message);
        this.recorded = recorded;
    }

    /** Whether there may be a decision all the same. */
    public Recorded recorded() {
        return recorded;
    }

    /** A text is no CPF or CNPJ. Nothing was sent. */
    public static final class WrongDocument extends CatracaException {
        private static final long serialVersionUID = 1;
        /** One of length, character, check_digit, repeated_digit, masked. */
        public final String reason;

        WrongDocument(String reason) {
            super(switch (reason) {
                case "length" -> "a document has 11 (CPF) or 14 (CNPJ) characters";
                case "character" -> "a character that a document can't have in that place";
                case "check_digit" -> "the check digits are wrong";
                case "repeated_digit" -> "one digit repeated throughout is no document";
                default -> "the document is masked";
            }, Recorded.NO);
            this.reason = reason;
        }
    }

    /** A field or option has a value that it can't have. Nothing was sent. */
    public static final class WrongField extends CatracaException {
        private static final long serialVersionUID = 1;

        WrongField(String message) {
            super(message, Recorded.NO);
        }
    }

    /** No node took the request. It was never sent. */
    public static final class NotSent extends CatracaException {
        private static final long serialVersionUID = 1;
        /** Nodes were reached, and none of them decides. */
        public final boolean noPrimary;

        NotSent(String message, boolean noPrimary) {
            super(message, Recorded.NO);
            this.noPrimary = noPrimary;
        }
    }

    /** The request was sent and got no answer in time. Send the same transaction again. */
    public static final class NoAnswer extends CatracaException {
        private static final long serialVersionUID = 1;

        NoAnswer(String why) {
            super("no answer: " + why + "; it may have been done, so send it again as it was", Recorded.PERHAPS);
        }
    }

    /** The server sent what it must not send. */
    public static final class BrokenProtocol extends CatracaException {
        private static final long serialVersionUID = 1;

        BrokenProtocol(String what) {
            super("the server broke the protocol: " + what, Recorded.PERHAPS);
        }
    }

    /** The server's ERROR. */
    public static final class Refused extends CatracaException {
        private static final long serialVersionUID = 1;
        public final ErrorCode code;
        /** When to try again; zero where that makes no sense, or at once will do. */
        public final Duration retryAfter;
        /** A sentence for a person. */
        public final String detail;
        /** The server closes the connection after it. */
        public final boolean closing;

        Refused(ErrorCode code, Duration retryAfter, String detail, boolean closing, boolean sentBefore) {
            super(code + ": " + detail.replaceAll("\\p{Cntrl}", " ")
                    + (retryAfter.isZero() ? "" : " (try again after " + retryAfter.toMillis() + " ms)"),
                    recorded(code, sentBefore));
            this.code = code;
            this.retryAfter = retryAfter;
            this.detail = detail;
            this.closing = closing;
        }

        /** The same where an earlier sending got no answer: whatever this one recorded, that one may have. */
        Refused afterDoubt() {
            return new Refused(code, retryAfter, detail, closing, true);
        }

        /** BAD_FIELD is perhaps: its time may lie before what the server remembers. */
        private static Recorded recorded(ErrorCode code, boolean sentBefore) {
            if (code == ErrorCode.LATE) {
                return Recorded.YES;
            }
            boolean perhaps = sentBefore || code == ErrorCode.UNCONFIRMED || code == ErrorCode.BAD_FIELD;
            return perhaps ? Recorded.PERHAPS : Recorded.NO;
        }

        /** Another attempt to connect can't change it. */
        boolean isFinal() {
            return code == ErrorCode.UNAUTHENTICATED || code == ErrorCode.UNSUPPORTED_VERSION || code == ErrorCode.BAD_FRAME;
        }
    }
}
