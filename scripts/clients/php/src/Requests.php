<?php

// Requests as bytes (wire/PROTOCOL.md, Layouts).

declare(strict_types=1);

namespace Catraca;

/** @internal */
final class Requests
{
    public const HEADER_LEN = 16;
    public const VERSION = 1;
    public const HELLO = 1;
    public const SUBMIT = 3;
    public const LOOKUP = 5;
    public const PING = 11;
    public const CLUSTER = 14;
    public const AUTH = 26;
    public const HELLO_LEN = 128;
    public const SUBMIT_LEN = 176;
    private const BUDGET_AT = 76;
    /** The longest credential within HELLO; a longer one comes in AUTH frames behind it, with this flag. */
    private const MAX_CREDENTIAL_LEN = 64;
    private const FLAG_AUTH = 1;
    private const MAX_TOKEN_LEN = 8192;
    private const PART_LEN = 488;

    public static function frame(int $kind, int $correlation, #[\SensitiveParameter] string $body, int $flags = 0): string
    {
        return pack('VCCvP', self::HEADER_LEN + strlen($body), $kind, self::VERSION, $flags, $correlation) . $body;
    }

    /** What a connection begins with: HELLO, and behind it a credential that it has no room for. */
    public static function greeting(
        #[\SensitiveParameter] string $credential,
        string $name,
        int $inFlight,
        int $correlation = 0,
    ): string {
        $fits = strlen($credential) <= self::MAX_TOKEN_LEN && strlen($name) <= 40;
        self::check($fits, "a credential has at most 8192 bytes, a client's name at most 40");
        self::check(self::isUtf8($credential) && self::isUtf8($name), "a credential and a client's name are UTF-8");
        $follows = strlen($credential) > self::MAX_CREDENTIAL_LEN;
        $shown = $follows ? '' : $credential;
        $body = pack('CCCCVa64a40', 1, 1, strlen($shown), strlen($name), $inFlight, $shown, $name);
        if (!$follows) {
            return self::frame(self::HELLO, $correlation, $body);
        }
        return self::frame(self::HELLO, $correlation, $body, self::FLAG_AUTH) . self::tokenFrames($credential, $correlation);
    }

    /** A token in AUTH frames, of which the last one is answered. */
    public static function tokenFrames(#[\SensitiveParameter] string $token, int $correlation): string
    {
        self::check(strlen($token) >= 1 && strlen($token) <= self::MAX_TOKEN_LEN, 'a token has 1 to 8192 bytes');
        $frames = '';
        foreach (str_split($token, self::PART_LEN) as $number => $part) {
            $body = pack('vvx4a488', strlen($token), $number * self::PART_LEN, $part);
            $frames .= self::frame(self::AUTH, $correlation, $body);
        }
        return $frames;
    }

    /** SUBMIT's body; an exception for what the server would refuse. */
    public static function submit(Transaction $t): string
    {
        $payer = Document::canonical($t->payer);
        $payee = Document::canonical($t->payee);
        self::check(self::isId($t->id), 'an id is 1 to 32 printable ASCII characters without spaces');
        self::check($t->amountCentavos >= 1, 'an amount is at least 1 centavo');
        self::check($t->budgetUs >= 0 && $t->budgetUs <= Transaction::MAX_BUDGET_US, 'a budget is 0 to 2,000,000 microseconds');
        self::check($t->flags >= 0 && $t->flags <= 0xFFFF, 'flags have 16 bits');
        self::check(strlen($t->pixKey) === 16 && strlen($t->traceId) === 16, "a Pix key's hash and a trace id have 16 bytes");
        self::check(self::isIspb($t->payerIspb) && self::isIspb($t->payeeIspb), 'an ISPB is 8 ASCII letters or digits, or empty');
        $address = '';
        if ($t->ip !== null) {
            $address = @inet_pton($t->ip);
            self::check(is_string($address), 'that is no IP address');
            $address = strlen($address) === 4 ? str_repeat("\0", 10) . "\xff\xff" . $address : $address;
        }
        return pack(
            'a32a14a14PPVCCvPPa16Pa16a8a8a16V',
            $t->id, $payer, $payee, $t->amountCentavos, $t->eventTimeNs, $t->budgetUs, $t->rail->value, $t->channel->value,
            $t->flags, $t->payerAccount, $t->payeeAccount, $t->pixKey, $t->device, $address, $t->payerIspb, $t->payeeIspb,
            $t->traceId, 0,
        );
    }

    /** The same with another budget, which is no part of what makes two transactions the same. */
    public static function withBudget(string $submit, int $budgetUs): string
    {
        return substr_replace($submit, pack('V', $budgetUs), self::BUDGET_AT, 4);
    }

    public static function lookup(string $id, string $payer): string
    {
        self::check(self::isId($id), 'an id is 1 to 32 printable ASCII characters without spaces');
        return pack('a32a16', $id, $payer === '' ? '' : Document::canonical($payer));
    }

    /** CLUSTER's body that changes nothing. */
    public static function describe(): string
    {
        return "\1\0\0\0\0\0\0\0";
    }

    /** Throws what is wrong where it does not hold. */
    public static function check(bool $holds, string $what): void
    {
        if (!$holds) {
            throw new WrongField($what);
        }
    }

    private static function isId(string $id): bool
    {
        return preg_match('/^[\x21-\x7e]{1,32}$/D', $id) === 1;
    }

    private static function isIspb(string $ispb): bool
    {
        return preg_match('/^([0-9A-Za-z]{8})?$/D', $ispb) === 1;
    }

    private static function isUtf8(string $text): bool
    {
        return preg_match('//u', $text) === 1;
    }
}
