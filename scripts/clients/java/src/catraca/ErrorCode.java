package catraca;

/** Why the server refused; PROTOCOL.md says for each what to do next. */
public enum ErrorCode {
    BAD_FRAME, BAD_DOCUMENT, BAD_FIELD, UNSUPPORTED_VERSION, UNAUTHENTICATED, FORBIDDEN, NOT_PRIMARY, OVERLOADED, DEADLINE,
    UNCONFIRMED, ID_REUSED, RATE_LIMITED, DISK_FULL, SHUTTING_DOWN, NOT_FOUND, FAILED, LATE;

    /** The code on the wire. */
    public int code() {
        return ordinal() + 1;
    }

    static ErrorCode of(int code) {
        if (code < 1 || code > values().length) {
            throw new CatracaException.BrokenProtocol("an ERROR with a code that there is not");
        }
        return values()[code - 1];
    }
}
