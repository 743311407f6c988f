package catraca;

/** Payment arrangement. */
public enum Rail {
    OTHER, PIX, TED, BOLETO, CARD;

    /** The code on the wire. */
    public int code() {
        return ordinal();
    }

    static Rail of(int code) {
        if (code < 0 || code >= values().length) {
            throw new CatracaException.BrokenProtocol("a rail that there is not");
        }
        return values()[code];
    }
}
