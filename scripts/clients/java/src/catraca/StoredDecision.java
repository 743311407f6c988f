package catraca;

/**
 * A stored decision with its transaction, documents in full: personal data. Numbers are unsigned; bytes are hexadecimal.
 *
 * @param reason why it was decided so; a reason that this client does not know is its number
 * @param decidedAtNs the server's clock at the decision, nanoseconds since 1970 UTC
 * @param institution whose transaction it is
 * @param submitter the client that sent it
 * @param listDay in days since 1970-01-01; 0 unknown
 */
public record StoredDecision(Verdict verdict, String reason, int flags, int score, int payerSource, int payeeSource,
        int policyVersion, long lsn, long decidedAtNs, long snapshotId, long overlaySequence, long matchedRules, int listDay,
        long listSequence, int institution, String submitter, int shard, int epoch, int segment, int blockOffset, String chain, Transaction transaction,
        String extension) {

    /** Shows the transaction masked. */
    @Override
    public String toString() {
        return verdict + " of " + transaction + ", record " + Long.toUnsignedString(lsn) + " of stream " + shard;
    }
}
