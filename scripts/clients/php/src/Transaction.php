<?php

// A payment to decide on.

declare(strict_types=1);

namespace Catraca;

/**
 * Keep it to send it again: with another event time it would be another one. Documents may have a mask. Hashes are keyed hashes
 * of the caller's; 0 or zeros is unknown.
 */
final class Transaction implements \Stringable
{
    /** The longest budget, microseconds, and what 0 means. */
    public const MAX_BUDGET_US = 2_000_000;

    public readonly int $eventTimeNs;

    /**
     * @param string $id 1 to 32 printable ASCII characters without spaces
     * @param ?int $eventTimeNs when it happened, nanoseconds since 1970 UTC; null is now
     * @param int $budgetUs time for the answer, microseconds, from the call on
     * @param int $flags bits for the policy, 0 to 65,535
     * @param string $pixKey 16 bytes
     * @param ?string $ip where it came from, as text; null where that is unknown
     * @param string $payerIspb 8 ASCII letters or digits, or empty; so is $payeeIspb
     * @param string $traceId W3C trace id, 16 bytes; no part of what makes two transactions the same
     */
    public function __construct(
        public readonly string $id,
        #[\SensitiveParameter] public readonly string $payer,
        #[\SensitiveParameter] public readonly string $payee,
        public readonly int $amountCentavos,
        ?int $eventTimeNs = null,
        public readonly int $budgetUs = 0,
        public readonly Rail $rail = Rail::Pix,
        public readonly Channel $channel = Channel::Other,
        public readonly int $flags = 0,
        public readonly int $payerAccount = 0,
        public readonly int $payeeAccount = 0,
        public readonly string $pixKey = "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        public readonly int $device = 0,
        public readonly ?string $ip = null,
        public readonly string $payerIspb = '',
        public readonly string $payeeIspb = '',
        public readonly string $traceId = "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    ) {
        // Microseconds of the clock as an integer: a float would lose them.
        [$fraction, $seconds] = explode(' ', microtime());
        $this->eventTimeNs = $eventTimeNs ?? (int) $seconds * 1_000_000_000 + (int) substr($fraction, 2, 6) * 1_000;
    }

    /** Masks documents, and shows no account or device. */
    public function __toString(): string
    {
        return "transaction $this->id of $this->amountCentavos centavos from " . Document::maskedText($this->payer) . ' to '
            . Document::maskedText($this->payee);
    }

    /** For var_dump. */
    public function __debugInfo(): array
    {
        return ['shown' => (string) $this];
    }
}
