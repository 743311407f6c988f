<?php

// Where to connect next: the configured addresses in turn, and what servers say of the primary. No socket here.

declare(strict_types=1);

namespace Catraca;

/** @internal */
final class Route
{
    /** Addresses learned from WELCOME that are kept beside the configured ones. */
    public const MAX_LEARNED = 4;
    private const STANDBY = 'is a standby';

    /** @var list<string> the configured ones first, then the learned ones, oldest first */
    public array $addresses;
    private readonly int $configured;
    private int $next = 0;
    /** @var array<string, true> those tried since the last pause */
    private array $tried = [];
    /** @var array<string, string> what each said last */
    private array $seen = [];

    /**
     * @param list<string> $addresses
     * @param bool $learns takes up addresses that servers name. They are of ports in clear, so that
     *     a client that speaks TLS does not
     */
    public function __construct(array $addresses, private readonly bool $learns)
    {
        $this->addresses = $addresses;
        $this->configured = count($addresses);
    }

    /** host:port, IPv6 in brackets, in printable ASCII. */
    public static function isAddress(string $text): bool
    {
        return preg_match('/^(\[[!-Z^-~]+\]|[!-9;-Z^-~]+):([0-9]{1,5})$/D', $text, $found) === 1
            && (int) $found[2] > 0 && (int) $found[2] < 65_536;
    }

    public function address(): string
    {
        return $this->addresses[$this->next];
    }

    /** @return list<string> */
    public function others(): array
    {
        return array_values(array_diff($this->addresses, [$this->address()]));
    }

    public function isExhausted(): bool
    {
        return array_diff_key(array_flip($this->addresses), $this->tried) === [];
    }

    /** A pause has passed: every address may be tried again. */
    public function beginRound(): void
    {
        $this->tried = [];
    }

    /** The node here takes us. */
    public function found(): void
    {
        $this->seen = [];
    }

    public function foundAt(string $address): void
    {
        $this->next = array_search($address, $this->addresses, true) ?: 0;
        $this->found();
    }

    /** Nothing is to be had here now: the next one, if possible one that was not tried since the last pause. */
    public function failed(string $seen): void
    {
        $this->seen[$this->address()] = $seen;
        $this->tried[$this->address()] = true;
        $count = count($this->addresses);
        $first = ($this->next + 1) % $count;
        for ($step = 0; $step < $count; $step++) {
            $this->next = ($first + $step) % $count;
            if (!isset($this->tried[$this->address()])) {
                return;
            }
        }
        $this->next = $first;
    }

    /** The node here follows, and names this primary. True: that one is next, and was not tried since the last pause. */
    public function standby(string $primary): bool
    {
        $this->failed(self::STANDBY);
        if ($primary === '' || isset($this->tried[$primary])) {
            return false;
        }
        if (!in_array($primary, $this->addresses, true)) {
            if (!$this->learns) {
                return false;
            }
            if (count($this->addresses) === $this->configured + self::MAX_LEARNED) {
                [$left] = array_splice($this->addresses, $this->configured, 1);
                unset($this->seen[$left]);
            }
            $this->addresses[] = $primary;
        }
        $this->next = array_search($primary, $this->addresses, true);
        return true;
    }

    /** What the addresses said, where one of them is a standby; else empty. */
    public function noPrimary(): string
    {
        if (!in_array(self::STANDBY, $this->seen, true)) {
            return '';
        }
        $said = array_map(fn (string $address, string $seen): string => "$address $seen", array_keys($this->seen), $this->seen);
        return 'no primary: ' . implode('; ', $said);
    }
}
