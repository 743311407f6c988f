<?php

// What of the client finds the next connection: attempts, rounds and pauses, and the look at whether another node decides.

declare(strict_types=1);

namespace Catraca;

/** @internal */
trait Recovery
{
    private readonly Route $route;
    /** What connections begin with: of the newest credential that a server took. */
    private string $hello;
    /** The same of a newer one that no server has taken or refused. */
    private ?string $newer = null;
    private ?Connection $connection = null;
    private ?Welcome $welcome = null;
    /** The connection that is being made, and those that are looked at, by address. */
    private ?Connection $attempt = null;
    /** @var array<string, Connection> */
    private array $looks = [];
    /** Rounds in vain and connections lost, since the last answer; and why. */
    private int $failures = 0;
    private string $lastFailure = '';
    /** Standbys followed since the last pause. */
    private int $hops = 0;
    private int $notBefore = 0;
    private int $nextLook = 0;
    /** The node in use could not confirm something: it may have been replaced without knowing it. */
    private bool $doubtful = false;
    /** Somebody waits for the first connection, and how the first round ended. */
    private bool $firstIsWanted = false;
    private ?CatracaException $firstFailure = null;
    // How soon another primary is looked for, nanoseconds; tests are less patient. A node that owes something is silent for half
    // a second: far above the pauses of a healthy disk, and a quarter of the longest budget.
    private int $silenceNs = 500_000_000;
    private int $lookEveryNs = 1_000_000_000;
    private int $lookTimeNs = 500_000_000;

    private function isWanted(): bool
    {
        return $this->connection === null && ($this->firstIsWanted || $this->unanswered !== []);
    }

    /** When an attempt, or a look, is to begin or to end, nanoseconds of hrtime. */
    private function actsAt(): int
    {
        $at = $this->looksAt();
        foreach ($this->looks as $look) {
            $at = min($at, $look->deadline);
        }
        if ($this->attempt !== null) {
            return min($at, $this->attempt->deadline);
        }
        return $this->isWanted() ? min($at, $this->notBefore) : $at;
    }

    /** Begins an attempt at the next address, when its time has come, or ends one whose time is over. */
    private function connectIfWanted(int $now): void
    {
        if ($this->attempt !== null && $now >= $this->attempt->deadline) {
            $this->attemptFailed(new NotSent("no connection to {$this->attempt->address} in time"));
        }
        if (!$this->isWanted() || $this->attempt !== null || $now < $this->notBefore) {
            return;
        }
        if ($this->route->isExhausted()) {
            $this->route->beginRound();
            $this->hops = 0;
        }
        try {
            $until = $now + $this->patienceNs();
            $this->attempt = new Connection($this->route->address(), $this->hello, $this->tls, $until);
        } catch (NotSent $failed) {
            $this->attemptFailed($failed);
        }
    }

    /**
     * Within a request's time one address that hangs must not use up what another one could answer in. Where none answered so
     * soon, all get longer.
     */
    private function patienceNs(): int
    {
        if (count($this->route->addresses) === 1 || $this->unanswered === []) {
            return $this->connectTimeoutNs;
        }
        return min($this->silenceNs << min($this->failures, 16), $this->connectTimeoutNs);
    }

    /** The old credential has come to its end, and there is a newer one. */
    private function turnsToNewer(CatracaException $error): bool
    {
        $ended = $error instanceof Refused && $error->error === ErrorCode::Unauthenticated;
        if (!$ended || $this->newer === null) {
            return false;
        }
        [$this->hello, $this->newer] = [$this->newer, null];
        return true;
    }

    private function attemptFailed(CatracaException $failed): void
    {
        $this->attempt?->close();
        $this->attempt = null;
        if ($this->turnsToNewer($failed)) {
            return;
        }
        $this->lastFailure = $failed->getMessage();
        $this->route->failed('failed: ' . $failed->getMessage());
        if ($failed instanceof Refused && $failed->isFinal()) {
            $this->failures = 1;
            $this->route->beginRound();
            $this->giveUp($failed);
            $this->tellFirst($failed);
        } elseif ($this->route->isExhausted()) {
            $this->endRound($failed);
        }
    }

    /** The attempt has a WELCOME. */
    private function attempted(Connection $made): void
    {
        $this->attempt = null;
        if ($made->welcome->primary || $this->anyRole) {
            $this->route->found();
            $this->adopt($made);
            return;
        }
        $made->close();
        $named = $this->route->standby($made->welcome->primaryAddress);
        if ($named && $this->hops < self::MAX_HOPS) {
            $this->hops++;
        } elseif ($this->hops >= self::MAX_HOPS || $this->route->isExhausted()) {
            $this->endRound(new NotSent($this->route->noPrimary(), true));
        }
    }

    /** All addresses were tried in vain: a pause. */
    private function endRound(CatracaException $error): void
    {
        $this->failures++;
        $this->notBefore = hrtime(true) + $this->pauseNs();
        $this->route->beginRound();
        $this->hops = 0;
        $said = $this->route->noPrimary();
        $this->tellFirst($said === '' ? $error : new NotSent($said, true));
    }

    /** None after the first failure, then doubling; half of it chance, so that not all clients arrive at once. */
    private function pauseNs(): int
    {
        if ($this->failures < 2) {
            return 0;
        }
        $whole = min($this->reconnectBaseNs << min($this->failures - 2, 16), $this->reconnectMaxNs);
        return intdiv($whole, 2) + random_int(0, intdiv($whole, 2));
    }

    private function tellFirst(?CatracaException $failed): void
    {
        if ($this->firstIsWanted) {
            $this->firstIsWanted = false;
            $this->firstFailure = $failed;
        }
    }

    /** Uses a connection from now on. */
    private function adopt(Connection $made): void
    {
        $this->connection = $made;
        $this->welcome = $made->welcome;
        $this->hops = 0;
        $made->quietSince = hrtime(true);
        $this->sendAllAgain();
        $this->tellFirst(null);
    }

    /** A node that is no primary may name the one that is, so one address is enough then. */
    private function goesElsewhere(ErrorCode $code): bool
    {
        return !$this->anyRole && ($code === ErrorCode::NotPrimary
            || $code === ErrorCode::ShuttingDown && count($this->route->addresses) > 1);
    }

    /** Leaves the connection. What is unanswered waits for the next one. */
    private function lose(CatracaException $error): void
    {
        $this->turnsToNewer($error);
        $this->route->beginRound();
        if ($error instanceof Refused && $error->error === ErrorCode::NotPrimary) {
            $this->route->standby('');
        } else {
            $this->route->failed('failed: ' . $error->getMessage());
        }
        $this->failures++;
        $this->lastFailure = $error->getMessage();
        $this->notBefore = hrtime(true) + $this->pauseNs();
        $this->detach();
    }

    private function detach(): void
    {
        $this->connection->close();
        $this->connection = null;
        $this->doubtful = false;
        $this->forgetLooks();
        $this->sendAllAgain();
    }

    /** When it is to be looked whether another address is a primary too. */
    private function looksAt(): int
    {
        if ($this->connection === null || $this->anyRole || count($this->route->addresses) < 2
            || !$this->doubtful && $this->carried === 0) {
            return PHP_INT_MAX;
        }
        return $this->doubtful ? $this->nextLook : max($this->nextLook, $this->connection->quietSince + $this->silenceNs);
    }

    /**
     * Asks the other addresses, beside the waiting: after UNCONFIRMED, because a primary that is cut off from its standby does
     * not hear of that one's promotion, and while nothing comes. One that is a primary as well gets everything unanswered.
     */
    private function lookElsewhere(int $now): void
    {
        foreach ($this->looks as $address => $look) {
            // The caller may have been away: what was found then may be no primary any more.
            if ($now >= $look->deadline) {
                $this->endLook($address);
            }
        }
        if ($now < $this->looksAt()) {
            return;
        }
        $this->forgetLooks();
        $this->doubtful = false;
        $this->nextLook = $now + $this->lookEveryNs;
        foreach ($this->route->others() as $address) {
            try {
                $until = $now + $this->lookTimeNs;
                $this->looks[$address] = new Connection($address, $this->hello, $this->tls, $until);
            } catch (NotSent) {
                // Whatever is wrong there, it is no primary to go to.
            }
        }
    }

    /** A look has a WELCOME. One that decides in an earlier epoch was replaced, and does not know it. */
    private function looked(Connection $made): void
    {
        if (!$made->welcome->primary || $made->welcome->epoch < $this->welcome->epoch) {
            $this->endLook($made->address);
            return;
        }
        unset($this->looks[$made->address]);
        $this->lastFailure = "$made->address is the primary by now";
        $this->failures = 0;
        $this->detach();
        $this->route->foundAt($made->address);
        $this->adopt($made);
    }

    private function endLook(string $address): void
    {
        $this->looks[$address]->close();
        unset($this->looks[$address]);
    }

    private function forgetLooks(): void
    {
        array_map($this->endLook(...), array_keys($this->looks));
    }
}
