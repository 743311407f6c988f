package catraca;

/** Whether the server has a decision on a transaction that was refused or not answered. */
public enum Recorded {
    /** This sending recorded nothing, and no earlier one of this call can have. */
    NO,
    /** Send the same transaction again to learn which decision stands. */
    PERHAPS,
    /** There is a decision; the same transaction, sent again, gets it. */
    YES
}
