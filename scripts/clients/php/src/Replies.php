<?php

// Replies from bytes; nothing of them is taken on trust (wire/PROTOCOL.md, Layouts).

declare(strict_types=1);

namespace Catraca;

/** @internal */
final class Replies
{
    /** The lengths of the kinds that this client asks for; a RECORD has an extension of at most 4,096 bytes. */
    private const LENGTHS = [
        2 => [128, 128], 4 => [64, 64], 6 => [320, 4416], 12 => [24, 24], 13 => [152, 152], 15 => [256, 256], 27 => [32, 32],
    ];
    private const REASONS = ['clear', 'payer_listed', 'payee_listed', 'both_listed', 'allowed', 'rule', 'score'];

    /** The length of the reply that begins with this header. */
    public static function length(string $header): int
    {
        ['length' => $length, 'kind' => $kind, 'version' => $version] = unpack('Vlength/Ckind/Cversion', $header);
        [$low, $high] = self::LENGTHS[$kind] ?? [1, 0];
        self::check($version === Requests::VERSION && $length >= $low && $length <= $high);
        return $length;
    }

    /**
     * A reply's correlation and what it says.
     *
     * @return array{int, Welcome|Decision|StoredDecision|Pong|ClusterState|AuthState|Refused}
     */
    public static function decode(string $raw): array
    {
        self::check(strlen($raw) >= Requests::HEADER_LEN && self::length($raw) === strlen($raw));
        $head = unpack('Vlength/Ckind/Cversion/vflags/Pcorrelation', $raw);
        $body = substr($raw, Requests::HEADER_LEN);
        return [$head['correlation'], match ($head['kind']) {
            2 => self::welcome($body),
            4 => self::decision($body),
            6 => self::stored($body),
            12 => new Pong(unpack('P', $body)[1]),
            15 => self::clusterState($body),
            27 => new AuthState(unpack('P', $body)[1]),
            default => self::error($body, ($head['flags'] & 1) === 1),
        }];
    }

    private static function welcome(string $body): Welcome
    {
        $f = unpack('Cversion/Crole/Cdurability/x/Vepoch/a16node/a16cluster/vshards/x2/Vframe/Vflight/a48primary', $body);
        self::check($f['version'] === Requests::VERSION && $f['shards'] > 0 && $f['flight'] > 0
            && $f['frame'] >= Requests::HEADER_LEN + Requests::SUBMIT_LEN);
        return new Welcome(
            self::isPrimary($f['role']), self::durability($f['durability']), $f['epoch'], bin2hex($f['node']),
            bin2hex($f['cluster']), $f['shards'], $f['frame'], $f['flight'], self::address($f['primary']),
        );
    }

    private static function decision(string $body): Decision
    {
        $f = unpack('Cverdict/Cflags/vscore/Vpolicy/Pblacklist/Prules/vshard/Vepoch/Plsn/Preceipt/Creason', $body);
        return new Decision(
            self::verdict($f['verdict']), ($f['flags'] & 1) !== 0, ($f['flags'] & 2) !== 0, ($f['flags'] & 4) !== 0,
            self::score($f['score']), $f['policy'], $f['blacklist'], $f['rules'], $f['shard'], $f['epoch'], $f['lsn'],
            $f['receipt'], self::REASONS[$f['reason']] ?? (string) $f['reason'],
        );
    }

    private static function stored(string $body): StoredDecision
    {
        $place = unpack('Vepoch/vshard/vextension/Vsegment/Voffset/a32chain', $body);
        $r = unpack('Ckind/Cversion/vextension/Cverdict/Cflags/vscore/Creason/Cpayer/Cpayee/x/Vpolicy/Plsn/Pdecided/Psnapshot/'
            . 'Poverlay/Prules/vday/Plists/vinstitution/a16submitter', $body, 48);
        $extension = substr($body, 304);
        self::check($r['kind'] === 1 && $r['version'] === 1 && $place['extension'] === strlen($extension)
            && $r['extension'] === strlen($extension));
        return new StoredDecision(
            self::verdict($r['verdict']), self::REASONS[$r['reason']] ?? (string) $r['reason'], $r['flags'],
            self::score($r['score']), $r['payer'], $r['payee'], $r['policy'], $r['lsn'], $r['decided'], $r['snapshot'],
            $r['overlay'], $r['rules'], $r['day'], $r['lists'], $r['institution'], rtrim($r['submitter'], "\0"), $place['shard'], $place['epoch'], $place['segment'],
            $place['offset'], bin2hex($place['chain']),
            self::transaction(substr($body, 132, 172)), $extension,
        );
    }

    private static function transaction(string $raw): Transaction
    {
        $f = unpack('a32id/a14payer/a14payee/Pamount/Ptime/Vbudget/Crail/Cchannel/vflags/Ppayeraccount/Ppayeeaccount/a16key/'
            . 'Pdevice/a16ip/a8payerispb/a8payeeispb/a16trace', $raw);
        $ip = str_starts_with($f['ip'], str_repeat("\0", 10) . "\xff\xff") ? substr($f['ip'], 12) : $f['ip'];
        $rail = Rail::tryFrom($f['rail']);
        $channel = Channel::tryFrom($f['channel']);
        self::check($rail !== null && $channel !== null);
        return new Transaction(
            self::text($f['id']), self::text($f['payer']), self::text($f['payee']), $f['amount'], $f['time'], $f['budget'], $rail,
            $channel, $f['flags'], $f['payeraccount'], $f['payeeaccount'], $f['key'], $f['device'],
            $f['ip'] === str_repeat("\0", 16) ? null : inet_ntop($ip), self::text($f['payerispb']), self::text($f['payeeispb']),
            $f['trace'],
        );
    }

    private static function clusterState(string $body): ClusterState
    {
        $f = unpack('Crole/Cdurability/Csync/Cconnected/Vepoch/a16node/a16cluster/a16peernode/Precords/Pbytes/Psilence/'
            . 'a48primary/a48peer', $body);
        self::check($f['sync'] <= 1 && $f['connected'] <= 1);
        return new ClusterState(
            self::isPrimary($f['role']), self::durability($f['durability']), $f['sync'] === 1, $f['connected'] === 1, $f['epoch'],
            bin2hex($f['node']), bin2hex($f['cluster']), bin2hex($f['peernode']), $f['records'], $f['bytes'],
            $f['silence'] === -1 ? null : $f['silence'], self::address($f['primary']), self::address($f['peer']),
        );
    }

    private static function error(string $body, bool $closing): Refused
    {
        $f = unpack('vcode/vlength/Vretry/a128detail', $body);
        $code = ErrorCode::tryFrom($f['code']);
        self::check($code !== null && $f['length'] <= 128);
        return new Refused($code, $f['retry'], substr($f['detail'], 0, $f['length']), $closing);
    }

    private static function verdict(int $code): Verdict
    {
        // Never a guess: what is no known verdict must not be taken for an approval.
        return Verdict::tryFrom($code) ?? throw new BrokenProtocol('a verdict that there is not');
    }

    private static function durability(int $code): Durability
    {
        return Durability::tryFrom($code) ?? throw new BrokenProtocol('a durability that there is not');
    }

    private static function isPrimary(int $role): bool
    {
        self::check($role === 1 || $role === 2);
        return $role === 1;
    }

    private static function score(int $score): int
    {
        self::check($score <= 1000);
        return $score;
    }

    private static function check(bool $holds): void
    {
        if (!$holds) {
            throw new BrokenProtocol('a frame of a kind, length or value that it can\'t have');
        }
    }

    private static function text(string $raw): string
    {
        return rtrim($raw, "\0");
    }

    /** An address that a server names, which is printed and connected to: anything but printable ASCII and a port is none. */
    private static function address(string $raw): string
    {
        $named = self::text($raw);
        return Route::isAddress($named) ? $named : '';
    }
}
