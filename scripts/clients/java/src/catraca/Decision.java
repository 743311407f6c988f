package catraca;

/**
 * What was decided. Numbers of 64 bits are unsigned ({@link Long#toUnsignedString}).
 *
 * @param duplicate decided before; this is that decision
 * @param degraded decided without an answer that the policy asked for
 * @param shadowDisagrees with the rules in shadow the verdict would be another one
 * @param score 0 to 1000
 * @param matchedRules one bit for each rule that matched
 * @param shard the stream that holds the record
 * @param epoch the epoch of the record, unsigned
 * @param lsn the record's number in the stream
 * @param receipt proves later that the record was not altered
 * @param reason the first thing that settled the verdict; one that this client does not know is its number
 */
public record Decision(Verdict verdict, boolean duplicate, boolean degraded, boolean shadowDisagrees, int score,
        int policyVersion, long blacklistVersion, long matchedRules, int shard, int epoch, long lsn, long receipt,
        String reason) {}
