"""Credentials that HELLO has no room for: every client against fake nodes and a real one."""

import struct

import drivers
from live import WithNodes, payment
from rules import WithClient

from catraca import ErrorCode, Verdict
from catraca import _frames as frames

FIRST, SECOND, THIRD = (f"token {number:04} " * 100 for number in (1, 2, 3))


class Tokens(WithClient):
    """Fake nodes that take tokens."""

    def read_token(self, peer):
        """A token in its parts; with the correlation of the last one."""
        token, whole = b"", 1
        while len(token) < whole:
            raw = peer.read()
            self.assertEqual((len(raw), raw[4]), (512, frames.Kind.AUTH))
            whole, offset = struct.unpack_from("<HH", raw, 16)
            self.assertEqual(offset, len(token))
            token += raw[24:][:whole - offset]
        return struct.unpack_from("<Q", raw, 8)[0], token.decode()

    def accept(self, peer, correlation, expires_at_ns):
        peer.write(frames.frame(frames.Kind.AUTH_STATE, correlation, struct.pack("<Q8x", expires_at_ns)))

    def greet(self, peer, token, expires_at_ns):
        """Takes a client that comes with this token. WELCOME says so before the token is read: to the client it is the same."""
        hello = peer.welcome()
        self.assertEqual((hello[6], hello[18]), (1, 0), "it announces a token, and holds none")
        correlation, shown = self.read_token(peer)
        self.assertEqual(shown, token)
        self.accept(peer, correlation, expires_at_ns)

    def test_a_long_credential_follows_hello_and_its_end_is_known(self):
        for expires_at_ns in (0, 77):
            def script(peer, expires_at_ns=expires_at_ns):
                self.greet(peer, FIRST, expires_at_ns)
                peer.verdict(peer.submit())

            self.connect(self.serve(script), credential=FIRST)
            self.assertEqual(self.driver().ask("token")["expires_at_ns"], str(expires_at_ns))
            self.assertEqual(self.decide(3)["lsn"], "3")

    def test_a_token_that_is_refused_is_the_end(self):
        def script(peer):
            peer.read()
            peer.error(self.read_token(peer)[0], ErrorCode.UNAUTHENTICATED, closing=True)

        said = self.refused(self.connect, self.serve(script), credential=FIRST)
        self.assertEqual((said["type"], said["code"]), ("refused", str(int(ErrorCode.UNAUTHENTICATED))))

    def test_a_token_is_renewed_beside_what_is_unanswered_and_stays_where_a_newer_one_is_refused(self):
        def first(peer):
            self.greet(peer, FIRST, 10)
            submitted = peer.submit()
            correlation, token = self.read_token(peer)
            self.assertEqual(token, SECOND)
            peer.verdict(submitted)
            self.accept(peer, correlation, 20)
            peer.error(self.read_token(peer)[0], ErrorCode.FORBIDDEN)
            peer.verdict(peer.submit())

        def second(peer):
            # Over the next connection comes the newest one that was not refused.
            self.greet(peer, SECOND, 30)
            peer.verdict(peer.submit(), Verdict.DENY)
            self.assertFalse(peer.read(), "nothing more is asked")

        self.connect(self.serve(first, second), credential=FIRST)
        self.submit(1)
        self.assertEqual(self.driver().ask("renew", token=SECOND)["expires_at_ns"], "20")
        self.assertEqual(self.driver().ask("token")["expires_at_ns"], "20")
        self.assertEqual(self.receive(1), [1])
        said = self.refused(self.driver().ask, "renew", token=THIRD)
        self.assertEqual((said["type"], said["code"]), ("refused", str(int(ErrorCode.FORBIDDEN))))
        self.assertEqual(self.decide(2)["lsn"], "2")
        self.assertEqual(self.decide(3)["verdict"], "3")
        self.assertEqual(self.driver().ask("token")["expires_at_ns"], "30")
        for wrong in ("", "x" * 8193):
            self.assertEqual(self.refused(self.driver().ask, "renew", token=wrong)["type"], "field")

    def test_a_connection_that_is_lost_while_its_token_is_renewed_is_followed_by_one_with_the_newer_one(self):
        def first(peer):
            self.greet(peer, FIRST, 10)
            self.read_token(peer)

        def second(peer):
            self.greet(peer, SECOND, 20)
            correlation, token = self.read_token(peer)
            self.assertEqual(token, SECOND, "the answer was lost")
            self.accept(peer, correlation, 20)
            peer.verdict(peer.submit())

        self.connect(self.serve(first, second), credential=FIRST)
        self.assertEqual(self.driver().ask("renew", token=SECOND)["expires_at_ns"], "20")
        self.assertEqual(self.decide(2)["lsn"], "2")

    def test_what_is_no_auth_state_ends_the_handshake(self):
        def nonsense(peer):
            peer.welcome()
            self.read_token(peer)
            peer.write(frames.frame(frames.Kind.PONG, 0, bytes(8)))
            self.assertFalse(peer.read(), "nothing is sent to who can't be trusted")

        def sound(peer):
            self.greet(peer, FIRST, 0)
            peer.verdict(peer.submit())

        self.connect(self.serve(nonsense), self.serve(sound), credential=FIRST)
        self.assertEqual(self.decide(4)["lsn"], "4")


class TokensLive(WithNodes):
    """A real node with a credential of 1 KiB."""

    def test_a_long_credential_is_known_and_may_be_shown_again(self):
        secret = self.folder / "credential"
        secret.write_text("0123456789abcdef" * 64)
        secret.chmod(0o600)
        node = self.start("a", clients=f"""[[clients]]
name = "batch"
credential_file = "{secret}"
permissions = ["submit"]
""")
        self.connect(node.listen, credential=secret.read_text())
        self.decided(payment())
        self.assertEqual(self.driver().ask("renew", token=secret.read_text())["expires_at_ns"], "0")
        with self.assertRaises(drivers.Failed) as refused:
            self.driver().ask("renew", token="another one" * 50)
        self.assertEqual(refused.exception.said["code"], "5", "UNAUTHENTICATED")
        self.decided(payment())
