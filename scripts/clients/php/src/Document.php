<?php

// CPF and CNPJ: canonical form, and masked for print.

declare(strict_types=1);

namespace Catraca;

final class Document
{
    private const DIGITS = '0123456789';

    /**
     * The canonical form of a CPF (11 digits) or CNPJ (14 characters), as people type it, with or without mask.
     *
     * @throws WrongDocument
     */
    public static function canonical(string $text): string
    {
        // All that Unicode takes for space, as far as it is sound UTF-8.
        $trimmed = preg_replace('/^[\s\p{Z}\x{85}]+|[\s\p{Z}\x{85}]+$/Du', '', $text) ?? $text;
        $document = '';
        foreach (str_split($trimmed) as $c) {
            if ($c === '' || str_contains('.-/ ', $c)) {
                continue;
            }
            if ($c === '*') {
                throw new WrongDocument('masked');
            }
            if (preg_match('/^[0-9A-Za-z]$/D', $c) !== 1) {
                throw new WrongDocument('character');
            }
            if (strlen($document) === 14) {
                throw new WrongDocument('length');
            }
            $document .= strtoupper($c);
        }
        $fault = self::fault($document);
        if ($fault !== '') {
            throw new WrongDocument($fault);
        }
        return $document;
    }

    /** A canonical document for print: a CPF without its outer digits, a CNPJ by its root; *** for what is neither. */
    public static function masked(string $document): string
    {
        return match (strlen($document)) {
            11 => '***.' . substr($document, 3, 3) . '.' . substr($document, 6, 3) . '-**',
            14 => substr($document, 0, 2) . '.' . substr($document, 2, 3) . '.' . substr($document, 5, 3) . '/****-**',
            default => '***',
        };
    }

    /** @internal What people typed, for print. */
    public static function maskedText(string $text): string
    {
        try {
            return self::masked(self::canonical($text));
        } catch (WrongDocument) {
            return '***';
        }
    }

    private static function fault(string $document): string
    {
        $size = strlen($document);
        if ($size !== 11 && $size !== 14) {
            return 'length';
        }
        if (strspn($document, self::DIGITS, $size === 11 ? 0 : 12) !== ($size === 11 ? 11 : 2)) {
            return 'character';
        }
        if (str_contains(self::DIGITS, $document[0]) && $document === str_repeat($document[0], $size)) {
            return 'repeated_digit';
        }
        for ($place = $size - 2; $place < $size; $place++) {
            if (ord($document[$place]) - 48 !== self::checkDigit($document, $place)) {
                return 'check_digit';
            }
        }
        return '';
    }

    /** That of what stands before this place. Weights begin at 2 on the right; a CNPJ's run to 9 and begin again. */
    private static function checkDigit(string $document, int $place): int
    {
        $sum = 0;
        for ($at = 0; $at < $place; $at++) {
            $fromRight = $place - 1 - $at;
            $sum += (ord($document[$at]) - 48) * (2 + (strlen($document) === 11 ? $fromRight : $fromRight % 8));
        }
        return $sum % 11 < 2 ? 0 : 11 - $sum % 11;
    }
}
