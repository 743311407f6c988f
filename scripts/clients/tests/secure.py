"""How every client must speak TLS: to whom, and that its other rules stay (PROTOCOL.md, "TLS")."""

import socket
import ssl
import threading

import live
from certificates import certificates
from drivers import FOR_EVER_S, Failed, of_transaction
from fake_server import transaction
from rules import STANDBY, WithClient, deaf, node, primary

from catraca import Verdict


# The first handshake of a language loads half of it, and the machine may be busy.
PATIENT_MS = 60_000


class Secure(WithClient):
    """Fake nodes, and what is no secure connection to one."""

    def secured(self, *scripts, name="server", little=False, **options):
        return self.serve(*scripts, tls=certificates().server(name, **options), little=little)

    def connect(self, *addresses, **options):
        options = {"ca_file": certificates().path("ca"), **options}
        super().connect(*addresses, connect_timeout_ms=PATIENT_MS, **options)

    def is_no_connection(self, address, **options):
        """The text of the error, which says that no node took the request."""
        options = {
            "ca_file": certificates().path("ca"),
            "connect_timeout_ms": PATIENT_MS,
            **options,
        }
        said = self.refused(self.driver().ask, "connect", address=address, **options)
        self.assertEqual(
            (said["type"], said["recorded"], said["no_primary"].lower()), ("connect", "no", "false")
        )
        return said["text"].lower()

    def test_a_name_is_checked_as_well_as_an_address(self):
        port = self.secured(primary(), primary()).rpartition(":")[2]
        for host in ("localhost", "127.0.0.1"):
            self.connect(f"{host}:{port}")
            self.decide()
            self.driver().ask("close")

    def test_a_node_of_another_name_is_none(self):
        for host in ("localhost", "127.0.0.1"):
            port = self.secured(self.nobody_comes, name="elsewhere").rpartition(":")[2]
            text = self.is_no_connection(f"{host}:{port}")
            self.assertIn("secure", text)
            self.assertIn("certificate", text)

    def test_a_node_of_another_authority_is_none(self):
        text = self.is_no_connection(self.secured(self.nobody_comes, name="stranger"))
        self.assertIn("secure", text)
        self.assertIn("certificate", text)
        # Another node may be sound all the same.
        self.connect(self.secured(self.nobody_comes, name="stranger"), self.secured(primary()))
        self.decide()

    def test_nothing_older_than_1_3_is_spoken(self):
        address = self.secured(self.nobody_comes, newest=ssl.TLSVersion.TLSv1_2)
        self.assertIn("secure", self.is_no_connection(address))

    def test_nothing_is_said_in_clear(self):
        heard = []

        def in_clear(peer):
            heard.append(peer.connection.recv(1024))
            peer.write(b"\x98\0\0\0 not TLS")

        self.is_no_connection(self.serve(in_clear))
        self.assertEqual(heard[0][0], 22, "the beginning of a handshake")
        self.assertNotIn(b"sesame", heard[0])

    def test_an_address_that_never_shakes_hands_leaves_time_for_another(self):
        hanging = self.serve_all(lambda peer: [None for _ in iter(lambda: peer.exactly(1), b"")])
        self.connect(hanging, self.secured(primary()), lazy=1)
        self.decide()

    def test_what_is_unanswered_is_sent_again(self):
        def lost(peer):
            peer.welcome()
            submitted = [peer.submit() for _ in range(3)]
            peer.verdict(submitted[1])

        def after(peer):
            peer.welcome(1)
            for _ in range(2):
                peer.verdict(peer.submit(), Verdict.DENY, 1)

        self.connect(self.secured(lost, after))
        self.submit(1, 2, 3)
        said = sorted(
            (int(one["lsn"]), one["flags"])
            for one in (self.driver().ask("receive") for _ in range(3))
        )
        self.assertEqual(said, [(1, "1"), (2, "0"), (3, "1")])

    def test_more_than_sockets_take_at_once_goes_out(self):
        # Some 100 KB, where sockets take half of that before the node reads.
        count, submitted = 500, threading.Event()

        def slow(peer):
            peer.welcome(count)
            self.assertTrue(submitted.wait(FOR_EVER_S), "it never ends to submit")
            peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
            for _ in range(count):
                peer.verdict(peer.submit())

        self.connect(self.secured(slow, little=True))
        # Without a word in between, because all of it has the time of one budget.
        driver = self.driver()
        for amount in range(1, count + 1):
            driver.tell("submit", **of_transaction(transaction(amount)))
        for _ in range(count):
            driver.result()
        submitted.set()
        self.assertEqual(sorted(self.receive(count)), list(range(1, count + 1)))

    def test_a_silent_primary_is_left_for_another(self):
        def silent(peer):
            peer.welcome()
            deaf(peer)

        self.connect(self.secured(silent), self.secured(node(lambda: True)))
        self.assertEqual(self.decide(5)["lsn"], "5")

    def test_a_port_in_clear_that_a_standby_names_is_not_gone_to(self):
        trap = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(trap.close)

        def standby(peer):
            peer.welcome(role=STANDBY, primary="%s:%d" % trap.getsockname())
            self.assertFalse(peer.read(), "the client leaves a standby without a word")

        self.connect(self.secured(standby), self.secured(primary()))
        self.decide()
        trap.setblocking(False)
        with self.assertRaises(BlockingIOError):
            trap.accept()

    def test_files_that_can_not_be_used_are_named_before_anything_is_sent(self):
        made = certificates()
        sound = made.shown("client")
        wrong = {
            "ca_file": ["missing", "garbage", "client-key"],
            "certificate_file": ["missing", "garbage"],
            "key_file": ["missing", "garbage", "stranger-key"],
        }
        for field, names in wrong.items():
            for name in names:
                with self.subTest(field, name=name):
                    said = self.refused(
                        self.driver().ask,
                        "connect",
                        address="127.0.0.1:1",
                        **{**sound, field: made.path(name)},
                    )
                    self.assertEqual((said["type"], said["recorded"]), ("field", "no"))
                    self.assertIn(f"{name}.pem", said["text"])

    def nobody_comes(self, peer):
        self.assertFalse(peer.read(), "nothing is sent to who can't be trusted")


class SecureLive(live.WithNodes):
    """Real nodes that listen for TLS."""

    def test_who_shows_its_certificate_is_known_by_it(self):
        made = certificates()
        one = self.start(
            "a",
            made,
            f"""[[clients]]
name = "by-cert"
certificate_sha256 = "{made.thumbprint("client")}"
permissions = ["submit", "lookup"]
""",
        )
        self.connect(one.listen_tls, **made.shown("client"))
        paid = live.payment()
        first = self.decided(paid)
        again = self.decided(paid)
        self.assertEqual((again["flags"], again["lsn"]), ("1", first["lsn"]))
        self.assertEqual(
            self.driver().ask("lookup", id=paid["id"], payer="")["submitter"], "by-cert"
        )
        self.driver().tell("pay", count=300, **live.payment(id=paid["id"][:20]))
        said = [self.driver().line() for _ in range(301)]
        self.assertEqual(said.pop()[0], "ok")
        self.assertEqual({one.get("verdict") for _, one in said}, {"1"})
        self.driver().ask("close")
        in_clear, over_tls, client = one.listen, one.listen_tls, made.shown("client")
        # Some show no certificate of an authority that the node does not name.
        wrong = (
            ({"ca_file": made.path("ca")}, over_tls, {"refused"}),
            (made.shown("server"), over_tls, {"refused"}),
            (made.shown("stranger"), over_tls, {"connect", "refused"}),
            ({**client, "ca_file": made.path("foreign")}, over_tls, {"connect"}),
            (client, in_clear, {"connect"}),
            ({}, over_tls, {"connect"}),
        )
        for shown, address, kinds in wrong:
            with self.subTest(shown=shown, address=address):
                with self.assertRaises(Failed) as refused:
                    self.driver().ask("connect", address=address, **shown)
                said = refused.exception.said
                self.assertIn(said["type"], kinds)
                self.assertEqual(
                    (said["recorded"], said.get("code", "5")), ("no", "5"), "UNAUTHENTICATED"
                )

    def test_the_primary_is_killed_and_the_standby_promoted_while_payments_go_through(self):
        first, second = self.start_pair(certificates())
        self.outlives(
            first, second, [first.listen_tls, second.listen_tls], ca_file=certificates().path("ca")
        )
