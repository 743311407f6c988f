<?php

// One connection, of TCP or of TLS over it, that never waits: from the attempt to connect through
// the handshakes to frames. Whoever has it waits for several of them at once.

declare(strict_types=1);

namespace Catraca;

/** @internal */
final class Connection
{
    /** What the server said; null before the handshake is over. */
    public ?Welcome $welcome = null;
    /** Until when its token counts, nanoseconds since 1970 UTC; 0 for no end. */
    public int $expiresAtNs = 0;
    /** When something came last, nanoseconds of hrtime. */
    public int $quietSince;
    /** @var resource */
    public readonly mixed $socket;
    private bool $connected = false;
    /** AUTH_STATE follows WELCOME, which waits for it here. */
    private readonly bool $hasToken;
    private ?Welcome $greeted = null;
    /** Hands are shaken over TLS still. */
    private bool $securing;
    private string $input = '';
    private int $at = 0;
    private string $output;

    /** Begins to connect. The name's resolution waits for the system's resolver. */
    public function __construct(
        public readonly string $address,
        #[\SensitiveParameter] string $hello,
        private readonly ?Tls $tls,
        public readonly int $deadline,
    ) {
        $secure = $tls === null ? [] : ['ssl' => $tls->context($address)];
        $context = stream_context_create(['socket' => ['tcp_nodelay' => true]] + $secure);
        $flags = STREAM_CLIENT_CONNECT | STREAM_CLIENT_ASYNC_CONNECT;
        $socket = @stream_socket_client("tcp://$address", $code, $why, 1.0, $flags, $context);
        if ($socket === false) {
            throw new NotSent("no connection to $address: " . ($why ?: 'it can not be reached'));
        }
        stream_set_blocking($socket, false);
        $this->socket = $socket;
        $this->securing = $tls !== null;
        $this->output = $hello;
        $this->hasToken = strlen($hello) > Requests::HELLO_LEN;
        $this->quietSince = hrtime(true);
    }

    public function close(): void
    {
        if (is_resource($this->socket)) {
            fclose($this->socket);
        }
    }

    /** Something waits to be written, or the connection is not there yet. */
    public function wantsToWrite(): bool
    {
        return !$this->connected || !$this->securing && $this->output !== '';
    }

    /** Takes a frame to be written. */
    public function send(string $frame): void
    {
        $this->output .= $frame;
    }

    /** Writes what the socket takes now. Throws where the connection is lost, or there is none to be had. */
    public function write(): void
    {
        if (!$this->connected) {
            if (@stream_socket_get_name($this->socket, true) === false) {
                throw new NotSent("no connection to $this->address: it was refused");
            }
            $this->connected = true;
        }
        if (!$this->isSecure()) {
            return;
        }
        $count = $this->output === '' ? 0 : @fwrite($this->socket, $this->output);
        if ($count === false) {
            throw new NotSent('the connection failed');
        }
        $this->output = substr($this->output, $count);
    }

    /** Reads what has come: the next replies, of which the first one must be WELCOME, and behind a token the second one AUTH_STATE. Throws where nothing more will come. */
    public function read(): \Generator
    {
        if (!$this->connected || $this->securing && !$this->isSecure()) {
            return;
        }
        $data = @fread($this->socket, 1 << 16);
        // Not feof, which would wait where a record of TLS has come that holds none of our bytes.
        if ($data === false || $data === '' && stream_get_meta_data($this->socket)['eof']) {
            throw new NotSent('the server closed the connection');
        }
        if ($data === '') {
            return;
        }
        $this->quietSince = hrtime(true);
        $this->input = substr($this->input, $this->at) . $data;
        $this->at = 0;
        while (strlen($this->input) - $this->at >= Requests::HEADER_LEN) {
            // Checked against its kind before anything is waited for.
            $length = Replies::length(substr($this->input, $this->at, Requests::HEADER_LEN));
            if (strlen($this->input) - $this->at < $length) {
                return;
            }
            [$correlation, $answer] = Replies::decode(substr($this->input, $this->at, $length));
            $this->at += $length;
            if ($this->welcome !== null) {
                yield $correlation => $answer;
                continue;
            }
            $isNext = $this->greeted === null ? $answer instanceof Welcome : $answer instanceof AuthState;
            if ($correlation !== 0 || !$isNext) {
                throw $correlation === 0 && $answer instanceof Refused ? $answer : new BrokenProtocol('no WELCOME came');
            }
            if ($answer instanceof Welcome) {
                $this->greeted = $answer;
                if ($this->hasToken) {
                    continue;
                }
            } else {
                $this->expiresAtNs = $answer->expiresAtNs;
            }
            $this->welcome = $this->greeted;
            // What may stand behind it is read by who uses the connection.
            return;
        }
    }

    /** Goes on with the handshake of TLS, where there is one. Our bytes wait for its end. */
    private function isSecure(): bool
    {
        $this->securing = $this->securing && !$this->tls->shakeHands($this->socket);
        return !$this->securing;
    }
}
