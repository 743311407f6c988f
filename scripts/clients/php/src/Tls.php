<?php

// How a node shows who it is, and how this client does.

declare(strict_types=1);

namespace Catraca;

/**
 * TLS 1.3 to the nodes' port for it (listen_tls). Their certificates must be of an authority in
 * $caFile, and of the host that the address names: there is no way around either. Needs the
 * extension openssl.
 */
final class Tls
{
    /**
     * @param string $caFile PEM file with the authorities that the certificates of nodes are of;
     *     the system's are not asked
     * @param string $certificateFile PEM file with the certificate that this client shows; empty
     *     where it shows none
     * @param string $keyFile PEM file with its private key
     *
     * @throws WrongField for files that can not be used
     */
    public function __construct(
        private readonly string $caFile,
        private readonly string $certificateFile = '',
        private readonly string $keyFile = '',
    ) {
        Requests::check(extension_loaded('openssl'), 'TLS needs the extension openssl');
        self::certificate($caFile);
        $both = ($certificateFile === '') === ($keyFile === '');
        Requests::check($both, "a client's certificate and its key are given together");
        if ($certificateFile !== '') {
            $key = openssl_pkey_get_private(self::read($keyFile));
            $own = self::certificate($certificateFile);
            $fits = $key !== false && openssl_x509_check_private_key($own, $key);
            Requests::check($fits, "$keyFile holds no private key, or not that of $certificateFile");
        }
    }

    /** @internal The context in which a socket to that address becomes a secure one. */
    public function context(string $address): array
    {
        $own = ['local_cert' => $this->certificateFile, 'local_pk' => $this->keyFile];
        return ($this->certificateFile === '' ? [] : $own) + [
            'cafile' => $this->caFile,
            'verify_peer' => true,
            'verify_peer_name' => true,
            'peer_name' => trim(substr($address, 0, (int) strrpos($address, ':')), '[]'),
            'allow_self_signed' => false,
            'SNI_enabled' => true,
        ];
    }

    /**
     * @internal Shakes hands as far as that goes without waiting: true when it is done.
     *
     * @param resource $socket
     *
     * @throws NotSent where nothing comes of it
     */
    public function shakeHands(mixed $socket): bool
    {
        error_clear_last();
        $done = @stream_socket_enable_crypto($socket, true, STREAM_CRYPTO_METHOD_TLSv1_3_CLIENT);
        if ($done === false) {
            $said = error_get_last()['message'] ?? 'the handshake failed';
            $why = trim(preg_replace('/^[a-z_]+\(\): |[[:cntrl:]]+/', ' ', $said));
            throw new NotSent("the connection can't be made secure: $why");
        }
        return $done === true;
    }

    private static function certificate(string $file): \OpenSSLCertificate
    {
        $certificate = @openssl_x509_read(self::read($file));
        Requests::check($certificate !== false, "$file holds no certificate");
        return $certificate;
    }

    private static function read(string $file): string
    {
        $text = is_file($file) ? @file_get_contents($file) : false;
        Requests::check($text !== false, "$file can not be read");
        return $text;
    }
}
