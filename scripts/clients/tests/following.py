"""How every client must follow the primary, and look for one while a node says nothing: the rules of PROTOCOL.md, "Following the
primary".
"""

import threading
import time

import drivers
from rules import IMPATIENT, STANDBY, WithClient, deaf, node, primary, silent

from catraca import ErrorCode, Verdict


class Following(WithClient):
    """Several nodes, of which one decides, for a while."""

    def test_a_standby_is_left_for_the_primary_that_it_names_and_that_one_is_remembered(self):
        second = self.serve(primary(), primary())
        self.connect(self.serve(self.standby(second)))
        self.decide(1)
        # The standby has gone, and so has the connection: the learned address is all there is.
        self.decide(2)

    def test_a_standby_that_names_nobody_or_nonsense_is_left_for_the_next_address(self):
        for named in ("", "not an address\n"):
            with self.subTest(named):
                self.connect(self.serve(self.standby(named)), self.serve(primary()))
                self.decide()

    def test_standbys_that_name_each_other_are_tried_once_in_a_round(self):
        met = []

        def counted(named):
            def script(peer):
                met.append(named)
                peer.welcome(role=STANDBY, primary=named())
            return script

        first = self.serve_all(counted(lambda: second))
        second = self.serve_all(counted(lambda: first))
        said = self.refused(self.driver().ask, "connect", address=f"{first},{second}")
        self.assertEqual((said["type"], said["no_primary"].lower()), ("connect", "true"))
        self.assertEqual(len(met), 2)

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

        self.connect(self.serve(first), self.serve(second))
        self.submit(1, 2, 3, 4)
        said = sorted((int(one["lsn"]), one["flags"]) for one in (self.driver().ask("receive") for _ in range(4)))
        self.assertEqual(said, [(1, "0"), (2, "0"), (3, "0"), (4, "1")])

    def test_a_primary_that_confirms_nothing_is_left_where_there_is_another(self):
        def cut_off(peer):
            peer.welcome()
            peer.error(peer.submit()[0], ErrorCode.UNCONFIRMED)
            deaf(peer)

        # Not for its silence.
        self.connect(self.serve(cut_off), self.serve(primary(2)), **{**IMPATIENT, "silence_ms": 60_000})
        self.submit(1, 2)
        said = self.refused(self.driver().ask, "receive")
        self.assertEqual((said["code"], said["recorded"]), ("10", "perhaps"))
        self.assertEqual([*self.receive(1), int(self.decide(3)["lsn"])], [2, 3])

    def test_one_that_confirms_nothing_is_kept_where_there_is_no_other(self):
        asked = []

        def unconfirming(peer):
            peer.welcome()
            for _ in range(10):
                peer.error(peer.submit()[0], ErrorCode.UNCONFIRMED)
            peer.verdict(peer.submit())

        self.connect(self.serve(unconfirming), self.serve_all(node(lambda: asked.append(1))))
        began = time.monotonic()
        for amount in range(1, 11):
            self.refused(self.decide, amount)
        self.assertEqual(self.decide(11)["lsn"], "11")
        self.assertLessEqual(len(asked), 2 + int(time.monotonic() - began), "at most once a second")

    def test_a_primary_of_an_earlier_epoch_is_no_primary_to_go_to(self):
        looked = threading.Event()

        def newer(peer):
            peer.welcome(epoch=3)
            submitted = peer.submit()
            peer.error(submitted[0], ErrorCode.UNCONFIRMED)
            self.assertTrue(looked.wait(drivers.FOR_EVER_S), "nobody looked")
            peer.verdict(peer.submit())

        def replaced(peer):
            peer.welcome(epoch=2)
            self.assertFalse(peer.read(), "nothing is sent to a node that was replaced")
            # The client has left: it stays where it was.
            looked.set()

        self.connect(self.serve(newer), self.serve_all(replaced), **IMPATIENT)
        self.refused(self.decide, 1)
        # The client may be one that looks only while it waits for something.
        self.submit(2)
        self.assertEqual(self.receive(1), [2])

    def test_a_stopping_node_is_left_where_there_is_another(self):
        def stopping(peer):
            peer.welcome()
            peer.error(peer.submit()[0], ErrorCode.SHUTTING_DOWN)
            deaf(peer)

        self.connect(self.serve(stopping), self.serve(primary()))
        self.decide()
        self.connect(self.serve(stopping))
        self.assertEqual(self.refused(self.decide)["code"], "14")

    def test_a_primary_that_is_gone_and_back_gets_what_is_unanswered(self):
        def gone(peer):
            peer.welcome()
            peer.submit()

        first = self.serve(gone)

        def second(peer):
            deadline = time.monotonic() + drivers.FOR_EVER_S
            while True:
                try:
                    self.serve(primary(flags=1), port=int(first.rpartition(":")[2]))
                    break
                except OSError:
                    self.assertLess(time.monotonic(), deadline)
                    time.sleep(0.001)
            self.standby(first)(peer)

        self.connect(first, self.serve(second))
        self.assertEqual(self.decide()["flags"], "1")

    def test_without_a_primary_the_budget_is_the_end_of_it(self):
        def demoted(peer):
            peer.welcome()
            peer.error(peer.submit()[0], ErrorCode.NOT_PRIMARY)

        met = []

        def follower(peer):
            met.append(1)
            peer.welcome(role=STANDBY)

        self.connect(self.serve(demoted), self.serve_all(follower), base_ms=20, max_ms=20)
        began = time.monotonic()
        said = self.refused(self.decide, budget_us=300_000)
        elapsed_s = time.monotonic() - began
        self.assertEqual((said["type"], said["recorded"]), ("no_answer", "perhaps"), "it was sent once")
        self.assertIn("is a standby", said["text"])
        self.assertGreaterEqual(elapsed_s, 0.3)
        # Half of a pause is chance.
        self.assertTrue(1 < len(met) <= 2 * (elapsed_s / 0.01 + 2), met)
        self.connect(self.serve_all(follower), lazy=1)
        said = self.refused(self.decide, budget_us=100_000)
        self.assertEqual((said["type"], said["recorded"], said["no_primary"].lower()), ("connect", "no", "true"))

    def test_who_wants_any_node_stays_with_a_standby(self):
        def script(peer):
            peer.welcome(role=STANDBY, primary="127.0.0.1:1")
            peer.error(peer.submit()[0], ErrorCode.NOT_PRIMARY)

        self.connect(self.serve(script), role="any")
        self.assertEqual(self.driver().ask("welcome")["role"], "2")
        self.assertEqual(self.refused(self.decide)["code"], "7")


class Silence(WithClient):
    """What a client does while a node says nothing."""

    def test_a_silent_primary_is_left_for_the_one_that_is_promoted_meanwhile(self):
        asked, answered = [], []

        def promoted():
            # Whoever asks first is told that nobody decides here.
            asked.append(1)
            return len(asked) > 1

        self.connect(self.serve(silent), self.serve_all(node(promoted, answered)), **IMPATIENT)
        self.submit(1, 2, 3)
        self.assertEqual(sorted(self.receive(3)), [1, 2, 3])
        self.assertGreater(len(asked), 1)
        self.assertEqual([amount for amount, _ in answered], [1, 2, 3], "the old order")
        self.assertTrue(all(0 < budget_us < 2_000_000 for _, budget_us in answered), "what remains of the budget")

    def test_without_impatience_it_takes_no_more_than_a_budget(self):
        self.connect(self.serve(silent), self.serve_all(node(lambda: True)))
        self.assertEqual(self.decide(5)["lsn"], "5")

    def test_the_answer_of_a_slow_primary_is_taken_where_there_is_no_other(self):
        looked = threading.Event()

        def slow(peer):
            peer.welcome()
            submitted = peer.submit()
            self.assertTrue(looked.wait(drivers.FOR_EVER_S), "nobody looked")
            peer.verdict(submitted)

        def standby():
            looked.set()
            return False

        self.connect(self.serve(slow), self.serve_all(node(standby)), **IMPATIENT)
        self.assertEqual(self.decide(7)["lsn"], "7")

    def test_an_answer_is_read_while_another_address_hangs(self):
        looked = threading.Event()

        def slow(peer):
            peer.welcome()
            submitted = peer.submit()
            self.assertTrue(looked.wait(drivers.FOR_EVER_S), "nobody looked")
            peer.verdict(submitted)

        def hanging(peer):
            peer.read()
            looked.set()
            deaf(peer)

        options = {**IMPATIENT, "look_time_ms": 60_000, "look_every_ms": 60_000}
        self.connect(self.serve(slow), self.serve_all(hanging), **options)
        self.assertEqual(self.decide(8)["lsn"], "8")

    def test_a_hanging_address_does_not_hide_another_one(self):
        options = {**IMPATIENT, "look_time_ms": 60_000, "look_every_ms": 60_000}
        self.connect(self.serve(silent), self.serve_all(deaf), self.serve_all(node(lambda: True)), **options)
        self.assertEqual(self.decide(9)["lsn"], "9")

    def test_a_node_that_owes_nothing_may_be_silent(self):
        asked = []
        self.connect(self.serve(node(lambda: True)), self.serve_all(node(lambda: asked.append(1))),
                     **{**IMPATIENT, "silence_ms": 60_000})
        for amount in (1, 2, 3):
            self.assertEqual(self.decide(amount)["lsn"], str(amount))
        self.assertEqual(asked, [])

    def test_within_a_budget_an_address_that_hangs_leaves_time_for_another(self):
        self.connect(self.serve_all(deaf), self.serve_all(node(lambda: True)), lazy=1, **IMPATIENT)
        self.assertEqual(self.decide(4)["lsn"], "4")

    def test_the_budget_is_what_is_left_after_waiting_for_a_primary(self):
        asked, answered = [], []

        def promoted():
            asked.append(1)
            return len(asked) > 3

        self.connect(self.serve_all(node(promoted, answered)), lazy=1, base_ms=5, max_ms=5)
        self.assertEqual(self.decide(6)["lsn"], "6")
        (_, budget_us), = answered
        self.assertTrue(0 < budget_us < 2_000_000, budget_us)
