"""Credentials that HELLO has no room for: every client against fake nodes and a real one."""

import struct

import drivers
from live import WithNodes, payment
from rules import WithClient

from catraca import ErrorCode, Verdict
from catraca import _frames as frames

FIRST, SECOND, THIRD = (f"token {number:04} " * 100 for number in (1, 2, 3))
# For what a server never answers, and for what a fake one answers at once.
UNANSWERED_MS = 1_500


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

    def test_a_connection_that_is_lost_while_its_token_is_renewed_is_followed_by_one_with_the_old_one(self):
        def first(peer):
            self.greet(peer, FIRST, 10)
            self.read_token(peer)

        def second(peer):
            self.greet(peer, FIRST, 10)
            correlation, token = self.read_token(peer)
            self.assertEqual(token, SECOND, "the answer was lost")
            self.accept(peer, correlation, 20)

        def third(peer):
            self.greet(peer, SECOND, 20)
            peer.verdict(peer.submit())

        self.connect(self.serve(first, second, third), credential=FIRST)
        self.assertEqual(self.driver().ask("renew", token=SECOND)["expires_at_ns"], "20")
        self.assertEqual(self.decide(2)["lsn"], "2")

    def test_a_renewal_that_is_not_answered_leaves_the_connection_and_the_old_token(self):
        def first(peer):
            self.greet(peer, FIRST, 10)
            self.assertEqual(self.read_token(peer)[1], SECOND)
            # The client renews again, and sends no second AUTH before the first one is answered.
            peer.verdict(peer.submit())

        def second(peer):
            self.greet(peer, FIRST, 10)
            peer.verdict(peer.submit())

        self.connect(self.serve(first, second), credential=FIRST, answer_timeout_ms=UNANSWERED_MS)
        self.assertEqual(self.refused(self.driver().ask, "renew", token=SECOND)["type"], "no_answer")
        self.refused(self.driver().ask, "renew", token=THIRD)
        self.assertEqual(self.driver().ask("token")["expires_at_ns"], "10")
        self.assertEqual(self.decide(2)["lsn"], "2")
        self.assertEqual(self.decide(3)["lsn"], "3")

    def test_a_late_answer_to_a_renewal_counts(self):
        def first(peer):
            self.greet(peer, FIRST, 10)
            correlation, _ = self.read_token(peer)
            submitted = peer.submit()
            self.accept(peer, correlation, 20)
            peer.verdict(submitted)
            # It may be renewed again.
            correlation, token = self.read_token(peer)
            self.assertEqual(token, THIRD)
            peer.error(correlation, ErrorCode.FORBIDDEN)
            peer.verdict(peer.submit())

        def second(peer):
            self.greet(peer, SECOND, 20)
            peer.verdict(peer.submit())

        self.connect(self.serve(first, second), credential=FIRST, answer_timeout_ms=UNANSWERED_MS)
        self.assertEqual(self.refused(self.driver().ask, "renew", token=SECOND)["type"], "no_answer")
        self.assertEqual(self.decide(2)["lsn"], "2")
        self.assertEqual(self.driver().ask("token")["expires_at_ns"], "20")
        self.assertEqual(self.refused(self.driver().ask, "renew", token=THIRD)["type"], "refused")
        self.assertEqual(self.decide(3)["lsn"], "3")
        self.assertEqual(self.decide(4)["lsn"], "4")

    def test_a_late_refusal_of_a_renewal_changes_nothing(self):
        def script(peer):
            self.greet(peer, FIRST, 10)
            correlation, _ = self.read_token(peer)
            submitted = peer.submit()
            peer.error(correlation, ErrorCode.UNAUTHENTICATED)
            peer.verdict(submitted)
            peer.verdict(peer.submit())

        self.connect(self.serve(script), credential=FIRST, answer_timeout_ms=UNANSWERED_MS)
        self.assertEqual(self.refused(self.driver().ask, "renew", token=SECOND)["type"], "no_answer")
        self.assertEqual(self.decide(2)["lsn"], "2")
        self.assertEqual(self.decide(3)["lsn"], "3")

    def test_a_token_that_could_not_be_checked_is_shown_when_the_old_one_has_ended(self):
        def first(peer):
            self.greet(peer, FIRST, 10)
            peer.error(self.read_token(peer)[0], ErrorCode.OVERLOADED, 5)
            peer.error(self.read_token(peer)[0], ErrorCode.RATE_LIMITED, 5)
            peer.verdict(peer.submit())

        def old_has_ended(peer):
            peer.read()
            correlation, token = self.read_token(peer)
            self.assertEqual(token, FIRST, "it may still count")
            peer.error(correlation, ErrorCode.UNAUTHENTICATED, closing=True)

        def newer(peer):
            self.greet(peer, SECOND, 20)
            peer.verdict(peer.submit())
            self.assertEqual(self.read_token(peer)[1], THIRD)
            # The one in use comes to its end before the newer one is answered.
            peer.error(0, ErrorCode.UNAUTHENTICATED, closing=True)

        def newest(peer):
            self.greet(peer, THIRD, 30)
            correlation, token = self.read_token(peer)
            self.assertEqual(token, THIRD)
            self.accept(peer, correlation, 30)

        self.connect(self.serve(first, old_has_ended, newer, newest), credential=FIRST)
        for code in (ErrorCode.OVERLOADED, ErrorCode.RATE_LIMITED):
            said = self.refused(self.driver().ask, "renew", token=SECOND)
            self.assertEqual((said["type"], said["code"]), ("refused", str(int(code))))
        self.assertEqual(self.decide(2)["lsn"], "2")
        self.assertEqual(self.decide(3)["lsn"], "3")
        self.assertEqual(self.driver().ask("renew", token=THIRD)["expires_at_ns"], "30")

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
