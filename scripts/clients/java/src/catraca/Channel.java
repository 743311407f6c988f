package catraca;

/** Where a transaction was started. */
public enum Channel {
    OTHER, APP, WEB, API, BRANCH, ATM;

    /** The code on the wire. */
    public int code() {
        return ordinal();
    }

    static Channel of(int code) {
        if (code < 0 || code >= values().length) {
            throw new CatracaException.BrokenProtocol("a channel that there is not");
        }
        return values()[code];
    }
}
