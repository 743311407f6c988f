"""What is asyncio's own: tasks, cancelling, closing, a loop that is kept busy."""

import asyncio
import gc
import socket
import struct
import threading
import time
import unittest
from unittest import mock

import catraca
from catraca import Recorded, _frames as frames
from catraca.aio import AsyncClient
from drivers import FOR_EVER_S
from fake_server import WithFakeServers, transaction
from rules import deaf, node, silent


class Asyncio(WithFakeServers):
    """The client for asyncio, against fake servers."""

    def test_many_tasks_share_a_connection(self):
        welcomed = []

        def decides():
            welcomed.append(1)
            return True

        async def pay():
            async with AsyncClient(self.serve_all(node(decides))) as client:
                paid = (client.decide(transaction(amount)) for amount in range(1, 301))
                return [decision.lsn for decision in await asyncio.gather(*paid)]

        self.assertEqual(asyncio.run(pay()), list(range(1, 301)))
        self.assertEqual(len(welcomed), 1)

    def test_renewals_of_many_tasks_wait_for_each_other(self):
        shown = []

        def script(peer):
            peer.welcome()
            for number in range(5):
                raw = peer.read()
                shown.append(raw[24:].rstrip(b"\0").decode())
                # A second one would be here before this one is answered.
                peer.connection.settimeout(0.05)
                with self.assertRaises(socket.timeout):
                    peer.connection.recv(1)
                peer.connection.settimeout(20)
                correlation = int.from_bytes(raw[8:16], "little")
                state = struct.pack("<Q8x", number + 1)
                peer.write(frames.frame(frames.Kind.AUTH_STATE, correlation, state))

        async def renew():
            async with AsyncClient(self.serve(script)) as client:
                return await asyncio.gather(*(client.renew(f"token {n}") for n in range(5)))

        self.assertEqual(asyncio.run(renew()), [1, 2, 3, 4, 5])
        self.assertEqual(shown, [f"token {n}" for n in range(5)])

    def test_a_cancelled_task_takes_nothing_from_the_others(self):
        answers = threading.Event()

        def script(peer):
            peer.welcome(2)
            submitted = [peer.submit(), peer.submit()]
            self.assertTrue(answers.wait(FOR_EVER_S))
            for one in reversed(submitted):
                peer.verdict(one)
            peer.verdict(peer.submit())

        async def pay():
            async with AsyncClient(self.serve(script)) as client:
                tasks = [asyncio.ensure_future(client.decide(transaction(n))) for n in (1, 2, 3)]
                while not client._exchange.carries():
                    await asyncio.sleep(0)
                # One that was sent, which keeps its place at the server.
                tasks[0].cancel()
                answers.set()
                return await asyncio.gather(*tasks, return_exceptions=True)

        first, *others = asyncio.run(pay())
        self.assertIsInstance(first, asyncio.CancelledError)
        self.assertEqual([decision.lsn for decision in others], [2, 3])

    def test_closing_tells_those_who_wait(self):
        submitted = threading.Event()

        def script(peer):
            peer.welcome(1)
            peer.submit()
            submitted.set()
            deaf(peer)

        async def pay():
            client = AsyncClient(self.serve(script))
            await client.connect()
            tasks = [asyncio.ensure_future(client.decide(transaction(n))) for n in (1, 2)]
            await asyncio.get_running_loop().run_in_executor(None, submitted.wait, FOR_EVER_S)
            await client.close()
            told = await asyncio.gather(*tasks, return_exceptions=True)
            for again in (client.ping, client.connect):
                with self.assertRaises(catraca.ConnectError):
                    await again()
            return told

        told = asyncio.run(pay())
        self.assertEqual([type(one) for one in told], [catraca.NoAnswer, catraca.ConnectError])
        self.assertEqual([one.recorded for one in told], [Recorded.PERHAPS, Recorded.NO])

    def test_an_answer_that_came_counts_however_late_a_busy_loop_reads_it(self):
        answered = threading.Event()

        def script(peer):
            peer.welcome()
            peer.verdict(peer.submit())
            answered.set()
            deaf(peer)

        async def pay():
            async with AsyncClient(self.serve(script), answer_timeout_s=0.2) as client:
                paid = asyncio.ensure_future(client.decide(transaction(1)))
                # All that it takes to send it, and then nothing but other work until it is late.
                while not client._exchange.carries():
                    await asyncio.sleep(0)
                used = client._exchange.connection
                self.assertTrue(answered.wait(FOR_EVER_S))
                until = time.monotonic() + 0.3
                while time.monotonic() < until:
                    pass
                lsn = (await paid).lsn
                self.assertIs(client._exchange.connection, used, "the connection goes on")
                return lsn

        self.assertEqual(asyncio.run(pay()), 1)

    def test_a_name_that_takes_for_ever_to_resolve_is_asked_for_once_at_a_time(self):
        asked, unheard, release = [], [], threading.Event()

        async def hanging(loop, host, *_, **__):
            asked.append(host)
            await loop.run_in_executor(None, release.wait, FOR_EVER_S)
            raise OSError("nothing")

        async def pay():
            hangs = {"connect_timeout_s": 0.02, "reconnect_base_s": 0.001, "reconnect_max_s": 0.001}
            async with AsyncClient("hangs.example:1", lazy=True, **hangs) as client:
                payment = transaction()
                payment.budget_us = 200_000
                with self.assertRaises(catraca.ConnectError):
                    await client.decide(payment)
                self.assertGreater(client._exchange._failures, 1, "it was tried again")
                asyncio.get_running_loop().set_exception_handler(
                    lambda _, said: unheard.append(said)
                )
                while client._opening:
                    await asyncio.sleep(0.001)
                # Nobody waits for the name any more.
                release.set()
                while client._resolving:
                    await asyncio.sleep(0.001)
            gc.collect()

        with mock.patch.object(asyncio.BaseEventLoop, "getaddrinfo", hanging):
            asyncio.run(pay())
        self.assertEqual((asked, unheard), (["hangs.example"], []))

    def test_a_first_connection_that_can_not_be_had_is_told(self):
        async def connect():
            client = AsyncClient("127.0.0.1:1")
            with self.assertRaises(catraca.ConnectError):
                async with client:
                    self.fail("nobody listens there")
            return client._exchange.is_ended

        self.assertTrue(asyncio.run(connect()), "it is closed as well")

    def test_a_client_is_for_one_event_loop(self):
        client = AsyncClient(self.serve_all(silent))

        async def connect():
            await client.connect()
            await client.close()

        asyncio.run(connect())
        with self.assertRaises(catraca.FieldError):
            asyncio.run(client.ping())


if __name__ == "__main__":
    unittest.main()
