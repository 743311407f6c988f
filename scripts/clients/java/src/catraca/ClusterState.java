package catraca;

/**
 * A node's part in its cluster. Numbers are unsigned; ids are hexadecimal.
 *
 * @param silenceMs since the other node was last heard, milliseconds; -1 where it never was
 */
public record ClusterState(boolean primary, Durability durability, boolean inSync, boolean connected, int epoch, String nodeId,
        String clusterId, String peerNodeId, long behindRecords, long behindBytes, long silenceMs, String primaryAddress,
        String peerAddress) {}
