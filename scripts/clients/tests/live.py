"""Every client against real nodes, and through the death of one."""

import collections
import os
import pathlib
import shutil
import tempfile
import time
import unittest

import drivers
import nodes
from drivers import Failed, of_transaction

from catraca import Transaction, end_to_end_id
from fake_server import PAYEE, PAYER

# What is the same however often a transaction is sent.
SAME = ("verdict", "score", "policy_version", "shard", "epoch", "lsn", "receipt")
# Decisions that are there when the primary dies, and that the promoted node makes before nobody pays any more.
OF_EACH_NODE = 100


def payment(**fields):
    return of_transaction(Transaction(**{"id": end_to_end_id("12345678"), "payer": PAYER, "payee": PAYEE, "amount_centavos": 1234,
                                         **fields}))


class WithNodes(unittest.TestCase):
    """`driver` gives the driver of the language under test."""

    def driver(self):
        raise NotImplementedError

    def setUp(self):
        # On a disk, as a log must be.
        drivers.target_dir().mkdir(parents=True, exist_ok=True)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="clients.", dir=drivers.target_dir()))
        self.addCleanup(shutil.rmtree, self.folder)

    def start(self, name, certificates=None, clients=""):
        """A node, which goes with the test."""
        node = nodes.Node(self.folder / name, certificates=certificates, clients=clients)
        self.addCleanup(node.kill)
        return node

    def start_pair(self, certificates=None):
        """A primary and its standby, in sync."""
        pair = nodes.start_pair(self.folder / "pair", certificates)
        for one in pair:
            self.addCleanup(one.kill)
        return pair

    def connect(self, *addresses, **options):
        self.addCleanup(self.driver().ask, "close")
        # The machine may be slow, and nothing here is about how soon.
        times = {"connect_timeout_ms": 60_000, "answer_timeout_ms": 60_000}
        self.driver().ask("connect", address=",".join(addresses), **times, **options)

    def decided(self, fields):
        """The decision, however often it must be asked for."""
        until = time.monotonic() + drivers.FOR_EVER_S
        while True:
            try:
                return self.driver().ask("decide", **fields)
            except Failed as failed:
                self.assertIn(failed.said["recorded"], ("no", "perhaps", "yes"))
                self.assertLess(time.monotonic(), until, failed)

    def outlives(self, primary, standby, addresses, **options):
        """The primary is killed and the standby promoted while payments go through."""
        self.connect(*addresses, **options)
        of_all = payment(id=f"pay-{os.getpid()}-", event_time_ns=time.time_ns())
        enough = self.folder / "enough"
        # Each millisecond one, until there is that file: however slow the machine is, payments go through all the time.
        self.driver().tell("pay", count=10**6, until=enough, **of_all)
        answers, by_epoch = {}, collections.Counter()

        def next_answer():
            word, said = self.driver().line()
            if word == "answer":
                self.assertNotIn(said["number"], answers, "one answer each")
                answers[said["number"]] = said
                by_epoch[said.get("epoch")] += 1
            else:
                self.assertEqual(word, "ok", said)
            return word == "answer"

        while by_epoch["1"] < OF_EACH_NODE:
            self.assertTrue(next_answer())
        primary.kill()
        standby.promote()
        while by_epoch["2"] < OF_EACH_NODE:
            self.assertTrue(next_answer())
        enough.touch()
        while next_answer():
            pass
        self.assertEqual(sorted(map(int, answers)), list(range(1, len(answers) + 1)), "each has an answer")
        # Whatever had no decision gets one now; whatever had one keeps it.
        epochs = set()
        for number, said in answers.items():
            now = self.decided({**of_all, "id": of_all["id"] + number, "amount_centavos": number})
            epochs.add(now["epoch"])
            if "verdict" in said:
                self.assertEqual(now["flags"], "1", "decided before")
                self.assertEqual({name: now[name] for name in SAME}, {name: said[name] for name in SAME})
        self.assertEqual(epochs, {"1", "2"}, "some were decided by each node")
        self.assertEqual(self.driver().ask("cluster")["epoch"], "2")


class Live(WithNodes):
    """Real nodes, in clear."""

    def test_one_node(self):
        node = self.start("a")
        self.connect(node.listen)
        paid = payment(ip="192.0.2.1", payer_ispb="12345678", device=9)
        first = self.decided(paid)
        again = self.decided({**paid, "budget_us": 1_000_000, "trace_id": "0123456789abcdef" * 2})
        self.assertEqual(again["flags"], "1", "decided before")
        self.assertEqual({name: again[name] for name in SAME}, {name: first[name] for name in SAME})
        stored = self.driver().ask("lookup", id=paid["id"], payer=PAYER)
        self.assertEqual((stored["lsn"], stored["amount_centavos"], stored["payer"], stored["ip"]),
                         (first["lsn"], "1234", "04933228680", "192.0.2.1"))
        self.assertEqual(int.from_bytes(bytes.fromhex(stored["chain"])[:8], "little"), int(first["receipt"]))
        with self.assertRaises(Failed) as other:
            self.driver().ask("decide", **{**paid, "amount_centavos": 1235})
        self.assertEqual((other.exception.said["type"], other.exception.said["code"]), ("refused", "11"), "ID_REUSED")
        with self.assertRaises(Failed) as old:
            self.driver().ask("decide", **payment(event_time_ns=7))
        self.assertEqual((old.exception.said["code"], old.exception.said["recorded"]), ("3", "perhaps"), "BAD_FIELD")
        with self.assertRaises(Failed) as nothing:
            self.driver().ask("lookup", id="never-sent", payer="")
        self.assertEqual(nothing.exception.said["code"], "15", "NOT_FOUND")
        self.assertGreater(int(self.driver().ask("ping")["server_time_ns"]), 1_700_000_000 * 10**9)
        state, welcome = self.driver().ask("cluster"), self.driver().ask("welcome")
        for name in ("role", "epoch", "node_id", "cluster_id"):
            self.assertEqual(state[name], welcome[name], name)

    def test_the_primary_is_killed_and_the_standby_promoted_while_payments_go_through(self):
        primary, standby = self.start_pair()
        self.outlives(primary, standby, [primary.listen, standby.listen])
