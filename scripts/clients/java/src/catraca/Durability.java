package catraca;

/** Where an answered decision is safe. A server that sends another code is left. */
public enum Durability {
    SINGLE, SYNC, SOLO;

    /** The code on the wire. */
    public int code() {
        return ordinal() + 1;
    }

    static Durability of(int code) {
        if (code < 1 || code > values().length) {
            throw new CatracaException.BrokenProtocol("a durability that there is not");
        }
        return values()[code - 1];
    }
}
