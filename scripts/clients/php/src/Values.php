<?php

// What servers say. Numbers of 64 bits are PHP's integers with the same bits: print them with sprintf('%u').

declare(strict_types=1);

namespace Catraca;

/** What was decided. A server that sends another code is left. */
enum Verdict: int
{
    case Approve = 1;
    case Review = 2;
    case Deny = 3;
}

/** Where an answered decision is safe. */
enum Durability: int
{
    case Single = 1;
    case Sync = 2;
    case Solo = 3;
}

/** Payment arrangement. */
enum Rail: int
{
    case Other = 0;
    case Pix = 1;
    case Ted = 2;
    case Boleto = 3;
    case Card = 4;
}

/** Where a transaction was started. */
enum Channel: int
{
    case Other = 0;
    case App = 1;
    case Web = 2;
    case Api = 3;
    case Branch = 4;
    case Atm = 5;
}

/** What was decided. The record lies at `lsn` of stream `shard`; `receipt` proves later that it was not altered. */
final class Decision
{
    /**
     * @param bool $duplicate decided before; this is that decision
     * @param bool $degraded decided without an answer that the policy asked for
     * @param bool $shadowDisagrees with the rules in shadow the verdict would be another one
     * @param int $score 0 to 1000
     * @param string $reason the first thing that settled it; one that this client does not know is its number
     */
    public function __construct(
        public readonly Verdict $verdict,
        public readonly bool $duplicate,
        public readonly bool $degraded,
        public readonly bool $shadowDisagrees,
        public readonly int $score,
        public readonly int $policyVersion,
        public readonly int $blacklistVersion,
        public readonly int $matchedRules,
        public readonly int $shard,
        public readonly int $epoch,
        public readonly int $lsn,
        public readonly int $receipt,
        public readonly string $reason,
    ) {
    }
}

/** What the server said of itself; ids are hexadecimal. */
final class Welcome
{
    /**
     * @param bool $primary this node decides
     * @param int $maxFrame the largest request that the server takes, bytes
     * @param int $inFlight unanswered frames that the connection may have
     * @param string $primaryAddress where the primary is; empty where the node does not know, or is it
     */
    public function __construct(
        public readonly bool $primary,
        public readonly Durability $durability,
        public readonly int $epoch,
        public readonly string $nodeId,
        public readonly string $clusterId,
        public readonly int $shards,
        public readonly int $maxFrame,
        public readonly int $inFlight,
        public readonly string $primaryAddress,
    ) {
    }
}

/** A node's part in its cluster; ids are hexadecimal. */
final class ClusterState
{
    /** @param ?int $silenceMs since the other node was last heard, milliseconds; null where it never was */
    public function __construct(
        public readonly bool $primary,
        public readonly Durability $durability,
        public readonly bool $inSync,
        public readonly bool $connected,
        public readonly int $epoch,
        public readonly string $nodeId,
        public readonly string $clusterId,
        public readonly string $peerNodeId,
        public readonly int $behindRecords,
        public readonly int $behindBytes,
        public readonly ?int $silenceMs,
        public readonly string $primaryAddress,
        public readonly string $peerAddress,
    ) {
    }
}

/** A stored decision with its transaction, documents in full: personal data. */
final class StoredDecision
{
    /**
     * @param string $reason why it was decided so; one that this client does not know is its number
     * @param int $decidedAtNs the server's clock at the decision, nanoseconds since 1970 UTC
     * @param int $institution whose transaction it is
     * @param string $submitter the client that sent it
     * @param int $listDay in days since 1970-01-01; 0 unknown
     * @param string $chain hexadecimal
     * @param string $extension bytes
     */
    public function __construct(
        public readonly Verdict $verdict,
        public readonly string $reason,
        public readonly int $flags,
        public readonly int $score,
        public readonly int $payerSource,
        public readonly int $payeeSource,
        public readonly int $policyVersion,
        public readonly int $lsn,
        public readonly int $decidedAtNs,
        public readonly int $snapshotId,
        public readonly int $overlaySequence,
        public readonly int $matchedRules,
        public readonly int $listDay,
        public readonly int $listSequence,
        public readonly int $institution,
        public readonly string $submitter,
        public readonly int $shard,
        public readonly int $epoch,
        public readonly int $segment,
        public readonly int $blockOffset,
        public readonly string $chain,
        public readonly Transaction $transaction,
        public readonly string $extension,
    ) {
    }
}

/** @internal A token counts. */
final class AuthState
{
    /** @param int $expiresAtNs until when, nanoseconds since 1970 UTC; 0 for no end */
    public function __construct(public readonly int $expiresAtNs)
    {
    }
}

/** The server's clock, nanoseconds since 1970 UTC. */
final class Pong
{
    public function __construct(public readonly int $serverTimeNs)
    {
    }
}

/** The answer to one submitted transaction: a decision, or the error instead. */
final class Reply
{
    public function __construct(
        public readonly int $correlation,
        public readonly ?Decision $decision,
        public readonly ?CatracaException $error,
    ) {
    }

    /**
     * The decision.
     *
     * @throws CatracaException the error
     */
    public function result(): Decision
    {
        return $this->decision ?? throw $this->error ?? new NoAnswer('nothing came');
    }
}
