package catraca;

/** What was decided. A server that sends another code is left. */
public enum Verdict {
    APPROVE, REVIEW, DENY;

    /** The code on the wire. */
    public int code() {
        return ordinal() + 1;
    }

    static Verdict of(int code) {
        if (code < 1 || code > values().length) {
            throw new CatracaException.BrokenProtocol("a VERDICT that there is not");
        }
        return values()[code - 1];
    }
}
