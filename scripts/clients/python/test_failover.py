"""Tests of the Python client against a cluster of fake servers: python3 -m unittest (in this folder), nothing to install."""

import contextlib
import io
import socket
import struct
import threading
import time
import unittest

import catraca
from catraca import __main__ as catraca_command
from catraca import _frames as frames
from catraca import ClusterOp, ErrorCode, Verdict
from catraca._connection import Route
from fake_server import PAYEE, PAYER, WithFakeServers, transaction

STANDBY = 2


def primary(answers=1, flags=0):
    """A primary that answers so many transactions, and hangs up."""
    def script(peer):
        peer.welcome()
        for _ in range(answers):
            peer.verdict(peer.submit(), Verdict.APPROVE, flags)
    return script


class Failover(WithFakeServers):
    def standby(self, named=""):
        """A standby that names a primary, and waits until the client leaves."""
        def script(peer):
            peer.welcome(role=STANDBY, primary=named)
            self.assertFalse(peer.read(), "the client leaves a standby without a word")
        return script

    def test_a_standby_is_left_for_the_primary_that_it_names_and_that_one_is_remembered(self):
        second = self.serve(primary(), primary())
        with self.client(self.serve(self.standby(second))) as client:
            self.assertTrue(client.welcome.primary)
            client.decide(transaction(1))
            # The standby has gone, and so has the connection: the learned address is all there is.
            client.decide(transaction(2))

    def test_a_standby_that_names_nobody_or_nonsense_is_left_for_the_next_address(self):
        for named in ("", "not an address\n"):
            with self.subTest(named), self.client(self.serve(self.standby(named)), self.serve(primary())) as client:
                client.decide(transaction())

    def test_not_primary_in_the_middle_of_a_pipeline_moves_everything_to_the_new_primary(self):
        def first(peer):
            peer.welcome()
            submitted = [peer.submit() for _ in range(4)]
            peer.verdict(submitted[1])
            for one in (submitted[2], submitted[0]):
                peer.error(one[0], ErrorCode.NOT_PRIMARY)
            self.assertFalse(peer.read(), "the client leaves")

        def second(peer):
            peer.welcome()
            for amount in (1, 3, 4):
                submitted = peer.submit()
                self.assertEqual(submitted[1].amount_centavos, amount, "the old order, without what was answered")
                self.assertTrue(0 < submitted[1].budget_us < 2_000_000)
                peer.verdict(submitted, Verdict.DENY, 1 if amount == 4 else 0)

        with self.client(self.serve(first), self.serve(second)) as client:
            for amount in (1, 2, 3, 4):
                client.submit(transaction(amount))
            answers = [(decision.lsn, decision.duplicate) for decision in (client.receive().result() for _ in range(4))]
            self.assertEqual(answers, [(2, False), (1, False), (3, False), (4, True)])

    def test_a_primary_that_confirms_nothing_is_left_where_there_is_another(self):
        def cut_off(peer):
            peer.welcome()
            peer.error(peer.submit()[0], ErrorCode.UNCONFIRMED)
            # What came since and was not answered goes with the client.
            while peer.read():
                pass

        with self.client(self.serve(cut_off), self.serve(primary(2))) as client:
            for amount in (1, 2):
                client.submit(transaction(amount))
            self.assertEqual(client.receive().error.code, ErrorCode.UNCONFIRMED)
            self.assertEqual([client.receive().result().lsn, client.decide(transaction(3)).lsn], [2, 3])

    def test_one_that_confirms_nothing_is_kept_where_there_is_no_other(self):
        def unconfirming(peer):
            peer.welcome()
            for _ in range(10):
                peer.error(peer.submit()[0], ErrorCode.UNCONFIRMED)
            peer.verdict(peer.submit())

        with self.client(self.serve(unconfirming), self.serve(self.standby())) as client:
            for amount in range(1, 11):
                with self.assertRaises(catraca.Refused):
                    client.decide(transaction(amount))
            self.assertEqual(client.decide(transaction(11)).lsn, 11)

    def test_a_stopping_node_is_left_where_there_is_another(self):
        def stopping(peer):
            peer.welcome()
            peer.error(peer.submit()[0], ErrorCode.SHUTTING_DOWN)
            self.assertFalse(peer.read(), "the client leaves")

        with self.client(self.serve(stopping), self.serve(primary())) as client:
            client.decide(transaction())
        with self.client(self.serve(stopping)) as client, self.assertRaises(catraca.Refused) as refused:
            client.decide(transaction())
        self.assertEqual(refused.exception.code, ErrorCode.SHUTTING_DOWN)

    def test_without_a_primary_the_client_gives_up_at_the_deadline_and_says_so(self):
        pause_s, met, left = 0.02, [], threading.Event()

        def standby(named):
            def script(peer):
                if left.is_set():
                    return
                peer.welcome(role=STANDBY, primary=named)
                met.append(1)
            return script

        def demoted(peer):
            peer.welcome()
            peer.error(peer.submit()[0], ErrorCode.NOT_PRIMARY)

        count = 400
        second = self.serve(*[standby("")] * count)
        first = self.serve(demoted, *[standby(second)] * count)
        options = {"reconnect_attempts": 10**6, "reconnect_base_s": pause_s, "reconnect_max_s": pause_s}
        with self.client(first, second, **options) as client:
            payment = transaction()
            payment.budget_us = 300_000
            began = time.monotonic()
            with self.assertRaises(catraca.NoAnswer) as gave_up:
                client.decide(payment)
            elapsed_s = time.monotonic() - began
        self.assertIn(f"{second} is a standby", str(gave_up.exception))
        self.assertGreaterEqual(elapsed_s, 0.3)
        # Half of a pause is chance; two nodes are met between two pauses, and two before the first.
        self.assertTrue(2 < len(met) <= 2 * (elapsed_s / (pause_s / 2) + 2), met)
        with self.assertRaises(catraca.NoPrimary) as none:
            self.client(first, second, **options)
        self.assertEqual(str(none.exception), f"no primary: {first} is a standby; {second} is a standby")
        left.set()
        for address in (first, second):
            host, _, port = address.partition(":")
            # The scripts that are left over end with a connection each.
            with contextlib.suppress(OSError):
                while True:
                    with socket.create_connection((host, int(port))) as connection:
                        connection.recv(1)  # One after the other: past its backlog a listener makes them wait for a second.

    def test_a_primary_that_is_gone_and_back_gets_what_is_unanswered(self):
        def gone(peer):
            peer.welcome()
            peer.submit()

        first = self.serve(gone)

        def second(peer):
            # Its only script is over, and its listener with it, when this one can bind there.
            deadline = time.monotonic() + 10
            while True:
                try:
                    self.serve(primary(flags=1), port=int(first.rpartition(":")[2]))
                    break
                except OSError:
                    self.assertLess(time.monotonic(), deadline)
                    time.sleep(0.001)
            self.standby(first)(peer)

        with self.client(first, self.serve(second)) as client:
            self.assertTrue(client.decide(transaction()).duplicate)

    def test_who_wants_any_node_stays_with_a_standby(self):
        def script(peer):
            peer.welcome(role=STANDBY, primary="127.0.0.1:1")
            request = peer.read()
            correlation = struct.unpack_from("<Q", request, 8)[0]
            self.assertEqual(request, frames.cluster_frame(ClusterOp.PROMOTE, True, correlation))
            body = frames.CLUSTER_STATE_BODY.pack(STANDBY, 2, 1, 0, 3, b"", b"", b"", 7, 0, 12, b"127.0.0.1:1", b"", b"")
            peer.write(frames.frame(frames.Kind.CLUSTER_STATE, correlation, body))
            peer.error(peer.submit()[0], ErrorCode.NOT_PRIMARY)

        with self.client(self.serve(script), role="any") as client:
            state = client.cluster(ClusterOp.PROMOTE, force=True)
            self.assertEqual((state.primary, state.in_sync, state.connected, state.epoch), (False, True, False, 3))
            self.assertEqual((state.behind_records, state.silence_ms, state.primary_address), (7, 12, "127.0.0.1:1"))
            with self.assertRaises(catraca.Refused) as refused:
                client.decide(transaction())
            self.assertEqual(refused.exception.code, ErrorCode.NOT_PRIMARY)

    def test_learned_addresses_are_few_and_the_configured_ones_stay(self):
        route = Route(["a:1"])
        for number in range(50):
            route.begin_round()
            self.assertTrue(route.standby(f"x:{number}"))
            self.assertEqual(route.address, f"x:{number}")
        self.assertEqual(route.addresses, ["a:1", "x:46", "x:47", "x:48", "x:49"])

    def test_the_command_line_takes_several_addresses(self):
        payment = ["--payer", PAYER, "--payee", PAYEE, "--amount", "12"]
        for form in (lambda a, b: ["--addr", f"{a},{b}"], lambda a, b: ["--addr", a, "--addr", b]):
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                self.assertEqual(catraca_command.main([*form(self.serve(self.standby()), self.serve(primary())), *payment]), 0)
            self.assertIn("approve: transaction", output.getvalue())


if __name__ == "__main__":
    unittest.main()
