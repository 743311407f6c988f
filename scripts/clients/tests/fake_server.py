"""Fake servers: each connection is handled by the next script, which reads and writes as it likes."""

import contextlib
import socket
import ssl
import struct
import threading
import unittest

from catraca import Transaction, Verdict, _frames as frames

# Bytes that a socket holds that is to hold little, and the segments that go with that.
LITTLE = 4_096
LEAST_SEGMENT = 536
PAYER, PAYEE = "049.332.286-80", "12.ABC.345/01DE-35"


def transaction(amount=1):
    return Transaction(f"order-{amount}", PAYER, PAYEE, amount, event_time_ns=7)


class Peer:
    """The server's end of a connection."""

    def __init__(self, connection):
        self.connection = connection

    def read(self):
        header = self.exactly(16)
        return header and header + self.exactly(struct.unpack_from("<I", header)[0] - 16)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            try:
                more = self.connection.recv(count - len(data))
            except (ConnectionError, ssl.SSLError):
                more = b""
            if not more:
                return b""
            data += more
        return data

    def welcome(self, in_flight=8, role=1, primary="", epoch=1):
        hello = self.read()
        body = struct.pack("<BBBBI16s16sHHII48s12s", 1, role, 1, 0, epoch, b"", b"", 1, 0, 512, in_flight, primary.encode(), b"")
        self.write(frames.frame(frames.Kind.WELCOME, 0, body))
        return hello

    def submit(self):
        raw = self.read()
        assert len(raw) == 192 and raw[4] == 3, raw
        return struct.unpack_from("<Q", raw, 8)[0], Transaction.decode(raw[16:188])

    def write(self, data):
        with contextlib.suppress(OSError):
            self.connection.sendall(data)

    def verdict(self, submitted, verdict=Verdict.APPROVE, flags=0):
        self.write(verdict_frame(submitted, verdict, flags))

    def error(self, correlation, code, retry_after_ms=0, closing=False):
        body = struct.pack("<HHI128s", code, 8, retry_after_ms, b"a reason")
        raw = bytearray(frames.frame(frames.Kind.ERROR, correlation, body))
        raw[6] = closing
        self.write(bytes(raw))


def verdict_frame(submitted, verdict=Verdict.APPROVE, flags=0):
    """The answer to a SUBMIT; its lsn is the amount, so that a test can tell whose it is."""
    correlation, payment = submitted
    body = struct.pack("<BBHIQQHIQQH", verdict, flags, 0, 0, 0, 0, 0, 0, payment.amount_centavos, 0, 0)
    return frames.frame(frames.Kind.VERDICT, correlation, body)


class WithFakeServers(unittest.TestCase):
    def serve(self, *scripts, port=0, tls=None, little=False):
        """Starts a server with a script for each connection, in order, over TLS where there is a context of it; the address. What
        failed in a script fails the test. A handshake of TLS that fails ends a connection before its script. `little`: sockets
        take little that is not read, at both ends."""
        listener = socket.create_server(("127.0.0.1", port))
        if little:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE)
            # What a sender buffers is a number of segments.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, LEAST_SEGMENT)
        failures = []

        def run():
            try:
                for script in scripts:
                    connection, _ = listener.accept()
                    connection.settimeout(20)
                    if tls:
                        try:
                            connection = tls.wrap_socket(connection, server_side=True)
                        except (ConnectionError, ssl.SSLError):
                            connection.close()
                            continue
                    with connection:
                        script(Peer(connection))
            except BaseException as failure:  # Any: it is raised again where the test ends.
                failures.append(failure)
            listener.close()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()

        def finish():
            thread.join(20)
            self.assertFalse(thread.is_alive(), "a script waits for ever")
            for failure in failures:
                raise failure

        self.addCleanup(finish)
        return "%s:%d" % listener.getsockname()

    def serve_all(self, script):
        """Starts a server with one script for all connections, as many as come; the address."""
        listener = socket.create_server(("127.0.0.1", 0))
        failures, threads, connections = [], [], []

        def handle(connection):
            connection.settimeout(20)
            with connection:
                try:
                    script(Peer(connection))
                except BaseException as failure:  # As in `serve`.
                    failures.append(failure)

        def accept():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connections.append(connection)
                threads.append(threading.Thread(target=handle, args=(connection,), daemon=True))
                threads[-1].start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()

        def finish():
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join(20)
            for connection in connections:
                # A client may have gone without a word, and a look of one may still wait.
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in [accepting, *threads]:
                thread.join(20)
                self.assertFalse(thread.is_alive(), "a script waits for ever")
            listener.close()
            for failure in failures:
                raise failure

        self.addCleanup(finish)
        return "%s:%d" % listener.getsockname()
