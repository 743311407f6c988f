<?php

// Whatever fails in this package, and what that means for the transaction.

declare(strict_types=1);

namespace Catraca;

/** Whether the server has a decision on a transaction that was refused or not answered. */
enum Recorded: string
{
    /** This sending recorded nothing, and no earlier one of this call can have. */
    case No = 'no';
    /** Send the same transaction again to learn which decision stands. */
    case Perhaps = 'perhaps';
    /** There is a decision; the same transaction, sent again, gets it. */
    case Yes = 'yes';
}

/** Why the server refused; PROTOCOL.md says for each what to do next. */
enum ErrorCode: int
{
    case BadFrame = 1;
    case BadDocument = 2;
    case BadField = 3;
    case UnsupportedVersion = 4;
    case Unauthenticated = 5;
    case Forbidden = 6;
    case NotPrimary = 7;
    case Overloaded = 8;
    case Deadline = 9;
    case Unconfirmed = 10;
    case IdReused = 11;
    case RateLimited = 12;
    case DiskFull = 13;
    case ShuttingDown = 14;
    case NotFound = 15;
    case Failed = 16;
    case Late = 17;
}

/** Whatever fails in this package. None of these is ever an approval. */
abstract class CatracaException extends \RuntimeException
{
    /** Whether there may be a decision all the same. */
    abstract public function recorded(): Recorded;
}

/** A text is no CPF or CNPJ. Nothing was sent. */
final class WrongDocument extends CatracaException
{
    /** @param string $reason length, character, check_digit, repeated_digit or masked */
    public function __construct(public readonly string $reason)
    {
        parent::__construct(match ($reason) {
            'length' => 'a document has 11 (CPF) or 14 (CNPJ) characters',
            'character' => "a character that a document can't have in that place",
            'check_digit' => 'the check digits are wrong',
            'repeated_digit' => 'one digit repeated throughout is no document',
            default => 'the document is masked',
        });
    }

    public function recorded(): Recorded
    {
        return Recorded::No;
    }
}

/** A field or option has a value that it can't have. Nothing was sent. */
final class WrongField extends CatracaException
{
    public function recorded(): Recorded
    {
        return Recorded::No;
    }
}

/** No node took the request. It was never sent. */
final class NotSent extends CatracaException
{
    /** @param bool $noPrimary nodes were reached, and none of them decides */
    public function __construct(string $message, public readonly bool $noPrimary = false)
    {
        parent::__construct($message);
    }

    public function recorded(): Recorded
    {
        return Recorded::No;
    }
}

/** The request was sent and got no answer in time. Send the same transaction again. */
final class NoAnswer extends CatracaException
{
    public function __construct(string $why)
    {
        parent::__construct("no answer: $why; it may have been done, so send it again as it was");
    }

    public function recorded(): Recorded
    {
        return Recorded::Perhaps;
    }
}

/** The server sent what it must not send. */
final class BrokenProtocol extends CatracaException
{
    public function __construct(string $what)
    {
        parent::__construct("the server broke the protocol: $what");
    }

    public function recorded(): Recorded
    {
        return Recorded::Perhaps;
    }
}

/** The server's ERROR. */
final class Refused extends CatracaException
{
    /**
     * @param ErrorCode $error the server's code
     * @param int $retryAfterMs when to try again, milliseconds; 0 where that makes no sense, or at once will do
     * @param string $detail a sentence for a person
     * @param bool $closing the server closes the connection after it
     * @param bool $doubtful an earlier sending got no answer: whatever this one recorded, that one may have
     */
    public function __construct(
        public readonly ErrorCode $error,
        public readonly int $retryAfterMs,
        public readonly string $detail,
        public readonly bool $closing,
        private readonly bool $doubtful = false,
    ) {
        $text = preg_replace('/[[:cntrl:]]/', ' ', $detail);
        parent::__construct("$error->name: $text" . ($retryAfterMs > 0 ? " (try again after $retryAfterMs ms)" : ''));
    }

    /** BAD_FIELD is perhaps: its time may lie before what the server remembers. */
    public function recorded(): Recorded
    {
        return match (true) {
            $this->error === ErrorCode::Late => Recorded::Yes,
            $this->doubtful, $this->error === ErrorCode::Unconfirmed, $this->error === ErrorCode::BadField => Recorded::Perhaps,
            default => Recorded::No,
        };
    }

    /** @internal */
    public function afterDoubt(): self
    {
        return new self($this->error, $this->retryAfterMs, $this->detail, $this->closing, true);
    }

    /** @internal Another attempt to connect can't change it. */
    public function isFinal(): bool
    {
        return in_array($this->error, [ErrorCode::Unauthenticated, ErrorCode::UnsupportedVersion, ErrorCode::BadFrame], true);
    }
}
