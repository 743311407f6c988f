<?php

// A connection to the node that decides, kept alive over failures.

declare(strict_types=1);

namespace Catraca;

/** @internal A request that has not ended. Times are nanoseconds of hrtime. */
final class Unanswered
{
    /** It went out on the connection in use. */
    public bool $sent = false;

    /**
     * @param ?int $budgetEnd when its budget is over; null where it has none
     * @param int $sendings how often it went out, on any connection
     */
    public function __construct(
        public readonly int $kind,
        public string $body,
        public readonly int $deadline,
        public readonly ?int $budgetEnd,
        public readonly int $budgetNs,
        public int $sendings,
    ) {
    }

    /** When it ends without an answer. What can't be sent has no answer to wait for. */
    public function due(): int
    {
        return $this->sent ? $this->deadline : min($this->deadline, $this->budgetEnd ?? PHP_INT_MAX);
    }
}

/**
 * Blocking: `decide` one transaction, or `submit` many and `receive` as many replies, in whatever order they come. When the
 * connection is lost, or another node has become the primary, the client connects again and sends again what is unanswered, which
 * is safe: the server gives the same transaction the same decision.
 */
final class Client
{
    use Recovery;

    /** Frames unanswered on a connection at most, whatever the server would allow. */
    public const MAX_IN_FLIGHT = 65_536;
    /** Servers that name another one as the primary, followed without a pause: more of them lead nowhere. */
    private const MAX_HOPS = 4;
    /** How long after a transaction's budget its answer is waited for: the way to the server and back. */
    private const GRACE_NS = 500_000_000;
    /** A wait that takes nothing from a budget worth telling the server. */
    private const UNNOTICED_NS = 1_000_000;

    /** @var array<int, Unanswered> by correlation, in the order in which they came */
    private array $unanswered = [];
    /** @var array<int, true> those to be sent on this connection, oldest first */
    private array $unsent = [];
    private int $carried = 0;
    /**
     * @var ?array{int, string} the AUTH that this connection has not answered, given up or not, and what connections begin with
     *     once it is accepted; a server takes no second one before that
     */
    private ?array $auth = null;
    /** @var array<int, Decision|StoredDecision|Pong|ClusterState|AuthState|CatracaException> what has ended, and nobody was told */
    private array $ended = [];
    private int $nextCorrelation = 1;
    /** No request is due before this. Saves looking through all at each answer. */
    private int $earliest = PHP_INT_MAX;
    private readonly int $connectTimeoutNs;
    private readonly int $answerTimeoutNs;
    private readonly int $reconnectBaseNs;
    private readonly int $reconnectMaxNs;

    /**
     * @param list<string> $addresses host:port of each node, in order of preference
     * @param bool $anyRole stays with the first node that answers, a standby too, which is enough to look up; else the client
     *     leaves a
     *     standby for the node that decides, and follows when another one becomes it
     * @param string $credential the token that the operator gave, or an access token of an issuer, of which `renew` takes a newer
     *     one: at most 8192 bytes
     * @param string $name of this program, at most 40 bytes
     * @param int $inFlight how many frames may be unanswered; 0 leaves it to the server
     * @param int $answerTimeoutMs the longest wait for an answer; a transaction's budget and half a second where that is less
     * @param int $reconnectBaseMs the first pause between rounds of attempts, which doubles up to $reconnectMaxMs
     * @param ?Tls $tls speaks TLS to the nodes' port for it; null sends everything in clear
     * @param bool $lazy leaves connecting to the first request, which waits for a primary as long as for its answer
     * @param array<string, int> $timing for tests: silenceNs, lookEveryNs, lookTimeNs
     *
     * @throws CatracaException
     */
    public function __construct(
        array $addresses = ['127.0.0.1:7400'],
        private readonly bool $anyRole = false,
        #[\SensitiveParameter] string $credential = '',
        private readonly string $name = '',
        private readonly int $inFlight = 0,
        int $connectTimeoutMs = 2_000,
        int $answerTimeoutMs = 2_500,
        int $reconnectBaseMs = 50,
        int $reconnectMaxMs = 2_000,
        bool $lazy = false,
        private readonly ?Tls $tls = null,
        array $timing = [],
    ) {
        Requests::check($addresses !== [] && count(array_unique($addresses)) === count($addresses), 'give addresses, each once');
        foreach ($addresses as $address) {
            Requests::check(Route::isAddress($address), "'$address' is no host:port");
        }
        Requests::check($inFlight >= 0 && $inFlight <= self::MAX_IN_FLIGHT, 'too many frames would be unanswered');
        foreach ([$connectTimeoutMs, $answerTimeoutMs, $reconnectBaseMs, $reconnectMaxMs] as $ms) {
            Requests::check($ms > 0 && $ms <= 3_600_000, 'a time is above 0, and an hour at most');
        }
        [$this->connectTimeoutNs, $this->answerTimeoutNs] = [$connectTimeoutMs * 1_000_000, $answerTimeoutMs * 1_000_000];
        [$this->reconnectBaseNs, $this->reconnectMaxNs] = [$reconnectBaseMs * 1_000_000, $reconnectMaxMs * 1_000_000];
        foreach ($timing as $what => $ns) {
            $this->$what = $ns;
        }
        $this->route = new Route(array_values($addresses), $tls === null);
        $this->hello = Requests::greeting($credential, $name, $inFlight);
        $this->firstIsWanted = !$lazy;
        while ($this->firstIsWanted) {
            $this->step(PHP_INT_MAX);
        }
        if ($this->firstFailure !== null) {
            $this->close();
            throw $this->firstFailure;
        }
    }

    public function __destruct()
    {
        $this->close();
    }

    /** Shows no credential, and nothing of what is unanswered. */
    public function __debugInfo(): array
    {
        return ['addresses' => $this->route->addresses, 'owed' => $this->owed()];
    }

    /** Closes the connection. Answers that are owed are lost; decisions are not. */
    public function close(): void
    {
        $this->connection?->close();
        $this->attempt?->close();
        $this->connection = $this->attempt = null;
        $this->forgetLooks();
        $this->unanswered = $this->unsent = $this->ended = [];
        $this->carried = 0;
    }

    /** What the server said of itself on the latest connection; null where there was none. */
    public function welcome(): ?Welcome
    {
        return $this->welcome;
    }

    /** How many replies `receive` owes. */
    public function owed(): int
    {
        return count($this->unanswered) + count($this->ended);
    }

    /**
     * Sends a transaction and gives the correlation of its Reply; waits for answers first where too many are unanswered. It is
     * not sent again after OVERLOADED and RATE_LIMITED.
     *
     * @throws CatracaException for what the server would refuse
     */
    public function submit(Transaction $transaction): int
    {
        $body = Requests::submit($transaction);
        Requests::check($this->owed() < 2 * self::MAX_IN_FLIGHT, 'too many replies wait to be received');
        $budgetNs = self::budgetNs($transaction);
        $correlation = $this->add(Requests::SUBMIT, $body, $budgetNs, null, 0);
        $this->step(0);
        return $correlation;
    }

    /** The next reply to a submitted transaction, as they come; waits for it. */
    public function receive(): Reply
    {
        Requests::check($this->owed() > 0, 'nothing is owed, so there is nothing to receive');
        while ($this->ended === []) {
            $this->step(PHP_INT_MAX);
        }
        $correlation = array_key_first($this->ended);
        $outcome = $this->ended[$correlation];
        unset($this->ended[$correlation]);
        return $outcome instanceof Decision ? new Reply($correlation, $outcome, null) : new Reply($correlation, null, $outcome);
    }

    /**
     * The decision on a transaction, within its budget and half a second. Sends again after OVERLOADED and RATE_LIMITED as long
     * as the budget lasts, and over a lost connection or another node.
     *
     * @throws CatracaException which tells whether there may be a decision all the same; it is never an approval
     */
    public function decide(Transaction $transaction): Decision
    {
        $body = Requests::submit($transaction);
        $budgetNs = self::budgetNs($transaction);
        $budgetEnd = hrtime(true) + $budgetNs;
        $sendings = 0;
        while (true) {
            try {
                return $this->waitFor($this->add(Requests::SUBMIT, $body, $budgetNs, $budgetEnd, $sendings));
            } catch (Refused $refused) {
                $pauseNs = max($refused->retryAfterMs, 1) * 1_000_000;
                $again = in_array($refused->error, [ErrorCode::Overloaded, ErrorCode::RateLimited], true);
                if (!$again || $budgetEnd - hrtime(true) <= $pauseNs) {
                    throw $refused;
                }
                // One of them that got no answer stays in doubt.
                $sendings = $refused->recorded() === Recorded::Perhaps ? 1 : 0;
                usleep(intdiv($pauseNs, 1_000));
            }
        }
    }

    /**
     * The stored decision on a transaction; $payer says whose, where ids may repeat between payers. Refused with NotFound if
     * none.
     *
     * @throws CatracaException
     */
    public function lookup(string $id, #[\SensitiveParameter] string $payer = ''): StoredDecision
    {
        return $this->waitFor($this->add(Requests::LOOKUP, Requests::lookup($id, $payer), null, null, 0));
    }

    /**
     * The server's clock, nanoseconds since 1970 UTC.
     *
     * @throws CatracaException
     */
    public function ping(): int
    {
        return $this->waitFor($this->add(Requests::PING, str_repeat("\0", 8), null, null, 0))->serverTimeNs;
    }

    /**
     * The node's part in its cluster.
     *
     * @throws CatracaException
     */
    public function cluster(): ClusterState
    {
        return $this->waitFor($this->add(Requests::CLUSTER, Requests::describe(), null, null, 0));
    }

    /**
     * Goes on with a newer token of the same client, on the connection in use and on all that come. Whatever is unanswered stays
     * so. Until when it counts, nanoseconds since 1970 UTC; null for no end.
     *
     * @throws CatracaException Refused with Unauthenticated, Forbidden (of another client) or Overloaded (it can't be checked
     *     now): the one before counts until its end. So it does after NoAnswer, and connections come with it until a server has
     *     taken the newer one
     */
    public function renew(#[\SensitiveParameter] string $token): ?int
    {
        Requests::tokenFrames($token, 0);
        $correlation = $this->add(Requests::AUTH, $token, null, null, 0);
        $this->newer = Requests::greeting($token, $this->name, $this->inFlight);
        return $this->waitFor($correlation)->expiresAtNs ?: null;
    }

    /**
     * Until when the token of the connection in use counts, nanoseconds since 1970 UTC: then the server closes it, unless `renew`
     * was called before. Null for a credential without an end, and without a connection.
     */
    public function tokenExpiresAtNs(): ?int
    {
        return $this->connection?->expiresAtNs ?: null;
    }

    private static function budgetNs(Transaction $transaction): int
    {
        return ($transaction->budgetUs ?: Transaction::MAX_BUDGET_US) * 1_000;
    }

    /** Takes a request, when there is room; its time begins then, unless it has an end already. */
    private function add(int $kind, string $body, ?int $budgetNs, ?int $budgetEnd, int $sendings): int
    {
        while (count($this->unanswered) >= $this->limit()) {
            $this->step(PHP_INT_MAX);
        }
        $now = hrtime(true);
        $deadline = $now + $this->answerTimeoutNs;
        if ($budgetNs !== null) {
            $budgetEnd ??= $now + $budgetNs;
            $deadline = min($deadline, $budgetEnd + self::GRACE_NS);
        }
        $correlation = $this->nextCorrelation++;
        $this->unanswered[$correlation] = new Unanswered($kind, $body, $deadline, $budgetEnd, $budgetNs ?? 0, $sendings);
        $this->unsent[$correlation] = true;
        $this->earliest = min($this->earliest, $this->unanswered[$correlation]->due());
        return $correlation;
    }

    private function limit(): int
    {
        $limit = min($this->welcome->inFlight ?? self::MAX_IN_FLIGHT, self::MAX_IN_FLIGHT);
        return $this->inFlight === 0 ? $limit : min($limit, $this->inFlight);
    }

    private function waitFor(int $correlation): Decision|StoredDecision|Pong|ClusterState|AuthState
    {
        while (isset($this->unanswered[$correlation])) {
            $this->step(PHP_INT_MAX);
        }
        $outcome = $this->ended[$correlation];
        unset($this->ended[$correlation]);
        return $outcome instanceof CatracaException ? throw $outcome : $outcome;
    }

    /**
     * Does what is to be done. Where that changes nothing that a caller may wait for, waits until something comes, until
     * something is to be done, or until then.
     */
    private function step(int $until): void
    {
        $before = $this->state();
        $this->transfer(0);
        $this->act();
        if ($this->state() === $before && $until !== 0) {
            $wakeAt = min($until, $this->actsAt(), $this->earliest);
            $this->transfer(max($wakeAt - hrtime(true), 0));
            $this->act();
        }
    }

    /** @return list<mixed> what callers wait for */
    private function state(): array
    {
        return [count($this->ended), count($this->unanswered), $this->firstIsWanted, $this->connection];
    }

    private function act(): void
    {
        $now = hrtime(true);
        $this->endExpired($now);
        $this->connectIfWanted($now);
        $this->sendUnsent($now);
        $this->lookElsewhere($now);
    }

    /** Writes and reads on all connections, after waiting so many nanoseconds for one of them. */
    private function transfer(int $waitNs): void
    {
        $all = array_filter([$this->connection, $this->attempt, ...array_values($this->looks)]);
        $read = array_map(fn (Connection $one): mixed => $one->socket, $all);
        $writers = array_filter($all, fn (Connection $one): bool => $one->wantsToWrite());
        $write = array_map(fn (Connection $one): mixed => $one->socket, $writers);
        $none = null;
        // A microsecond more than too little, and not more at once than the clock of a signal handler would mind.
        $waitUs = min(intdiv($waitNs + 999, 1_000), 1_000_000_000);
        if ($all === []) {
            usleep($waitUs);
            return;
        }
        if (!@stream_select($read, $write, $none, intdiv($waitUs, 1_000_000), $waitUs % 1_000_000)) {
            return;
        }
        foreach ($all as $one) {
            if (in_array($one->socket, $write, true) || in_array($one->socket, $read, true)) {
                $this->move($one, in_array($one->socket, $write, true), in_array($one->socket, $read, true));
            }
        }
    }

    private function move(Connection $one, bool $writes, bool $reads): void
    {
        $current = fn (): bool => $one === $this->connection || $one === $this->attempt
            || ($this->looks[$one->address] ?? null) === $one;
        try {
            if ($writes && $current()) {
                $one->write();
            }
            if (!$reads || !$current()) {
                return;
            }
            foreach ($one->read() as $correlation => $answer) {
                $this->accept($correlation, $answer);
                if ($one !== $this->connection) {
                    return;
                }
            }
            if ($one !== $this->connection && $one->welcome !== null) {
                $one === $this->attempt ? $this->attempted($one) : $this->looked($one);
            }
        } catch (CatracaException $error) {
            if ($one === $this->connection) {
                $this->lose($error);
            } elseif ($one === $this->attempt) {
                $this->attemptFailed($error);
            } elseif ($current()) {
                $this->endLook($one->address);
            }
        }
    }

    private function sendAllAgain(): void
    {
        $this->carried = 0;
        $this->auth = null;
        foreach ($this->unanswered as $one) {
            $one->sent = false;
            $this->earliest = min($this->earliest, $one->due());
        }
        $this->unsent = array_fill_keys(array_keys($this->unanswered), true);
    }

    /** Sends what this connection has not carried yet, as far as its limit allows. */
    private function sendUnsent(int $now): void
    {
        $held = [];
        while ($this->connection !== null && $this->unsent !== [] && $this->carried < $this->limit()) {
            $correlation = array_key_first($this->unsent);
            $one = $this->unanswered[$correlation];
            if ($one->kind === Requests::AUTH && $this->auth !== null) {
                unset($this->unsent[$correlation]);
                $held[$correlation] = true;
                continue;
            }
            if ($one->budgetEnd !== null) {
                $leftNs = $one->budgetEnd - $now;
                if ($leftNs < 1_000) {
                    // Sent now it could be decided after its budget: it is over.
                    $this->expire($correlation);
                    continue;
                }
                // One that was sent before, or waited, has less than it began with.
                if ($one->sendings > 0 || $leftNs < $one->budgetNs - self::UNNOTICED_NS) {
                    $one->body = Requests::withBudget($one->body, intdiv($leftNs, 1_000));
                }
            }
            unset($this->unsent[$correlation]);
            $one->sent = true;
            $one->sendings++;
            if ($one->kind === Requests::AUTH) {
                // Not counted: it may wait for somebody else, the issuer, and says nothing of the node.
                $this->auth = [$correlation, Requests::greeting($one->body, $this->name, $this->inFlight)];
                $this->connection->send(Requests::tokenFrames($one->body, $correlation));
                continue;
            }
            if ($this->carried++ === 0) {
                $this->connection->quietSince = $now;
            }
            $this->connection->send(Requests::frame($one->kind, $correlation, $one->body));
        }
        $this->unsent = $held + $this->unsent;
    }

    /** Ends what is due. What went out and got nothing says that the connection is dead, although nobody told us; but for AUTH. */
    private function endExpired(int $now): void
    {
        if ($now < $this->earliest) {
            return;
        }
        $expired = array_filter($this->unanswered, fn (Unanswered $one): bool => $one->due() <= $now);
        $dead = array_filter($expired, fn (Unanswered $one): bool => $one->sent && $one->kind !== Requests::AUTH) !== [];
        array_map($this->expire(...), array_keys($expired));
        if ($dead && $this->connection !== null) {
            $this->lose(new NoAnswer('the server did not answer in time'));
        }
        $this->earliest = PHP_INT_MAX;
        foreach ($this->unanswered as $one) {
            $this->earliest = min($this->earliest, $one->due());
        }
    }

    private function expire(int $correlation): void
    {
        $said = $this->route->noPrimary();
        $why = $said ?: $this->lastFailure ?: 'the time for it is over';
        $sent = $this->unanswered[$correlation]->sendings > 0;
        $this->finish($correlation, $sent ? new NoAnswer($why) : new NotSent("not sent: $why", $said !== ''));
    }

    /** No attempt can change this: everything unanswered ends. */
    private function giveUp(CatracaException $error): void
    {
        foreach ($this->unanswered as $correlation => $one) {
            $this->finish($correlation, $one->sendings > 0 ? new NoAnswer($error->getMessage()) : $error);
        }
    }

    private function finish(int $correlation, Decision|StoredDecision|Pong|ClusterState|AuthState|CatracaException $outcome): void
    {
        $one = $this->unanswered[$correlation];
        $this->carried -= (int) ($one->sent && $one->kind !== Requests::AUTH);
        unset($this->unanswered[$correlation], $this->unsent[$correlation]);
        $this->ended[$correlation] = $outcome;
    }

    /** Takes the answer to AUTH. Where the server could not check the newer token, that may be good. */
    private function renewed(AuthState|Refused $answer): void
    {
        [[, $greeting], $this->auth] = [$this->auth, null];
        if ($answer instanceof AuthState) {
            $this->hello = $greeting;
            $this->connection->expiresAtNs = $answer->expiresAtNs;
        } elseif (!in_array($answer->error, [ErrorCode::Unauthenticated, ErrorCode::Forbidden], true)) {
            return;
        }
        if ($this->newer === $greeting) {
            $this->newer = null;
        }
    }

    /** Matches an answer with its request; throws what says that the connection is of no use any more. */
    private function accept(int $correlation, object $answer): void
    {
        $one = $this->unanswered[$correlation] ?? null;
        $refused = $answer instanceof Refused ? $answer : null;
        if ($one === null && $refused?->closing) {
            throw $refused;
        }
        $isOfAuth = ($this->auth[0] ?? null) === $correlation && ($refused !== null || $answer instanceof AuthState);
        if ($one === null && $isOfAuth) {
            // It was given up, and its answer is late.
            $this->renewed($answer);
            return;
        }
        $answers = $one !== null && $one->sent && ($refused !== null || match ($one->kind) {
            Requests::SUBMIT => $answer instanceof Decision,
            Requests::LOOKUP => $answer instanceof StoredDecision,
            Requests::PING => $answer instanceof Pong,
            Requests::AUTH => $answer instanceof AuthState,
            default => $answer instanceof ClusterState,
        });
        if (!$answers) {
            throw new BrokenProtocol('it answered with what nothing asked for');
        }
        if ($refused !== null && $this->goesElsewhere($refused->error)) {
            // Not answered yet: it goes to another node with the others.
            throw $refused;
        }
        $this->failures = 0;
        $this->lastFailure = '';
        if ($one->kind === Requests::AUTH) {
            $this->renewed($answer);
        }
        $this->doubtful = $this->doubtful || $refused?->error === ErrorCode::Unconfirmed;
        $this->finish($correlation, $refused !== null && $one->sendings > 1 ? $refused->afterDoubt() : $answer);
        if ($refused?->closing) {
            throw $refused;
        }
    }
}
