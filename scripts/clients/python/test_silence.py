"""Tests of what the Python client does while a node says nothing: python3 -m unittest (in this folder), nothing to install."""

import contextlib
import io
import threading
import time
import unittest
from unittest import mock

import catraca
from catraca import __main__ as catraca_command
from catraca import _connection as catraca_connection
from catraca import ErrorCode
from fake_server import PAYEE, PAYER, WithFakeServers, transaction

STANDBY = 2
PAYMENT = ["--payer", PAYER, "--payee", PAYEE, "--amount", "12"]
# Longer than any test takes: who waits for it fails.
FOR_EVER_S = 15


def impatient(**other):
    """Silence and looks soon, so that what takes seconds in earnest leaves a busy machine the most of a budget."""
    return mock.patch.multiple(catraca._client, **{"SILENCE_S": 0.05, "LOOK_EVERY_S": 0.2, "LOOK_TIME_S": 0.2, **other})


def silent(peer):
    """Takes everything, and says nothing."""
    peer.welcome()
    while peer.read():
        pass


def deaf(peer):
    """Not even a WELCOME."""
    while peer.read():
        pass


def node(is_primary, answered=None):
    """The script of a node that is a standby until `is_primary` says otherwise, and answers then."""
    def script(peer):
        decides = is_primary()
        peer.welcome(role=1 if decides else STANDBY)
        while decides and (raw := peer.read()):
            submitted = int.from_bytes(raw[8:16], "little"), catraca.Transaction.decode(raw[16:188])
            if answered is not None:
                answered.append((submitted[1].amount_centavos, submitted[1].budget_us))
            peer.verdict(submitted)
    return script


class Silence(WithFakeServers):
    def test_a_silent_primary_is_left_for_the_one_that_is_promoted_meanwhile(self):
        asked, answered = [], []

        def promoted():
            # Whoever asks first is told that nobody decides here.
            asked.append(1)
            return len(asked) > 1

        addresses = self.serve(silent), self.serve_all(node(promoted, answered))
        with impatient(), self.client(*addresses) as client:
            for amount in (1, 2, 3):
                client.submit(transaction(amount))
            self.assertEqual([client.receive().result().lsn for _ in range(3)], [1, 2, 3])
        self.assertGreater(len(asked), 1)
        self.assertEqual([amount for amount, _ in answered], [1, 2, 3], "the old order")
        self.assertTrue(all(0 < budget_us < 2_000_000 for _, budget_us in answered), "what remains of the budget")

    def test_without_impatience_it_takes_no_more_than_a_budget(self):
        with self.client(self.serve(silent), self.serve_all(node(lambda: True))) as client:
            self.assertEqual(client.decide(transaction(5)).lsn, 5)

    def test_the_answer_of_a_slow_primary_is_taken_where_there_is_no_other(self):
        looked = threading.Event()

        def slow(peer):
            peer.welcome()
            submitted = peer.submit()
            self.assertTrue(looked.wait(FOR_EVER_S), "nobody looked")
            peer.verdict(submitted)

        def standby():
            looked.set()
            return False

        with impatient(), self.client(self.serve(slow), self.serve_all(node(standby))) as client:
            self.assertEqual(client.decide(transaction(7)).lsn, 7)

    def test_an_answer_is_read_while_another_address_hangs(self):
        looked = threading.Event()

        def slow(peer):
            peer.welcome()
            submitted = peer.submit()
            self.assertTrue(looked.wait(FOR_EVER_S), "nobody looked")
            peer.verdict(submitted)

        def hanging(peer):
            peer.read()
            looked.set()
            # Until the client has its answer and goes.
            deaf(peer)

        addresses = self.serve(slow), self.serve_all(hanging)
        with impatient(LOOK_TIME_S=3, LOOK_EVERY_S=2 * FOR_EVER_S), self.client(*addresses) as client:
            self.assertEqual(client.decide(transaction(8)).lsn, 8)

    def test_a_hanging_address_does_not_hide_another_one(self):
        addresses = self.serve(silent), self.serve_all(deaf), self.serve_all(node(lambda: True))
        with impatient(LOOK_TIME_S=3, LOOK_EVERY_S=2 * FOR_EVER_S), self.client(*addresses) as client:
            self.assertEqual(client.decide(transaction(9)).lsn, 9)

    def test_where_both_are_silent_the_time_ends_as_without_a_look(self):
        looked = threading.Event()

        def hanging(peer):
            peer.read()
            looked.set()
            deaf(peer)

        addresses = self.serve(silent), self.serve_all(hanging)
        with impatient(LOOK_TIME_S=3), self.client(*addresses, reconnect_attempts=0) as client:
            payment = transaction()
            payment.budget_us = 300_000
            began = time.monotonic()
            with self.assertRaises(catraca.NoAnswer) as gave_up:
                client.decide(payment)
            self.assertGreaterEqual(time.monotonic() - began, 0.3 + catraca._client.ANSWER_GRACE_S)
        self.assertTrue(looked.wait(FOR_EVER_S), "nobody looked")
        self.assertIn("did not answer in time", str(gave_up.exception))

    def test_a_node_that_has_nothing_to_answer_may_be_silent(self):
        asked = []
        addresses = self.serve(node(lambda: True)), self.serve_all(node(lambda: asked.append(1)))
        with impatient(SILENCE_S=FOR_EVER_S), self.client(*addresses) as client:
            for amount in (1, 2, 3):
                # As if it had waited longer than that for the caller.
                client._connection.quiet_since -= 2 * FOR_EVER_S
                client.submit(transaction(amount))
                self.assertEqual(client.receive().result().lsn, amount)
        self.assertEqual(asked, [])

    def test_waiting_in_silence_is_no_work(self):
        """Whoever looks, and whoever does not, sleeps until there is something to do."""
        def slow(peer):
            peer.welcome()
            submitted = peer.submit()
            time.sleep(0.3)
            peer.error(submitted[0], ErrorCode.UNCONFIRMED)
            submitted = peer.submit()
            time.sleep(0.3)
            peer.verdict(submitted)

        for role in ("any", "primary"):
            reads = []

            def counted(connection, deadline, read=catraca_connection.Connection.next, reads=reads):
                reads.append(deadline)
                return read(connection, deadline)

            with self.subTest(role), mock.patch.object(catraca_connection.Connection, "next", counted), impatient():
                with self.client(self.serve(slow), self.serve_all(node(lambda: False)), role=role) as client:
                    client.submit(transaction(1))
                    self.assertEqual(client.receive().error.code, ErrorCode.UNCONFIRMED)
                    self.assertEqual(client.decide(transaction(2)).lsn, 2)
                # A look is watched for its time at most, one step after the other.
                self.assertLess(len(reads), 200)

    def test_a_primary_of_an_earlier_epoch_is_no_primary_to_go_to(self):
        looked = threading.Event()

        def newer(peer):
            peer.welcome(epoch=3)
            submitted = peer.submit()
            self.assertTrue(looked.wait(FOR_EVER_S), "nobody looked")
            peer.error(submitted[0], ErrorCode.UNCONFIRMED)
            peer.verdict(peer.submit())

        def replaced(peer):
            peer.welcome(epoch=2)
            looked.set()
            self.assertFalse(peer.read(), "nothing is sent to a node that was replaced")

        with impatient(), self.client(self.serve(newer), self.serve_all(replaced)) as client:
            with self.assertRaises(catraca.Refused):
                client.decide(transaction(1))
            self.assertEqual(client.decide(transaction(2)).lsn, 2)

    def test_an_answer_that_came_in_time_counts_however_late_it_is_read(self):
        answered = threading.Event()

        def script(peer):
            peer.welcome()
            submitted = [peer.submit(), peer.submit()]
            peer.verdict(submitted[1])
            peer.verdict(submitted[0])
            answered.set()
            peer.verdict(peer.submit())

        with self.client(self.serve(script), answer_timeout_s=0.5) as client:
            client.submit(transaction(1))
            client.submit(transaction(2))
            self.assertTrue(answered.wait(FOR_EVER_S))
            time.sleep(0.6)
            self.assertEqual([client.receive().result().lsn for _ in range(2)], [2, 1])
            self.assertEqual(client.decide(transaction(3)).lsn, 3, "the connection goes on")

    def test_a_hanging_address_has_one_thread_however_often_it_is_asked(self):
        tried, release = [], threading.Event()

        def hanging(address, *_):
            tried.append(address)
            release.wait(FOR_EVER_S)
            raise catraca.ConnectError("nothing")

        lookout = catraca_connection.Lookout(b"", 1)
        with mock.patch.object(catraca_connection, "Connection", hanging):
            for _ in range(5):
                lookout.ask(["a:1", "b:2"], 1, 1)
            release.set()
            until = time.monotonic() + FOR_EVER_S
            while lookout.is_asking and time.monotonic() < until:
                time.sleep(0.001)
            self.assertEqual(sorted(tried), ["a:1", "b:2"])
            lookout.ask(["a:1"], 1, 1)
            while lookout.is_asking and time.monotonic() < until:
                time.sleep(0.001)
        self.assertEqual(sorted(tried), ["a:1", "a:1", "b:2"])
        self.assertIsNone(lookout.take())


class WithoutAConnection(WithFakeServers):
    """What waits for a primary to be there."""

    def test_within_a_budget_an_address_that_hangs_leaves_time_for_another(self):
        addresses = self.serve_all(deaf), self.serve_all(node(lambda: True))
        with impatient(), self.client(*addresses, lazy=True) as client:
            with self.assertRaises(catraca.CatracaError):
                _ = client.welcome
            self.assertEqual(client.decide(transaction(4)).lsn, 4)
            self.assertTrue(client.welcome.primary)

    def test_the_budget_is_what_is_left_after_the_waiting(self):
        asked, answered = [], []

        def promoted():
            asked.append(1)
            return len(asked) > 2

        with self.client(self.serve_all(node(promoted, answered)), lazy=True) as client:
            self.assertEqual(client.decide(transaction(6)).lsn, 6)
        (_, budget_us), = answered
        self.assertTrue(0 < budget_us < 2_000_000, budget_us)

    def test_the_command_line_waits_for_a_primary(self):
        asked, output = [], io.StringIO()

        def promoted():
            asked.append(1)
            return len(asked) > 3

        address = self.serve_all(node(promoted))
        with contextlib.redirect_stdout(output):
            self.assertEqual(catraca_command.main(["--addr", address, *PAYMENT]), 0)
        self.assertIn("approve: transaction", output.getvalue())

    def test_the_command_line_gives_up_when_the_budget_is_over(self):
        address, errors = self.serve_all(node(lambda: False)), io.StringIO()
        began = time.monotonic()
        with contextlib.redirect_stderr(errors):
            self.assertEqual(catraca_command.main(["--addr", address, "--budget-ms", "300", *PAYMENT]), 1)
        self.assertGreaterEqual(time.monotonic() - began, 0.3)
        self.assertIn(f"no primary: {address} is a standby", errors.getvalue())

    def test_the_command_line_does_not_wait_for_what_is_no_address(self):
        for wrong in ("nowhere", "localhost:", ":7400", "localhost:0", "localhost:65536", "localhost:7_400", "a:7400,b"):
            with self.subTest(wrong), contextlib.redirect_stderr(io.StringIO()) as errors, self.assertRaises(SystemExit) as exit_:
                catraca_command.main(["--addr", wrong, *PAYMENT])
            self.assertEqual(exit_.exception.code, 2)
            self.assertIn("is no host:port", errors.getvalue())


if __name__ == "__main__":
    unittest.main()
