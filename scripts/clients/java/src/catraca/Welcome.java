package catraca;

/**
 * What the server said of itself. Numbers are unsigned; ids are hexadecimal.
 *
 * @param primary this node decides
 * @param maxFrame the largest request that the server takes, bytes
 * @param inFlight unanswered frames that the connection may have, at least 1
 * @param primaryAddress where the primary is; empty where the node does not know, or is it
 */
public record Welcome(boolean primary, Durability durability, int epoch, String nodeId, String clusterId, int shards,
        long maxFrame, long inFlight, String primaryAddress) {}
