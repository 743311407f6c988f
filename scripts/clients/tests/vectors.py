"""What every client must encode and decode to the byte: the golden vectors and the documents of wire/vectors."""

import json
import socket
import unittest

import drivers
from drivers import Failed, of_transaction

from catraca import Transaction
from fake_server import PAYEE, PAYER, transaction

REQUESTS = ("HELLO", "SUBMIT", "LOOKUP", "PING", "CLUSTER")
REPLIES = ("WELCOME", "VERDICT", "RECORD", "PONG", "ERROR", "CLUSTER_STATE", "AUTH_STATE")
# Requests that only change what a client may be asked for: a client need not be able to say them.
OTHERS = {"lookup_labels", "cluster_promote_forced", "cluster_go_solo"}
# HELLO whose credential follows: said with the credential, in a test of its own.
ANNOUNCING = "hello_auth"
REASONS = {0: "clear", 1: "payer_listed", 6: "score"}


def vectors(kinds):
    """The golden vectors of these kinds."""
    with open(drivers.VECTORS / "frames.json", encoding="utf-8") as file:
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


class Vectors(unittest.TestCase):
    """Run for each language: `driver` gives its driver."""

    def driver(self):
        raise NotImplementedError

    def test_requests_are_encoded_to_the_byte(self):
        seen = set()
        for vector in vectors(REQUESTS):
            if vector["name"] in OTHERS or vector["name"] == ANNOUNCING:
                continue
            fields = vector["fields"]
            if vector["kind"] == "SUBMIT":
                fields = of_transaction(of_fields(fields))
            correlation = vector["header"]["correlation"]
            with self.subTest(vector["name"]):
                raw = bytearray.fromhex(self.driver().ask("encode", kind=vector["kind"], correlation=correlation, **{
                    name: value for name, value in fields.items() if name not in ("kind", "correlation")})["hex"])
                if vector["kind"] == "HELLO":
                    raw[17] = fields["version_max"]  # The clients speak version 1 only.
                self.assertEqual(raw.hex(), vector["hex"])
            seen.add(vector["kind"])
        self.assertEqual(seen, set(REQUESTS))

    def test_a_credential_that_hello_has_no_room_for_follows_it(self):
        frames = {vector["name"]: bytes.fromhex(vector["hex"]) for vector in vectors(("HELLO", "AUTH"))}

        def encoded(kind, **fields):
            return bytes.fromhex(self.driver().ask("encode", kind=kind, correlation=23, **fields)["hex"])

        for name, credential in (("auth_short", "t" * 65), ("auth_long", "0123456789abcdef" * 50)):
            with self.subTest(name):
                token = b"".join(frames[part] for part in (name, f"{name}_2") if part in frames)
                self.assertEqual(encoded("AUTH", token=credential).hex(), token.hex())
                hello = bytearray(frames[ANNOUNCING])
                hello[8] = 23
                raw = encoded("HELLO", credential=credential, client_name="pagamentos", in_flight=0)
                self.assertEqual(raw.hex(), (bytes(hello) + token).hex())
        longest = encoded("AUTH", token="z" * 8192)
        self.assertEqual((len(longest), longest[-512:].hex()), (17 * 512, frames["auth_longest_17"].hex()))
        for wrong in ("", "z" * 8193, "é" * 4097):
            with self.subTest(len(wrong)), self.assertRaises(Failed):
                self.driver().ask("encode", kind="AUTH", correlation=23, token=wrong)

    def test_replies_are_decoded(self):
        seen = set()
        for vector in vectors(REPLIES):
            with self.subTest(vector["name"]):
                if vector["name"] == "record_label":
                    self.breaks_the_protocol(vector["hex"])  # Never asked for.
                    continue
                said = self.driver().ask("decode", hex=vector["hex"])
                self.assertEqual((said["kind"], said["correlation"]), (vector["kind"], vector["header"]["correlation"]))
                self.check(said, vector["fields"], vector["kind"])
                if vector["kind"] == "ERROR":
                    self.assertEqual(said["closing"], str(vector["header"]["flags"]))
            seen.add(vector["kind"])
        self.assertEqual(seen, set(REPLIES))

    def check(self, said, fields, kind):
        for name, value in fields.items():
            if name == "record":
                self.check(said, {("record_flags" if inner == "flags" else inner): of for inner, of in value.items()}, kind)
            elif name == "transaction":
                for inner, of in of_transaction(of_fields(value)).items():
                    self.assertEqual(said[inner], str(of), inner)
            elif name == "reason":
                self.assertEqual(said[name], REASONS[value])
            elif name.startswith("reserved") or name in ("kind", "version", "extension_len", "detail_len"):
                pass  # Not shown to callers.
            else:
                self.assertEqual(said[name], str(value), name)

    def breaks_the_protocol(self, raw):
        with self.assertRaises(Failed) as refused:
            self.driver().ask("decode", hex=raw)
        self.assertEqual(refused.exception.said["type"], "protocol")

    def test_replies_that_are_cut_or_cannot_be_are_refused(self):
        # Where in a frame of that name a value can't be, by the byte.
        wrong = {
            "welcome_primary": ((16, 0), (16, 2), (17, 0), (17, 3), (18, 0), (18, 4)),
            "verdict_approve": ((16, 0), (16, 4), (16, 255), (19, 4)),
            "record_plain": ((64, 2), (64, 6), (65, 2), (68, 0), (68, 4), (71, 4), (22, 8), (66, 8)),
            "cluster_state_in_sync": ((16, 0), (16, 3), (17, 0), (17, 4), (18, 2), (19, 2)),
            "error_overloaded": ((16, 0), (16, 18), (17, 1), (18, 129)),
            "pong": ((0, 25), (3, 255), (4, 11), (4, 99), (5, 2)),
        }
        found = {vector["name"]: bytes.fromhex(vector["hex"]) for vector in vectors(REPLIES)}
        for name, places in wrong.items():
            raw = found[name]
            for cut in (16, 17, len(raw) - 1):
                with self.subTest(name, cut=cut):
                    self.breaks_the_protocol(raw[:cut].hex())
            for at, value in places:
                with self.subTest(name, at=at, value=value):
                    self.breaks_the_protocol((raw[:at] + bytes([value]) + raw[at + 1:]).hex())

    def test_an_unknown_reason_is_shown_as_its_number(self):
        raw = bytearray.fromhex(next(vector["hex"] for vector in vectors(["RECORD"])))
        raw[72] = 77
        self.assertEqual(self.driver().ask("decode", hex=raw.hex())["reason"], "77")

    def test_an_address_that_a_server_names_is_one_or_none(self):
        raw = bytes.fromhex(next(vector["hex"] for vector in vectors(["WELCOME"]) if vector["name"] == "welcome_standby"))
        for named, expected in (("a:1", "a:1"), ("[::1]:7400", "[::1]:7400"), ("a b:1", ""), ("a\n:1", ""), ("no-port", ""),
                                ("a:0", ""), ("a:65536", ""), ("a:7_4", ""), (":7400", ""), ("á:1", "")):
            field = named.encode()
            with self.subTest(named):
                said = self.driver().ask("decode", hex=(raw[:68] + field + bytes(48 - len(field)) + raw[116:]).hex())
                self.assertEqual(said["primary"], expected)

    def test_every_document_is_canonical_or_refused_for_its_reason(self):
        lines = (drivers.VECTORS / "documents.tsv").read_text(encoding="utf-8").split("\n")[1:]
        cases = [line.split("\t") for line in lines if line]
        self.assertEqual(len(cases), 486)
        # What the page says of texts with several faults.
        cases += [("*é", "invalid", "masked"), ("é*", "invalid", "character"), ("1" * 15 + "*", "invalid", "length"),
                  ("\t049.332.286-80\n", "cpf", "04933228680"), ("04933228680\0", "invalid", "character"),
                  ("٠٤٩٣٣٢٢٨٦٨٠", "invalid", "character"), ("A" * 14, "invalid", "character"),
                  ("ſ2ABC34501DE35", "invalid", "character")]
        for text, kind, expected in cases:
            with self.subTest(text):
                if kind == "invalid":
                    with self.assertRaises(Failed) as refused:
                        self.driver().ask("document", text=text)
                    said = refused.exception.said
                    self.assertEqual((said["type"], said["reason"], said["recorded"]), ("document", expected, "no"))
                else:
                    self.assertEqual(self.driver().ask("document", text=text)["canonical"], expected)

    def test_documents_are_masked_in_print(self):
        for document, expected in (("04933228680", "***.332.286-**"), ("12ABC34501DE35", "12.ABC.345/****-**")):
            self.assertEqual(self.driver().ask("document", text=document)["masked"], expected)
        for payer in (PAYER, "04933228680", "what is no document"):
            shown = self.driver().ask("show", **{**of_transaction(transaction(12)), "payer": payer})["text"]
            for secret in (payer, "04933228680", PAYEE, "01DE", "049.332", "286-80"):
                self.assertNotIn(secret, shown)
            self.assertIn("order-12", shown)

    def test_each_mistake_is_refused_before_anything_is_sent(self):
        wrong = ({"id": ""}, {"id": "two words"}, {"id": "x" * 33}, {"id": "ação"}, {"id": "a\0b"}, {"amount_centavos": 0},
                 {"budget_us": 2_000_001}, {"rail": 5}, {"channel": 6}, {"payer_ispb": "123"}, {"payee_ispb": "1234 678"},
                 {"payer": "04933228681"}, {"payee": ""})
        for change in wrong:
            payment = Transaction(**{"id": "a", "payer": PAYER, "payee": PAYEE, "amount_centavos": 1, **change})
            with self.subTest(change), self.assertRaises(Failed) as refused:
                self.driver().ask("encode", kind="SUBMIT", correlation=1, **of_transaction(payment))
            self.assertIn(refused.exception.said["type"], ("field", "document"))
            self.assertEqual(refused.exception.said["recorded"], "no")
        for fields in ({"credential": "x" * 8193}, {"client_name": "é" * 21}):
            with self.subTest(fields), self.assertRaises(Failed):
                self.driver().ask("encode", kind="HELLO", correlation=0, **fields)
        for fields in ({"id": "two words"}, {"id": "a", "payer": "1"}):
            with self.subTest(fields), self.assertRaises(Failed):
                self.driver().ask("encode", kind="LOOKUP", correlation=0, **fields)
