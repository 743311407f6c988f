"""How every client must behave towards one node, against fake ones that are silent, break off, or send garbage: the rules of
PROTOCOL.md, "Writing a client".
"""

import socket
import struct
import time

from drivers import Failed, of_transaction
from vectors import vectors

from catraca import _frames as frames
from catraca import ErrorCode, Transaction, Verdict
from fake_server import PAYER, WithFakeServers, transaction, verdict_frame

STANDBY = 2
# What an ERROR's code says of the transaction (PROTOCOL.md, Errors). BAD_FIELD: its time may lie before what the server
# remembers.
RECORDED = {ErrorCode.UNCONFIRMED: "perhaps", ErrorCode.BAD_FIELD: "perhaps", ErrorCode.LATE: "yes"}
# Looks at other nodes soon, so that what takes seconds in earnest leaves a busy machine the most of a budget.
IMPATIENT = {"silence_ms": 50, "look_every_ms": 200, "look_time_ms": 200}


def primary(answers=1, flags=0):
    """A primary that answers so many transactions, and hangs up."""
    def script(peer):
        peer.welcome()
        for _ in range(answers):
            peer.verdict(peer.submit(), Verdict.APPROVE, flags)
    return script


def silent(peer):
    """Takes everything, and says nothing."""
    peer.welcome()
    while peer.read():
        pass


def deaf(peer):
    """Not even a WELCOME."""
    while peer.read():
        pass


def node(is_primary, answered=None, epoch=1):
    """The script of a node that is a standby until `is_primary` says otherwise, and answers then."""
    def script(peer):
        decides = is_primary()
        peer.welcome(role=1 if decides else STANDBY, epoch=epoch)
        while decides and (raw := peer.read()):
            submitted = int.from_bytes(raw[8:16], "little"), Transaction.decode(raw[16:188])
            if answered is not None:
                answered.append((submitted[1].amount_centavos, submitted[1].budget_us))
            peer.verdict(submitted)
    return script


class WithClient(WithFakeServers):
    """`driver` gives the driver of the language under test."""

    def driver(self):
        raise NotImplementedError

    def connect(self, *addresses, **options):
        """A client, closed when the test ends, before its servers do."""
        self.addCleanup(self.driver().ask, "close")
        self.driver().ask("connect", address=",".join(addresses), **{"base_ms": 1, "max_ms": 4, **options})

    def decide(self, amount=1, **changes):
        return self.driver().ask("decide", **{**of_transaction(transaction(amount)), **changes})

    def submit(self, *amounts, **changes):
        for amount in amounts:
            self.driver().ask("submit", **{**of_transaction(transaction(amount)), **changes})

    def receive(self, count):
        """The numbers of the next decisions, in the order in which they came."""
        return [int(self.driver().ask("receive")["lsn"]) for _ in range(count)]

    def refused(self, do, *arguments, **fields):
        with self.assertRaises(Failed) as refused:
            do(*arguments, **fields)
        return refused.exception.said

    def standby(self, named=""):
        """A standby that names a primary, and waits until the client leaves."""
        def script(peer):
            peer.welcome(role=STANDBY, primary=named)
            self.assertFalse(peer.read(), "the client leaves a standby without a word")
        return script


class Answers(WithClient):
    """One node, and what it answers."""

    def test_a_transaction_is_decided(self):
        def script(peer):
            self.assertEqual(peer.welcome(), frames.hello_frame("sesame", "till-4", 3))
            submitted = peer.submit()
            self.assertEqual(submitted[1].encode(), transaction(5).encode(), "with its whole budget")
            self.assertNotEqual(submitted[0], 0)
            peer.verdict(submitted, Verdict.DENY, 2)

        self.connect(self.serve(script), credential="sesame", name="till-4", in_flight=3)
        self.assertEqual(self.driver().ask("welcome")["role"], "1")
        said = self.decide(5)
        self.assertEqual((said["verdict"], said["flags"], said["lsn"]), ("3", "2", "5"))

    def test_answers_out_of_order_and_in_pieces_find_their_requests(self):
        def script(peer):
            peer.welcome(10)
            submitted = [peer.submit() for _ in range(10)]
            for byte in b"".join(verdict_frame(one) for one in reversed(submitted)):
                peer.write(bytes([byte]))

        self.connect(self.serve(script))
        self.submit(*range(1, 11))
        self.assertEqual(sorted(self.receive(10)), list(range(1, 11)))

    def test_no_more_than_in_flight_is_unanswered(self):
        for allowed, wanted in ((2, 0), (8, 2)):
            def script(peer, allowed=allowed):
                peer.welcome(allowed)
                for _ in range(3):
                    first, second = peer.submit(), peer.submit()
                    peer.connection.setblocking(False)
                    with self.assertRaises(BlockingIOError):
                        peer.connection.recv(1, socket.MSG_PEEK)
                    peer.connection.settimeout(20)
                    peer.verdict(second)
                    peer.verdict(first)

            with self.subTest(allowed=allowed):
                self.connect(self.serve(script), in_flight=wanted)
                self.submit(*range(1, 7))
                self.assertEqual(sorted(self.receive(6)), list(range(1, 7)))

    def test_many_at_once(self):
        self.connect(self.serve_all(node(lambda: True)))
        self.driver().tell("pay", count=300, **of_transaction(transaction()))
        said = [self.driver().line() for _ in range(301)]
        self.assertEqual(said.pop()[0], "ok")
        self.assertEqual(sorted(int(one["number"]) for _, one in said), list(range(1, 301)))
        self.assertTrue(all(one["lsn"] == one["number"] for _, one in said))

    def test_what_is_unanswered_is_sent_again(self):
        def lost(peer):
            peer.welcome()
            submitted = [peer.submit() for _ in range(3)]
            peer.verdict(submitted[1])
            peer.write(verdict_frame(submitted[2])[:40])

        def after(peer):
            peer.welcome(1)
            for amount in (1, 3):
                submitted = peer.submit()
                self.assertEqual((submitted[1].amount_centavos, submitted[1].event_time_ns), (amount, 7))
                self.assertTrue(0 < submitted[1].budget_us < 2_000_000)
                peer.verdict(submitted, Verdict.DENY, 1)

        self.connect(self.serve(lost, lambda peer: peer.read(), after))
        self.submit(1, 2, 3)
        said = sorted((int(one["lsn"]), one["flags"]) for one in (self.driver().ask("receive") for _ in range(3)))
        self.assertEqual(said, [(1, "1"), (2, "0"), (3, "1")])

    def test_decide_waits_and_goes_round_as_the_errors_say(self):
        def first(peer):
            peer.welcome()
            for code in (ErrorCode.OVERLOADED, ErrorCode.RATE_LIMITED, ErrorCode.NOT_PRIMARY):
                peer.error(peer.submit()[0], code, 1)

        self.connect(self.serve(first), self.serve(primary()))
        self.assertEqual(self.decide()["verdict"], "1")

    def test_decide_does_not_wait_past_the_budget(self):
        def script(peer):
            peer.welcome()
            peer.error(peer.submit()[0], ErrorCode.RATE_LIMITED, 60_000)

        self.connect(self.serve(script))
        said = self.refused(self.decide)
        self.assertEqual((said["code"], said["retry_after_ms"], said["recorded"]), ("12", "60000", "no"))

    def test_errors_are_typed_and_the_connection_goes_on(self):
        def script(peer):
            peer.welcome()
            for code in answers:
                peer.error(peer.submit()[0], code, 9)

        answers = [code for code in ErrorCode if code != ErrorCode.NOT_PRIMARY]
        self.connect(self.serve(script))
        for code in answers:
            self.submit(1)
            said = self.refused(self.driver().ask, "receive")
            self.assertEqual((said["type"], said["code"], said["retry_after_ms"], said["detail"], said["recorded"]),
                             ("refused", str(int(code)), "9", "a reason", RECORDED.get(code, "no")))

    def test_a_refusal_of_what_was_sent_before_leaves_the_doubt(self):
        for code in (ErrorCode.DEADLINE, ErrorCode.OVERLOADED, ErrorCode.BAD_DOCUMENT):
            def lost(peer):
                peer.welcome()
                peer.submit()

            def refusing(peer, code=code):
                peer.welcome()
                peer.error(peer.submit()[0], code, 60_000)

            with self.subTest(code.name):
                self.connect(self.serve(lost, refusing))
                self.assertEqual(self.refused(self.decide)["recorded"], "perhaps")

    def test_after_a_closing_error_the_others_are_sent_again(self):
        def first(peer):
            peer.welcome()
            bad, _ = peer.submit(), peer.submit()
            peer.error(bad[0], ErrorCode.BAD_FRAME, closing=True)
            deaf(peer)

        self.connect(self.serve(first, primary()))
        self.submit(1, 2)
        self.assertEqual(self.refused(self.driver().ask, "receive")["code"], "1")
        self.assertEqual(self.receive(1), [2])

    def test_a_refused_handshake_is_final(self):
        def script(peer):
            peer.read()
            peer.error(0, ErrorCode.UNAUTHENTICATED, closing=True)

        address = self.serve(script, script)
        said = self.refused(self.driver().ask, "connect", address=address)
        self.assertEqual((said["type"], said["code"], said["recorded"]), ("refused", "5", "no"))
        self.connect(address, lazy=1)
        said = self.refused(self.decide)
        self.assertEqual((said["type"], said["code"], said["recorded"]), ("refused", "5", "no"))

    def test_where_nobody_listens(self):
        listener = socket.create_server(("127.0.0.1", 0))
        nobody = "127.0.0.1:%d" % listener.getsockname()[1]
        listener.close()
        said = self.refused(self.driver().ask, "connect", address=nobody)
        self.assertEqual((said["type"], said["recorded"]), ("connect", "no"))
        for wrong in ("no port", "127.0.0.1:99999", "127.0.0.1:", ":1"):
            self.assertIn(self.refused(self.driver().ask, "connect", address=wrong)["type"], ("connect", "field"))
        self.connect(nobody, self.serve(primary()))
        self.decide()
        self.connect(nobody, lazy=1)
        said = self.refused(self.decide, budget_us=100_000)
        self.assertEqual((said["type"], said["recorded"]), ("connect", "no"), "it was never sent")

    def test_silence_ends_with_no_answer(self):
        self.connect(self.serve_all(silent))
        began = time.monotonic()
        said = self.refused(self.decide, budget_us=100_000)
        self.assertEqual((said["type"], said["recorded"]), ("no_answer", "perhaps"))
        self.assertGreaterEqual(time.monotonic() - began, 0.6, "the budget, and half a second")

    def test_the_longest_wait_for_an_answer_can_be_shorter(self):
        self.connect(self.serve_all(silent), answer_timeout_ms=50)
        self.assertEqual(self.refused(self.decide)["type"], "no_answer")
        self.assertEqual(self.refused(self.driver().ask, "ping")["type"], "no_answer")

    def test_lookup_ping_and_cluster_between_transactions(self):
        stored = next(vector for vector in vectors(["RECORD"]) if vector["name"] == "record_with_extension")
        state = vectors(["CLUSTER_STATE"])[0]

        def answer(peer, request, reply):
            raw = bytearray.fromhex(reply)
            raw[8:16] = request[8:16]
            peer.write(bytes(raw))

        def script(peer):
            peer.welcome()
            submitted = peer.submit()
            lookup = peer.read()
            self.assertEqual(lookup[16:], frames.lookup_body("order-1", PAYER))
            peer.verdict(submitted)
            answer(peer, lookup, stored["hex"])
            ping = peer.read()
            peer.write(frames.frame(frames.Kind.PONG, struct.unpack_from("<Q", ping, 8)[0], struct.pack("<Q", 77)))
            cluster = peer.read()
            self.assertEqual(cluster[16:], frames.cluster_body())
            answer(peer, cluster, state["hex"])
            peer.error(struct.unpack_from("<Q", peer.read(), 8)[0], ErrorCode.NOT_FOUND)

        self.connect(self.serve(script))
        self.submit(1)
        found = self.driver().ask("lookup", id="order-1", payer=PAYER)
        self.assertEqual((found["verdict"], found["reason"], found["extension"]), ("3", "payer_listed", "0102030405060708"))
        self.assertEqual(self.driver().ask("ping")["server_time_ns"], "77")
        self.assertEqual(self.driver().ask("cluster")["epoch"], str(state["fields"]["epoch"]))
        self.assertEqual(self.refused(self.driver().ask, "lookup", id="order-2", payer="")["code"], "15")
        self.assertEqual(self.receive(1), [1])

    def test_a_server_that_breaks_the_protocol_is_left(self):
        def changed(at, value):
            def nonsense(submitted):
                raw = bytearray(verdict_frame(submitted))
                raw[at] = value
                return bytes(raw)
            return nonsense

        unknown_error = struct.pack("<HHI128s", 99, 0, 0, b"")
        cases = {
            "garbage": lambda _: b"\xff" * 300, "zeros": lambda _: bytes(300), "a short length": changed(0, 15),
            "another kind's length": changed(0, 65), "a huge length": changed(3, 255), "an unknown kind": changed(4, 99),
            "a client's kind": changed(4, 3), "another version": changed(5, 2), "an unknown correlation": changed(8, 200),
            "a huge correlation": changed(15, 255), "verdict 0": changed(16, 0), "an unknown verdict": changed(16, 4),
            "a second WELCOME": lambda submitted: bytes.fromhex(vectors(["WELCOME"])[0]["hex"]),
            "something else": lambda submitted: frames.frame(frames.Kind.PONG, submitted[0], bytes(8)),
            "an unknown error": lambda submitted: frames.frame(frames.Kind.ERROR, submitted[0], unknown_error),
        }
        for name, nonsense in cases.items():
            def first(peer, nonsense=nonsense):
                peer.welcome()
                peer.write(nonsense(peer.submit()))
                self.assertFalse(peer.read(), "the client goes on")

            def second(peer):
                peer.welcome()
                peer.verdict(peer.submit(), Verdict.DENY)

            with self.subTest(name):
                self.connect(self.serve(first, second))
                self.assertEqual(self.decide()["verdict"], "3")

    def test_an_answer_that_comes_twice_is_a_broken_server(self):
        def first(peer):
            peer.welcome()
            submitted = peer.submit()
            peer.verdict(submitted)
            peer.verdict(submitted)
            deaf(peer)

        self.connect(self.serve(first, primary()))
        self.assertEqual(self.decide(1)["lsn"], "1")
        self.assertEqual(self.decide(2)["lsn"], "2")

    def test_an_answer_to_what_was_not_sent_on_this_connection_is_a_broken_server(self):
        submitted = []

        def lost(peer):
            peer.welcome()
            submitted.extend([peer.submit(), peer.submit()])

        def guessing(peer):
            peer.welcome(1)
            self.assertEqual(peer.submit()[1].amount_centavos, 1)
            peer.verdict(submitted[1], Verdict.APPROVE)
            self.assertFalse(peer.read(), "the client goes on")

        def sound(peer):
            peer.welcome()
            for _ in range(2):
                peer.verdict(peer.submit(), Verdict.DENY)

        self.connect(self.serve(lost, lambda peer: peer.read(), guessing, sound))
        self.submit(1, 2)
        said = [self.driver().ask("receive") for _ in range(2)]
        self.assertEqual(sorted((one["lsn"], one["verdict"]) for one in said), [("1", "3"), ("2", "3")])

    def test_a_welcome_that_cannot_be_is_none(self):
        def changed(at, value):
            def nonsense(peer):
                peer.read()
                body = struct.pack("<BBBBI16s16sHHII48s12s", 1, 1, 1, 0, 1, b"", b"", 1, 0, 512, 8, b"", b"")
                raw = bytearray(frames.frame(frames.Kind.WELCOME, 0, body))
                raw[at] = value
                peer.write(bytes(raw))
                self.assertFalse(peer.read(), "nothing is sent to who can't be trusted")
            return nonsense

        # The length, the kind, the header's version, the correlation; the version, role, durability, no shards, no in_flight.
        wrong = (0, 129), (3, 255), (4, 4), (4, 99), (5, 2), (8, 1), (16, 2), (17, 0), (17, 3), (18, 4), (56, 0), (64, 0)
        for at, value in wrong:
            with self.subTest(at=at, value=value):
                self.connect(self.serve(changed(at, value)), self.serve(primary()))
                self.assertEqual(self.decide(3)["lsn"], "3")
