"""The client for asyncio, told line by line what to do, as driver.py is."""

import asyncio
import os
import sys

from catraca import CatracaError
from catraca._values import AuthState
from catraca.aio import AsyncClient
from driver import (
    of_answer,
    of_answers,
    of_error,
    options,
    parsed,
    say,
    transaction,
    without_a_client,
)


class Looping:
    """The commands for the client for asyncio."""

    client = None

    def __init__(self):
        # What was submitted and has ended, in that order.
        self.replies = asyncio.Queue()
        self.tasks = set()

    async def perform(self, command, said):
        """Does one, and gives what is to be said of it."""
        return of_answers(await getattr(self, command)(said))

    async def connect(self, said):
        await self.close(said)
        self.client, self.replies = None, asyncio.Queue()
        made = AsyncClient(**options(said))
        self.client = await made.__aenter__()

    async def close(self, _):
        if self.client:
            await self.client.close()

    async def welcome(self, _):
        return self.client.welcome

    async def decide(self, said):
        return await self.client.decide(transaction(said))

    async def submit(self, said):
        self.start(self.client.submit(transaction(said))).add_done_callback(self.replies.put_nowait)
        # So that it is under way when this is answered.
        await asyncio.sleep(0)

    async def receive(self, _):
        return (await self.replies.get()).result()

    async def lookup(self, said):
        return await self.client.lookup(said["id"], said.get("payer"))

    async def ping(self, _):
        return await self.client.ping()

    async def renew(self, said):
        return AuthState(await self.client.renew(said["token"]) or 0)

    async def token(self, _):
        return AuthState(self.client.token_expires_at_ns or 0)

    async def cluster(self, _):
        return await self.client.cluster()

    async def pay(self, said):
        """All at once where a number of them is asked for; else one each millisecond until there is
        that file."""
        until, paying = said.get("until"), []
        for number in range(1, int(said["count"]) + 1):
            if until:
                await asyncio.sleep(0.001)
                if os.path.exists(until):
                    break
            paying.append(self.start(self.pay_one(transaction(said, number), number)))
        await asyncio.gather(*paying)

    async def pay_one(self, payment, number):
        try:
            told = of_answer(await self.client.decide(payment))
        except CatracaError as error:
            told = of_error(error)
        say("answer", {"number": number, **told})

    def start(self, coroutine):
        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


async def main():
    """Does what the lines of the input say."""
    commands, loop = Looping(), asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command, said = parsed(line)
        try:
            result = without_a_client(command, said)
            say("ok", await commands.perform(command, said) if result is None else result)
        except CatracaError as error:
            say("error", of_error(error))


if __name__ == "__main__":
    asyncio.run(main())
