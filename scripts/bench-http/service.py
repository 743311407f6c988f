"""The service that people build: POST /v1/decisions in FastAPI, the peer of catraca's gateway and node in bench-http.sh.

Redis has the listed documents and the ids that were seen; PostgreSQL has the decisions, each inserted and synced before it is answered. The
caller shows an access token (RFC 9068), whose signature is checked once: what was checked is kept until it expires.

It is made as one is told to make it, and fast: models of Pydantic, which are compiled; uvicorn with uvloop and httptools; hiredis; asyncpg
with prepared statements, connections kept and not reset. A payment takes one round trip to Redis and one to PostgreSQL.

It leaves out what catraca does besides: check digits of documents, rates of clients, limits on what comes in, other attempts where a server
is gone, policies that change while it runs, records that prove what was decided. Members of the answer that it has nothing to say on are
constants, so that both sides write as much.

In the environment: HTTP_REDIS (socket), HTTP_POSTGRES (folder of the socket), HTTP_CONNECTIONS (to PostgreSQL, for each process),
HTTP_JWKS (URL), HTTP_ISSUER, HTTP_AUDIENCE.
"""

import contextlib
import os
import time
from typing import Annotated, Literal

import asyncpg
import fastapi
import jwt
import pydantic
import redis.asyncio
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

# Who is listed: a set of Redis.
LISTED = "listed"
# An id is remembered for as long as a payment may be sent again.
SEEN_S = 86_400
# Tokens that are remembered at most.
MOST_TOKENS = 1_024
UNMASKED = str.maketrans("", "", "./-")

INSERT = (
    "INSERT INTO decisions (transaction_id, payer, payee, amount_centavos, event_time_ns, client, verdict, reason)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (transaction_id) DO NOTHING RETURNING lsn"
)
SELECT = "SELECT verdict, reason, lsn FROM decisions WHERE transaction_id = $1"

REASONS = {(False, False): "clear", (True, False): "payer_listed", (False, True): "payee_listed", (True, True): "both_listed"}


class Payment(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    transaction_id: Annotated[str, pydantic.Field(min_length=1, max_length=32, pattern="^[!-~]+$")]
    payer: Annotated[str, pydantic.Field(min_length=11, max_length=18)]
    payee: Annotated[str, pydantic.Field(min_length=11, max_length=18)]
    amount_centavos: Annotated[int, pydantic.Field(ge=0)]
    event_time_ns: Annotated[int, pydantic.Field(ge=0)]


class Decision(pydantic.BaseModel):
    transaction_id: str
    verdict: Literal["approve", "review", "deny"]
    reason: str
    score: int = 0
    duplicate: bool
    degraded: bool = False
    shadow_disagrees: bool = False
    shard: int = 0
    lsn: int
    epoch: int = 1
    receipt: str = "0000000000000000"
    policy_version: int = 0
    blacklist_version: str = "0000000000000000"
    matched_rules: str = "0000000000000000"


class Connection(asyncpg.Connection):
    """A connection that is not reset when it goes back into the pool: that would be a round trip, and nothing here leaves a trace."""

    def get_reset_query(self):
        return ""


class Tokens:
    """Access tokens: checked once, then remembered until they expire."""

    def __init__(self):
        self.keys = jwt.PyJWKClient(os.environ["HTTP_JWKS"])
        self.known = {}

    def client(self, token):
        """Whose it is. Raises jwt.PyJWTError where it is no good."""
        known = self.known.get(token)
        if known is None or known[1] <= time.time():
            key = self.keys.get_signing_key_from_jwt(token)
            claims = jwt.decode(token, key, algorithms=["ES256"], issuer=os.environ["HTTP_ISSUER"], audience=os.environ["HTTP_AUDIENCE"],
                                options={"require": ["exp", "iat", "client_id", "scope"]})
            if "decisions:write" not in claims["scope"].split():
                raise jwt.InvalidTokenError("its scope is another one")
            if len(self.known) >= MOST_TOKENS:
                self.known.clear()
            known = self.known[token] = claims["client_id"], claims["exp"]
        return known[0]


@contextlib.asynccontextmanager
async def lifespan(app):
    connections = int(os.environ["HTTP_CONNECTIONS"])
    app.state.tokens = Tokens()
    app.state.redis = redis.asyncio.Redis(unix_socket_path=os.environ["HTTP_REDIS"])
    app.state.decisions = await asyncpg.create_pool(
        host=os.environ["HTTP_POSTGRES"], user="catraca", database="postgres", min_size=connections, max_size=connections,
        max_inactive_connection_lifetime=0, connection_class=Connection,
    )
    yield
    await app.state.decisions.close()
    await app.state.redis.aclose()


app = fastapi.FastAPI(lifespan=lifespan)
Bearer = Annotated[HTTPAuthorizationCredentials, fastapi.Depends(HTTPBearer())]


async def client(shown: Bearer) -> str:
    try:
        return app.state.tokens.client(shown.credentials)
    except jwt.PyJWTError as error:
        raise fastapi.HTTPException(401, str(error)) from error


async def recorded(number):
    """The decision that was made for this id before; None where none was."""
    row = await app.state.decisions.fetchrow(SELECT, number)
    return row and Decision(transaction_id=number, verdict=row["verdict"], reason=row["reason"], duplicate=True, lsn=row["lsn"])


@app.get("/readyz")
async def ready() -> dict:
    return {"ready": True}


@app.post("/v1/decisions")
async def decide(payment: Payment, caller: Annotated[str, fastapi.Depends(client)]) -> Decision:
    number, payer, payee = payment.transaction_id, payment.payer.translate(UNMASKED), payment.payee.translate(UNMASKED)
    looking = app.state.redis.pipeline(transaction=False)
    looking.smismember(LISTED, [payer, payee]).set(f"seen:{number}", 1, nx=True, ex=SEEN_S)
    listed, is_new = await looking.execute()
    if not is_new:
        # Without a record, who came first has not got so far, or never will: whose INSERT is first has decided.
        before = await recorded(number)
        if before is not None:
            return before
    verdict = "deny" if any(listed) else "approve"
    reason = REASONS[bool(listed[0]), bool(listed[1])]
    lsn = await app.state.decisions.fetchval(
        INSERT, number, payer, payee, payment.amount_centavos, payment.event_time_ns, caller, verdict, reason)
    if lsn is None:
        return await recorded(number)
    return Decision(transaction_id=number, verdict=verdict, reason=reason, duplicate=False, lsn=lsn)
