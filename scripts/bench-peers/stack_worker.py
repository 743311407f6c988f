"""One worker of the stack that people build: the peer of catraca in the second part of bench-peers.sh.

A service over HTTP decides on payments. Redis has the listed documents, the ids that were seen and the cached answers of the validator;
PostgreSQL has the decisions, each inserted and synced before it is answered; the validator is asked over HTTP.

It is made to be fast with what Debian has: uvloop, uvicorn with httptools and no framework above it, hiredis, asyncpg. Connections are
kept everywhere. A payment takes one round trip to Redis for all that it looks up, and another one only to keep a new answer.

It leaves out what catraca does besides: check digits of documents, limits on what comes in, credentials, a breaker, other attempts and
one question for payments that ask the same, policies that change while it runs, records that prove what was decided.

Usage: stack_worker.py PORT REDIS_SOCKET POSTGRES_FOLDER CONNECTIONS VALIDATOR_URL
"""

import asyncio
import json
import sys

import aiohttp
import asyncpg
import redis.asyncio
import uvicorn

# Who is listed: a set of Redis.
LISTED = "listed"
# An id is remembered for as long as a payment may be sent again.
SEEN_S = 86_400
# How long an answer of the validator is good.
CACHED_S = 86_400
# How long the validator may take, seconds: as long as the policy of catraca that is compared gives it.
TIMEOUT_S = 1.4

INSERT = (
    "INSERT INTO decisions (id, payer, payee, amount_centavos, verdict, status, from_cache)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING"
)
SELECT = "SELECT verdict FROM decisions WHERE id = $1"

HEADERS = [(b"content-type", b"application/json")]


class Connection(asyncpg.Connection):
    """A connection that is not reset when it goes back into the pool: that would be a round trip, and nothing here leaves a trace."""

    def get_reset_query(self):
        return ""


class Worker:
    """The service: an application as uvicorn calls it."""

    def __init__(self, redis_socket, postgres_folder, connections, validator_url):
        self.redis_socket, self.postgres_folder, self.connections = redis_socket, postgres_folder, connections
        self.validator_url = validator_url

    async def start(self):
        self.redis = redis.asyncio.Redis(unix_socket_path=self.redis_socket)
        self.decisions = await asyncpg.create_pool(
            host=self.postgres_folder,
            user="catraca",
            database="postgres",
            min_size=self.connections,
            max_size=self.connections,
            max_inactive_connection_lifetime=0,
            connection_class=Connection,
        )
        self.http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1024), timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), auto_decompress=False
        )

    async def stop(self):
        await self.http.close()
        await self.decisions.close()
        await self.redis.close()

    async def ask(self, payer):
        """What the validator says about a payer; None without an answer in time."""
        try:
            async with self.http.get(f"{self.validator_url}/{payer}") as response:
                status = json.loads(await response.read()).get("status") if response.status == 200 else None
                return status if status in ("regular", "suspended") else None
        except (aiohttp.ClientError, asyncio.TimeoutError, ValueError):
            return None

    async def decide(self, payment):
        """The verdict, and where the validator's answer came from."""
        number, payer, payee = payment["id"], payment["payer"], payment["payee"]
        looking = self.redis.pipeline(transaction=False)
        looking.smismember(LISTED, [payer, payee]).set(f"seen:{number}", 1, nx=True, ex=SEEN_S).get(f"status:{payer}")
        listed, is_new, cached = await looking.execute()
        if not is_new:
            # Without a record, who came first has not got so far, or never will: whose INSERT is first has decided.
            verdict = await self.decisions.fetchval(SELECT, number)
            if verdict is not None:
                return verdict, "record"
        if cached is None:
            status, source = await self.ask(payer), "validator"
            if status is not None:
                await self.redis.setex(f"status:{payer}", CACHED_S, status)
        else:
            status, source = cached.decode(), "cache"
        if any(listed) or status == "suspended":
            verdict = "deny"
        else:
            verdict = "approve" if status else "review"
        done = await self.decisions.execute(INSERT, number, payer, payee, payment["amount"], verdict, status, source == "cache")
        if done != "INSERT 0 1":
            return await self.decisions.fetchval(SELECT, number), "record"
        return verdict, source

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await self.lifespan(receive, send)
            return
        body = b""
        more = scope["method"] == "POST"
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if body:
            payment = json.loads(body)
            verdict, source = await self.decide(payment)
            answer = b'{"id":"%b","verdict":"%b","source":"%b"}' % (payment["id"].encode(), verdict.encode(), source.encode())
        else:
            answer = b'{"ready":true}'
        headers = [*HEADERS, (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def lifespan(self, receive, send):
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return


def main():
    port, redis_socket, postgres_folder, connections, validator_url = sys.argv[1:]
    worker = Worker(redis_socket, postgres_folder, int(connections), validator_url)
    uvicorn.run(
        worker, host="127.0.0.1", port=int(port), loop="uvloop", http="httptools", lifespan="on", access_log=False, log_level="warning"
    )


main()
