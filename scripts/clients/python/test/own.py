"""What is Python's own of the clients: the rules on an invented clock, threads, the command line.

All else is held by scripts/clients/test_clients.py, which runs this too: python3 test/own.py, with
this folder and ../tests on the path.
"""

import contextlib
import io
import socket
import struct
import threading
import time
import unittest
from unittest import mock

import catraca
from catraca import (
    Client,
    ClusterOp,
    ErrorCode,
    Recorded,
    Refused,
    Tls,
    Transaction,
    Verdict,
    _frames,
)
from catraca import __main__ as command_line
from catraca._exchange import MAX_UNANSWERED, Deciding, Exchange
from catraca._opening import Openings
from catraca._options import Options, Timing
from catraca._recovery import Link
from catraca._route import Route
from catraca._values import CLUSTER_STATE_BODY
from drivers import FOR_EVER_S
from fake_server import PAYEE, PAYER, WithFakeServers, transaction, verdict_frame
from rules import STANDBY, deaf, node, primary

PAYMENT = ["--payer", PAYER, "--payee", PAYEE, "--amount", "12"]
WELCOME = struct.pack("<BBBBI16s16sHHII48s12s", 1, 1, 1, 0, 1, b"", b"", 1, 0, 512, 8, b"", b"")


class Rules(unittest.TestCase):
    """The exchange on a clock that the test moves."""

    def exchange(self, *addresses, **options):
        times_s = 2.0, 2.5, 0.05, 2.0
        checked = Options.checked(addresses or ["a:1"], "primary", "", "", 0, times_s, False, None)
        return Exchange(checked, 0.0)

    def submit(self, exchange, now, amount=1):
        deciding = Deciding(transaction(amount))
        deciding.begin(now)
        return exchange.add(deciding.request(), now)

    def connected(self, exchange, now):
        """The link of the next attempt, welcomed."""
        exchange.advance(now)
        link = exchange.to_open.pop(0)
        exchange.received(link, _frames.frame(_frames.Kind.WELCOME, 0, WELCOME), now)
        self.assertIs(exchange.connection, link)
        exchange.advance(now)
        return link

    def answer(self, exchange, link, correlation, now, amount=1):
        exchange.received(link, verdict_frame((correlation, transaction(amount))), now)

    def test_an_answer_that_came_counts_however_late_it_is_read(self):
        exchange = self.exchange()
        first, second = self.submit(exchange, 0.0, 1), self.submit(exchange, 0.0, 2)
        link = self.connected(exchange, 0.0)
        self.answer(exchange, link, second, 100.0, 2)
        self.answer(exchange, link, first, 100.0, 1)
        exchange.advance(100.0)
        self.assertEqual([exchange.ended[one].lsn for one in (second, first)], [2, 1])
        self.assertIs(exchange.connection, link, "the connection goes on")

    def test_silence_ends_a_request_at_its_time_and_with_it_the_connection(self):
        exchange = self.exchange()
        sent = self.submit(exchange, 0.0)
        link = self.connected(exchange, 0.0)
        exchange.advance(2.0)
        self.assertEqual(exchange.wake_at(), 2.5, "the budget, and half a second")
        exchange.advance(2.499)
        self.assertEqual(exchange.ended, {})
        exchange.advance(2.5)
        self.assertEqual(exchange.ended[sent].recorded, Recorded.PERHAPS)
        self.assertEqual((exchange.connection, exchange.to_close), (None, [link]))

    def test_what_waited_is_sent_with_the_rest_of_its_budget_or_not_at_all(self):
        exchange = self.exchange()
        self.submit(exchange, 0.0)
        link = self.connected(exchange, 1.5)
        at = 128 + 16 + _frames.BUDGET_AT
        self.assertEqual(struct.unpack_from("<I", link.output, at), (500_000,))
        late = self.exchange()
        never = self.submit(late, 0.0)
        late.advance(2.0)
        self.assertIsInstance(late.ended[never], catraca.ConnectError)
        self.assertEqual(late.ended[never].recorded, Recorded.NO)

    def test_what_nobody_waits_for_keeps_its_place_until_it_is_answered_and_is_not_sent_again(self):
        exchange = self.exchange()
        first, second = self.submit(exchange, 0.0, 1), self.submit(exchange, 0.0, 2)
        link = self.connected(exchange, 0.0)
        exchange.abandon(first)
        self.assertEqual(len(exchange), 2)
        exchange.failed(link, ConnectionError("gone"), 0.1)
        again = self.connected(exchange, 0.2)
        self.assertEqual(len(exchange), 1)
        self.answer(exchange, again, second, 0.3, 2)
        self.assertEqual(list(exchange.ended), [second])
        unsent = self.exchange()
        unsent.abandon(self.submit(unsent, 0.0))
        self.assertEqual(len(unsent), 0)

    def test_others_are_asked_after_half_a_second_of_silence_and_once_a_second(self):
        exchange = self.exchange("a:1", "b:1")
        self.submit(exchange, 0.0)
        self.connected(exchange, 0.0)
        self.assertEqual(exchange.wake_at(), 0.5)
        exchange.advance(0.5)
        (look,) = exchange.to_open
        self.assertEqual(look.address, "b:1")
        exchange.advance(1.0)
        self.assertEqual(exchange.to_close, [look], "its time is over")
        self.assertEqual(exchange.wake_at(), 1.5)

    def test_pauses_double_within_bounds(self):
        exchange = self.exchange()
        for failures in range(200):
            exchange._failures = failures
            whole_s = 0.0 if failures < 2 else min(0.05 * 2.0 ** min(failures - 2, 16), 2.0)
            self.assertTrue(whole_s / 2 <= exchange.pause_s() <= whole_s, failures)

    def test_what_waits_is_bounded(self):
        exchange = self.exchange()
        request = Deciding(transaction())
        request.begin(0.0)
        for _ in range(MAX_UNANSWERED):
            exchange.add(request.request(), 0.0)
        with self.assertRaises(catraca.FieldError):
            exchange.add(request.request(), 0.0)

    def test_learned_addresses_are_few_and_the_configured_ones_stay(self):
        route = Route(["a:1"])
        for number in range(50):
            route.begin_round()
            self.assertTrue(route.standby(f"x:{number}"))
            self.assertEqual(route.address, f"x:{number}")
        self.assertEqual(route.addresses, ["a:1", "x:46", "x:47", "x:48", "x:49"])


class Values(unittest.TestCase):
    def test_what_is_printed_leaves_documents_out(self):
        shown = f"{transaction(12)} {Deciding(transaction(12)).request()}"
        self.assertIn("order-12", shown)
        for secret in ("04933228680", "12ABC34501DE35", "332", "01DE"):
            self.assertNotIn(secret, shown)

    def test_end_to_end_id(self):
        made = catraca.end_to_end_id("12345678", 1_795_350_896, "a" * 11)
        self.assertEqual(made, "E12345678202611221234aaaaaaaaaaa")
        self.assertRegex(catraca.end_to_end_id("AB345678"), r"^EAB345678\d{12}[a-zA-Z0-9]{11}$")
        for ispb, suffix in (("1234567", None), ("1234 678", None), ("12345678", "short")):
            with self.assertRaises(catraca.FieldError):
                catraca.end_to_end_id(ispb, suffix=suffix)

    def test_each_mistake_is_named(self):
        sound = {"id": "a", "payer": PAYER, "payee": PAYEE, "amount_centavos": 1}
        for change in ({"amount_centavos": 1 << 63}, {"flags": 1 << 16}, {"pix_key": b"x"},
                       {"ip": "nowhere"}, {"device": -1}, {"event_time_ns": -1}):  # fmt: skip
            with self.subTest(change), self.assertRaises(catraca.FieldError):
                Transaction(**{**sound, **change}).encode()

    def test_what_can_not_work_is_refused_and_the_credential_not_shown(self):
        for wrong in ({"address": []}, {"address": ["a:1", "a:1"]}, {"address": "::1:7400"},
                      {"role": "both"}, {"in_flight": 65_537}, {"connect_timeout_s": 0},
                      {"answer_timeout_s": -1}, {"reconnect_max_s": 1e9}, {"credential": "x" * 8193},
                      {"tls": Tls("ca.pem", "client.pem")}):  # fmt: skip
            with self.subTest(wrong), self.assertRaises(catraca.FieldError) as refused:
                Client(**{"address": "a:1", "lazy": True, **wrong})
            self.assertEqual(refused.exception.recorded, Recorded.NO)
        with Client("a:1", credential="sesame", lazy=True) as client:
            self.assertNotIn("sesame", repr(client))
            with self.assertRaises(catraca.FieldError):
                _ = client.welcome
            with self.assertRaises(catraca.FieldError):
                client.receive()
        with self.assertRaises(catraca.ConnectError):
            client.ping()


class Waiting(WithFakeServers):
    """The client that waits."""

    def test_the_operator_asks_a_standby(self):
        def script(peer):
            peer.welcome(role=STANDBY, primary="127.0.0.1:1")
            request = peer.read()
            correlation = struct.unpack_from("<Q", request, 8)[0]
            self.assertEqual(request[16:], _frames.cluster_body(ClusterOp.PROMOTE, True))
            ids = b"", b"", b""
            places = b"127.0.0.1:1", b"", b""
            body = CLUSTER_STATE_BODY.pack(STANDBY, 2, 1, 0, 3, *ids, 7, 0, 12, *places)
            peer.write(_frames.frame(_frames.Kind.CLUSTER_STATE, correlation, body))

        with Client(self.serve(script), role="any") as client:
            state = client.cluster(ClusterOp.PROMOTE, force=True)
            self.assertEqual((state.primary, state.in_sync, state.connected), (False, True, False))
            self.assertEqual((state.epoch, state.behind_records, state.silence_ms), (3, 7, 12))

    def test_waiting_in_silence_is_no_work(self):
        """Whoever looks, and whoever does not, sleeps until there is something to do."""
        answers = threading.Event()

        def slow(peer):
            peer.welcome()
            submitted = peer.submit()
            self.assertTrue(answers.wait(FOR_EVER_S))
            peer.verdict(submitted)

        for role in ("any", "primary"):
            answers.clear()
            turns = []

            def counted(client, wait_s, move=Client._move, turns=turns):
                turns.append(wait_s)
                return move(client, wait_s)

            looks = Timing(silence_s=0.05, look_every_s=0.2, look_time_s=0.1)
            addresses = self.serve(slow), self.serve_all(node(lambda: False))
            with self.subTest(role), mock.patch.object(Client, "_move", counted):
                with Client(addresses, role=role, timing=looks) as client:
                    timer = threading.Timer(0.5, answers.set)
                    timer.start()
                    self.assertEqual(client.decide(transaction(2)).lsn, 2)
                    timer.join()
                self.assertLess(len(turns), 200)

    def test_what_comes_of_an_interrupted_request_is_no_reply_to_anybody(self):
        def script(peer):
            peer.welcome()
            asked = peer.read()
            submitted = peer.submit()
            pong = struct.pack("<Q", 77)
            correlation = struct.unpack_from("<Q", asked, 8)[0]
            peer.write(_frames.frame(_frames.Kind.PONG, correlation, pong))
            peer.verdict(submitted)

        def interrupted(client, until, turn=Client._turn):
            turn(client, 0.0)
            if client._exchange.carries():
                raise KeyboardInterrupt
            turn(client, until)

        with Client(self.serve(script)) as client:
            with mock.patch.object(Client, "_turn", interrupted):
                with self.assertRaises(KeyboardInterrupt):
                    client.ping()
            client.submit(transaction(5))
            self.assertEqual(client.receive().result().lsn, 5)
            self.assertEqual(client.owed, 0)

    def test_a_hanging_address_has_one_thread_however_often_it_is_asked(self):
        tried, release = [], threading.Event()

        def hanging(place, **_):
            tried.append(place[0])
            release.wait(FOR_EVER_S)
            raise OSError("nothing")

        def drained(openings, count):
            until, failed = time.monotonic() + FOR_EVER_S, []
            while len(failed) < count:
                self.assertLess(time.monotonic(), until)
                taken = openings.take()
                failed += [taken[0].address] if taken else []
            return sorted(failed)

        links = [Link(address, b"", time.monotonic() + 1) for address in ("a:1", "b:1") * 5]
        openings = Openings(None)
        with mock.patch("socket.create_connection", hanging):
            for link in links:
                openings.begin(link)
            self.assertEqual(drained(openings, 8), ["a:1"] * 4 + ["b:1"] * 4, "refused at once")
            release.set()
            self.assertEqual(drained(openings, 2), ["a:1", "b:1"])
            openings.begin(Link("a:1", b"", time.monotonic() + 1))
            self.assertEqual(drained(openings, 1), ["a:1"])
        self.assertEqual(sorted(tried), ["a", "a", "b"])
        openings.close()

    def test_more_than_sockets_take_at_once_goes_out(self):
        # A megabyte, and sockets that take less than a quarter of it.
        count, little, taken, much = 5_000, 4_096, 1 << 16, 1 << 20

        def slow(peer):
            peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, taken)
            peer.welcome(count)
            # Nothing is read until all of it waits.
            self.assertTrue(submitted.wait(FOR_EVER_S))
            for _ in range(count):
                peer.verdict(peer.submit())

        submitted = threading.Event()
        patient = mock.patch("catraca._exchange.ANSWER_GRACE_S", FOR_EVER_S)
        with patient, Client(self.serve(slow), answer_timeout_s=FOR_EVER_S) as client:
            (used,) = client._sockets.values()
            used.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, little)
            for amount in range(1, count + 1):
                client.submit(transaction(amount))
            self.assertTrue(client._full, "the socket takes no more")
            submitted.set()
            used.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, much)
            lsns = {client.receive().result().lsn for _ in range(count)}
        self.assertEqual(lsns, set(range(1, count + 1)))


class CommandLine(WithFakeServers):
    def run_it(self, *arguments):
        """The status, and what it printed."""
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                status = command_line.main([*arguments])
            except SystemExit as ended:
                status = ended.code
        return status, output.getvalue() + errors.getvalue()

    def test_it_sends_one_transaction(self):
        def script(peer):
            peer.welcome()
            peer.verdict(peer.submit(), Verdict.REVIEW)

        forms = ([], "review: transaction order-1"), (["--json"], '"verdict": "review"')
        for extra, expected in forms:
            told = self.run_it("--addr", self.serve(script), *PAYMENT, "--id", "order-1", *extra)
            self.assertEqual(told[0], 0)
            self.assertIn(expected, told[1])

    def test_it_takes_several_addresses(self):
        def standby(peer):
            peer.welcome(role=STANDBY)
            deaf(peer)

        for form in (lambda a, b: ["--addr", f"{a},{b}"], lambda a, b: ["--addr", a, "--addr", b]):
            told = self.run_it(*form(self.serve(standby), self.serve(primary())), *PAYMENT)
            self.assertEqual(told[0], 0)
            self.assertIn("approve: transaction", told[1])

    def test_it_waits_for_a_primary(self):
        asked = []

        def promoted():
            asked.append(1)
            return len(asked) > 3

        told = self.run_it("--addr", self.serve_all(node(promoted)), *PAYMENT)
        self.assertEqual(told[0], 0)
        self.assertIn("approve: transaction", told[1])

    def test_it_gives_up_when_the_budget_is_over(self):
        address = self.serve_all(node(lambda: False))
        began = time.monotonic()
        told = self.run_it("--addr", address, "--budget-ms", "1000", *PAYMENT)
        self.assertEqual(told[0], 1)
        self.assertGreaterEqual(time.monotonic() - began, 1.0)
        self.assertIn(f"no primary: {address} is a standby", told[1])

    def test_it_refuses_what_can_not_work(self):
        for wrong in ("nowhere", "localhost:", ":7400", "localhost:0", "localhost:65536",
                      "localhost:7_400", "a:7400,b"):  # fmt: skip
            with self.subTest(wrong):
                status, text = self.run_it("--addr", wrong, *PAYMENT)
                self.assertEqual(status, 2)
                self.assertIn("is no host:port", text)
        status, text = self.run_it("--payer", "1", "--payee", PAYEE, "--amount", "12")
        self.assertEqual(status, 2)
        self.assertIn("a document has 11", text)


class Errors(unittest.TestCase):
    def test_a_refusal_says_what_it_means(self):
        perhaps = ErrorCode.UNCONFIRMED, ErrorCode.BAD_FIELD
        means = {ErrorCode.LATE: Recorded.YES, **dict.fromkeys(perhaps, Recorded.PERHAPS)}
        for code in ErrorCode:
            recorded = Refused(code, 0, "", False).recorded
            self.assertEqual(recorded, means.get(code, Recorded.NO), code.name)
        doubtful = Refused(ErrorCode.DEADLINE, 0, "a\nb", False).after_doubt()
        self.assertEqual((doubtful.recorded, str(doubtful)), (Recorded.PERHAPS, "DEADLINE: a b"))


if __name__ == "__main__":
    unittest.main()
