"""Tests of the Python client: python3 -m unittest (in this folder), nothing to install.

Golden vectors and documents come from wire/vectors. The tests against a real server run where CATRACA_ADDR (host:port) names one
that decides without a blacklist entry for the invented documents used here; CATRACA_CREDENTIAL is its token, where it wants one.
"""

import contextlib
import io
import json
import os
import pathlib
import socket
import struct
import time
import unittest

import catraca
from catraca import __main__ as catraca_command
from catraca import _frames as frames
from catraca import Client, ErrorCode, Transaction, Verdict
from fake_server import PAYEE, PAYER, WithFakeServers, transaction, verdict_frame

VECTORS = pathlib.Path(__file__).resolve().parents[3] / "wire" / "vectors"


def vectors(*kinds):
    with open(VECTORS / "frames.json", encoding="utf-8") as file:
        return [vector for vector in json.load(file) if vector["kind"] in kinds]


def of_fields(fields):
    """A transaction from a vector's fields."""
    plain = ("id", "payer", "payee", "budget_us", "rail", "channel", "flags", "payer_ispb", "payee_ispb")
    large = ("amount_centavos", "event_time_ns", "payer_account", "payee_account", "device")
    address = bytes.fromhex(fields["ip"])
    mapped = address[:12] == bytes(10) + b"\xff\xff"
    ip = socket.inet_ntop(socket.AF_INET, address[12:]) if mapped else socket.inet_ntop(socket.AF_INET6, address)
    ip = None if address == bytes(16) else ip
    return Transaction(ip=ip, pix_key=bytes.fromhex(fields["pix_key"]), trace_id=bytes.fromhex(fields["trace_id"]),
                       **{name: fields[name] for name in plain}, **{name: int(fields[name]) for name in large})


class GoldenVectors(unittest.TestCase):
    def test_requests_are_encoded_to_the_byte(self):
        for vector in vectors("HELLO", "SUBMIT", "LOOKUP", "PING", "CLUSTER"):
            fields, correlation = vector["fields"], int(vector["header"]["correlation"])
            with self.subTest(vector["name"]):
                if vector["kind"] == "HELLO":
                    said = (fields["credential"], fields["client_name"], fields["in_flight"])
                    raw = bytearray(frames.hello_frame(*said, correlation))
                    # This client speaks version 1 only.
                    raw[17] = fields["version_max"]
                elif vector["kind"] == "SUBMIT":
                    raw = frames.submit_frame(of_fields(fields).encode(), correlation)
                elif vector["kind"] == "LOOKUP":
                    raw = frames.lookup_frame(fields["id"], fields["payer"] or None, correlation, bool(fields["labels"]))
                elif vector["kind"] == "CLUSTER":
                    raw = frames.cluster_frame(fields["op"], fields["force"], correlation)
                else:
                    raw = frames.frame(frames.Kind.PING, correlation, bytes(8))
                self.assertEqual(bytes(raw).hex(), vector["hex"])

    def test_replies_are_decoded(self):
        seen = 0
        for vector in vectors("WELCOME", "VERDICT", "RECORD", "PONG", "ERROR", "CLUSTER_STATE"):
            fields, raw = vector["fields"], bytes.fromhex(vector["hex"])
            with self.subTest(vector["name"]):
                if vector["name"] == "record_label":
                    with self.assertRaises(catraca.ProtocolError):  # Never asked for.
                        frames.decode_reply(raw)
                    continue
                correlation, reply = frames.decode_reply(raw)
                self.assertEqual(str(correlation), vector["header"]["correlation"])
                for name, value in fields.items():
                    self.check(reply, name, value, fields)
                for cut in range(16, len(raw)):
                    with self.assertRaises(catraca.ProtocolError):
                        frames.decode_reply(raw[:cut])
                seen += 1
        self.assertGreater(seen, 20)

    def check(self, reply, name, value, fields):
        if name == "record":
            for record_name, record_value in value.items():
                self.check(reply, record_name, record_value, value)
        elif name == "transaction":
            self.assertEqual(reply.transaction, of_fields(value))
        elif name == "server_time_ns":
            self.assertEqual(reply, int(value))
        elif name == "role":
            self.assertEqual(reply.primary, value == 1)
        elif name in ("primary", "peer"):
            self.assertEqual(getattr(reply, f"{name}_address"), value)
        elif name == "silence_ms" and int(value) == (1 << 64) - 1:
            self.assertIsNone(reply.silence_ms)
        elif name == "reason":
            self.assertEqual(reply.reason, {0: "clear", 1: "payer_listed", 6: "score"}[value])
        elif name == "flags" and isinstance(reply, catraca.Decision):
            shown = (reply.duplicate, reply.degraded, reply.shadow_disagrees)
            self.assertEqual(shown, tuple(bool(value & bit) for bit in (1, 2, 4)))
        elif name.startswith("reserved") or name in ("kind", "extension_len", "detail_len"):
            pass  # Not shown to callers.
        elif name == "version" and "lsn" in fields:
            pass  # Not shown to callers.
        else:
            shown = getattr(reply, name)
            if isinstance(shown, bytes):
                shown = shown.hex()
            self.assertEqual(str(shown) if isinstance(value, str) else shown, value, name)


class Documents(unittest.TestCase):
    def test_every_published_vector_holds(self):
        lines = (VECTORS / "documents.tsv").read_text(encoding="utf-8").split("\n")[1:]
        seen = 0
        for text, kind, expected in (line.split("\t") for line in lines if line):
            with self.subTest(text):
                if kind == "invalid":
                    with self.assertRaises(catraca.DocumentError) as refused:
                        catraca.canonical_document(text)
                    self.assertEqual(refused.exception.reason, expected)
                else:
                    self.assertEqual(catraca.canonical_document(text), expected)
                seen += 1
        self.assertEqual(seen, 486)

    def test_of_several_faults_the_first_one_counts(self):
        for text, reason in (("*é", "masked"), ("é*", "character"), ("1" * 15 + "*", "length"), ("1" * 15 + "é", "length")):
            with self.subTest(text), self.assertRaises(catraca.DocumentError) as refused:
                catraca.canonical_document(text)
            self.assertEqual(refused.exception.reason, reason)

    def test_printing_masks(self):
        self.assertEqual(catraca.masked_document("04933228680"), "***.332.286-**")
        self.assertEqual(catraca.masked_document("12ABC34501DE35"), "12.ABC.345/****-**")
        self.assertNotIn("332", repr(transaction()))

    def test_end_to_end_id(self):
        self.assertEqual(catraca.end_to_end_id("12345678", 1_795_350_896, "a" * 11), "E12345678202611221234aaaaaaaaaaa")
        self.assertRegex(catraca.end_to_end_id("AB345678"), r"^EAB345678\d{12}[a-zA-Z0-9]{11}$")
        for ispb, suffix in (("1234567", None), ("1234 678", None), ("12345678", "short")):
            with self.assertRaises(catraca.FieldError):
                catraca.end_to_end_id(ispb, suffix=suffix)

    def test_each_mistake_is_named(self):
        for change in ({"id": ""}, {"id": "two words"}, {"id": "x" * 33}, {"id": "ação"}, {"amount_centavos": 0},
                       {"amount_centavos": 1 << 63}, {"budget_us": 2_000_001}, {"rail": 5}, {"channel": 6}, {"flags": 1 << 16},
                       {"payer_ispb": "123"}, {"pix_key": b"x"}, {"ip": "nowhere"}, {"device": -1}):
            with self.subTest(change), self.assertRaises(catraca.FieldError):
                Transaction(**{"id": "a", "payer": PAYER, "payee": PAYEE, "amount_centavos": 1, **change}).encode()


class AgainstAFakeServer(WithFakeServers):
    def test_a_transaction_is_decided(self):
        def script(peer):
            self.assertEqual(peer.welcome(), frames.hello_frame("sesame", "till-4", 3))
            submitted = peer.submit()
            self.assertEqual((submitted[0], submitted[1].encode()), (1, transaction(5).encode()))
            peer.verdict(submitted, Verdict.DENY, 2)

        with self.client(self.serve(script), credential="sesame", name="till-4", in_flight=3) as client:
            decision = client.decide(transaction(5))
            self.assertEqual((decision.verdict, decision.lsn), (Verdict.DENY, 5))
            self.assertEqual((decision.duplicate, decision.degraded), (False, True))

    def test_answers_out_of_order_and_in_pieces_find_their_requests(self):
        def script(peer):
            peer.welcome(10)
            submitted = [peer.submit() for _ in range(10)]
            for byte in b"".join(verdict_frame(one) for one in reversed(submitted)):
                peer.write(bytes([byte]))

        with self.client(self.serve(script)) as client:
            sent = {client.submit(transaction(amount)): amount for amount in range(1, 11)}
            replies = [client.receive() for _ in range(10)]
            self.assertEqual([reply.correlation for reply in replies], sorted(sent, reverse=True))
            self.assertTrue(all(reply.result().lsn == sent[reply.correlation] for reply in replies))
            with self.assertRaises(catraca.CatracaError):
                client.receive()

    def test_no_more_than_in_flight_is_unanswered(self):
        def script(peer):
            peer.welcome(2)
            for _ in range(3):
                first, second = peer.submit(), peer.submit()
                peer.connection.setblocking(False)
                with self.assertRaises(BlockingIOError):
                    peer.connection.recv(1, socket.MSG_PEEK)
                peer.connection.settimeout(20)
                peer.verdict(second)
                peer.verdict(first)

        with self.client(self.serve(script)) as client:
            for amount in range(1, 7):
                client.submit(transaction(amount))
            self.assertEqual(sorted(client.receive().result().lsn for _ in range(6)), list(range(1, 7)))

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
                self.assertEqual(submitted[1].amount_centavos, amount)
                self.assertEqual(submitted[1].event_time_ns, 7)
                self.assertTrue(0 < submitted[1].budget_us < 2_000_000)
                peer.verdict(submitted, Verdict.DENY, 1)

        with self.client(self.serve(lost, lambda peer: peer.read(), after)) as client:
            for amount in (1, 2, 3):
                client.submit(transaction(amount))
            answers = sorted((decision.lsn, decision.duplicate) for decision in (client.receive().result() for _ in range(3)))
            self.assertEqual(answers, [(1, True), (2, False), (3, True)])

    def test_decide_waits_and_goes_round_as_the_errors_say(self):
        def first(peer):
            peer.welcome()
            for code in (ErrorCode.OVERLOADED, ErrorCode.RATE_LIMITED, ErrorCode.NOT_PRIMARY):
                peer.error(peer.submit()[0], code, 1)

        def second(peer):
            peer.welcome()
            peer.verdict(peer.submit())

        with self.client(self.serve(first), self.serve(second)) as client:
            self.assertEqual(client.decide(transaction()).verdict, Verdict.APPROVE)

    def test_errors_are_typed_and_the_connection_goes_on(self):
        def script(peer):
            peer.welcome()
            for code in answers:
                peer.error(peer.submit()[0], code, 9)

        # NOT_PRIMARY is no answer: test_failover.py.
        answers = [code for code in ErrorCode if code != ErrorCode.NOT_PRIMARY]
        with self.client(self.serve(script)) as client:
            for code in answers:
                client.submit(transaction())
                with self.assertRaises(catraca.Refused) as refused:
                    client.receive().result()
                error = refused.exception
                self.assertEqual((error.code, error.retry_after_ms, error.detail), (code, 9, "a reason"))

    def test_after_a_closing_error_the_others_are_sent_again(self):
        def first(peer):
            peer.welcome()
            bad, _ = peer.submit(), peer.submit()
            peer.error(bad[0], ErrorCode.BAD_FRAME, closing=True)
            while peer.read():
                pass

        def second(peer):
            peer.welcome()
            peer.verdict(peer.submit())

        with self.client(self.serve(first, second)) as client:
            client.submit(transaction(1))
            client.submit(transaction(2))
            self.assertEqual(client.receive().error.code, ErrorCode.BAD_FRAME)
            self.assertEqual(client.receive().result().lsn, 2)

    def test_a_refused_handshake_is_final(self):
        def script(peer):
            peer.read()
            peer.error(0, ErrorCode.UNAUTHENTICATED, closing=True)

        with self.assertRaises(catraca.Refused) as refused:
            self.client(self.serve(script))
        self.assertEqual(refused.exception.code, ErrorCode.UNAUTHENTICATED)

    def test_where_nobody_listens(self):
        listener = socket.create_server(("127.0.0.1", 0))
        nobody = "127.0.0.1:%d" % listener.getsockname()[1]
        listener.close()
        for address in (nobody, "no port", "127.0.0.1:99999"):
            with self.assertRaises(catraca.ConnectError):
                Client(address)
        self.client(nobody, self.serve(lambda peer: peer.welcome())).close()

    def test_silence_ends_with_no_answer(self):
        def script(peer):
            peer.welcome()
            while peer.read():
                pass

        with self.client(self.serve(script), answer_timeout_s=0.05, reconnect_attempts=0) as client:
            with self.assertRaises(catraca.NoAnswer):
                client.decide(transaction())

    def test_lookup_and_ping_between_transactions(self):
        stored = vectors("RECORD")[1]

        def script(peer):
            peer.welcome()
            submitted = peer.submit()
            lookup = peer.read()
            self.assertEqual(lookup, frames.lookup_frame("order-1", PAYER, 2))
            peer.verdict(submitted)
            raw = bytearray.fromhex(stored["hex"])
            raw[8:16] = lookup[8:16]
            peer.write(bytes(raw))
            ping = peer.read()
            peer.write(frames.frame(frames.Kind.PONG, struct.unpack_from("<Q", ping, 8)[0], struct.pack("<Q", 77)))
            peer.error(struct.unpack_from("<Q", peer.read(), 8)[0], ErrorCode.NOT_FOUND)

        with self.client(self.serve(script)) as client:
            correlation = client.submit(transaction())
            found = client.lookup("order-1", PAYER)
            self.assertEqual((found.verdict, found.reason), (Verdict.DENY, "payer_listed"))
            self.assertEqual(found.extension.hex(), "0102030405060708")
            self.assertEqual(client.ping(), 77)
            with self.assertRaises(catraca.Refused):
                client.lookup("order-2")
            self.assertEqual(client.receive().correlation, correlation)

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
            "verdict 0": changed(16, 0), "an unknown verdict": changed(16, 4),
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

            with self.subTest(name), self.client(self.serve(first, second)) as client:
                self.assertEqual(client.decide(transaction()).verdict, Verdict.DENY)

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

        def sound(peer):
            peer.welcome()
            peer.verdict(peer.submit())

        # The length, the kind, the header's version, the correlation; the version, role and durability, and no in_flight.
        for at, value in ((0, 129), (3, 255), (4, 4), (4, 99), (5, 2), (8, 1), (16, 2), (17, 0), (17, 3), (18, 4), (64, 0)):
            with self.subTest(at=at, value=value):
                addresses = self.serve(changed(at, value)), self.serve(sound)
                with self.client(*addresses) as client:
                    self.assertEqual(client.decide(transaction(3)).lsn, 3)

    def test_the_command_line(self):
        def script(peer):
            peer.welcome()
            peer.verdict(peer.submit(), Verdict.REVIEW)

        for extra, expected in (([], "review: transaction order-1"), (["--json"], '"verdict": "review"')):
            output = io.StringIO()
            payment = ["--payer", PAYER, "--payee", PAYEE, "--amount", "12", "--id", "order-1"]
            arguments = ["--addr", self.serve(script), *payment, *extra]
            with contextlib.redirect_stdout(output):
                self.assertEqual(catraca_command.main(arguments), 0)
            self.assertIn(expected, output.getvalue())
        with contextlib.redirect_stderr(io.StringIO()) as errors, self.assertRaises(SystemExit) as wrong:
            catraca_command.main(["--payer", "1", "--payee", PAYEE, "--amount", "12"])
        self.assertEqual(wrong.exception.code, 2)
        self.assertIn("a document has 11", errors.getvalue())


ADDRESS = os.environ.get("CATRACA_ADDR", "")


@unittest.skipUnless(ADDRESS, "CATRACA_ADDR names no server (host:port), so nothing is tested against a real one")
class AgainstARealServer(unittest.TestCase):
    def setUp(self):
        self.client = Client(ADDRESS, credential=os.environ.get("CATRACA_CREDENTIAL", ""), name="test_catraca.py",
                             answer_timeout_s=30)  # A look-up takes as long as it takes, and longer on a busy machine.
        self.addCleanup(self.client.close)

    def payment(self, **fields):
        return Transaction(catraca.end_to_end_id("12345678"), PAYER, PAYEE, 1234, **fields)

    def test_decided_once_and_found_again(self):
        payment = self.payment(ip="192.0.2.1", payer_ispb="12345678", device=9)
        first = self.client.decide(payment)
        self.assertFalse(first.duplicate)
        payment.budget_us, payment.trace_id = 1_000_000, bytes(range(16))
        again = self.client.decide(payment)
        self.assertTrue(again.duplicate)
        for name in ("verdict", "score", "shard", "epoch", "lsn", "receipt"):
            self.assertEqual(getattr(again, name), getattr(first, name), name)
        stored = self.client.lookup(payment.id, PAYER)
        self.assertEqual((stored.verdict, stored.lsn, stored.transaction.amount_centavos), (first.verdict, first.lsn, 1234))
        self.assertEqual((stored.transaction.payer, stored.transaction.ip), ("04933228680", "192.0.2.1"))
        self.assertEqual(int.from_bytes(stored.chain[:8], "little"), first.receipt)

    def test_many_in_flight(self):
        sent = {self.client.submit(self.payment()) for _ in range(2_000)}
        self.assertEqual({reply.correlation for reply in (self.client.receive() for _ in sent) if reply.result().lsn > 0}, sent)

    def test_other_content_under_the_same_id(self):
        payment = self.payment()
        self.client.decide(payment)
        payment.amount_centavos += 1
        self.refused(payment, ErrorCode.ID_REUSED)

    def test_bad_fields(self):
        for offset, data, code in ((32, b"04933228681", ErrorCode.BAD_DOCUMENT), (60, bytes(8), ErrorCode.BAD_FIELD),
                                   (68, bytes(8), ErrorCode.BAD_FIELD), (80, b"\x05", ErrorCode.BAD_FIELD),
                                   (81, b"\x06", ErrorCode.BAD_FIELD), (0, b" ", ErrorCode.BAD_FIELD)):
            payment = self.payment()
            encoded = payment.encode()
            raw = encoded[:offset] + data + encoded[offset + len(data):]
            payment.encode = lambda raw=raw: raw
            with self.subTest(offset):
                self.refused(payment, code)
        self.assertGreater(self.client.ping(), 1_700_000_000 * 10**9)

    def test_its_part_in_the_cluster(self):
        state = self.client.cluster()
        self.assertTrue(state.primary and state.epoch >= 1)
        self.assertEqual((state.node_id, state.cluster_id), (self.client.welcome.node_id, self.client.welcome.cluster_id))

    def test_nothing_stored(self):
        with self.assertRaises(catraca.Refused) as refused:
            self.client.lookup(catraca.end_to_end_id("12345678"))
        self.assertEqual(refused.exception.code, ErrorCode.NOT_FOUND)

    def test_a_malformed_frame_is_answered_and_ends_the_connection(self):
        self.client._connection.write(frames.frame(frames.Kind.PING, 99, bytes(16)))
        correlation, error = self.client._connection.next(time.monotonic() + 5)
        self.assertEqual((correlation, error.code, error.closing), (99, ErrorCode.BAD_FRAME, True))

    def refused(self, payment, code):
        with self.assertRaises(catraca.Refused) as refused:
            self.client.decide(payment)
        self.assertEqual(refused.exception.code, code)


if __name__ == "__main__":
    unittest.main()
