"""A program that uses the package, for mypy --strict: what it is given is typed, and a mistake is
found. It is not run."""

from __future__ import annotations

from typing import Optional

from catraca import (
    CatracaError,
    Client,
    ClusterState,
    Decision,
    Recorded,
    Reply,
    StoredDecision,
    Tls,
    Transaction,
    Verdict,
)
from catraca.aio import AsyncClient


def pay(payment: Transaction) -> Optional[Verdict]:
    """The verdict, or None where there is none."""
    tls = Tls("ca.pem", "client.pem", "client-key.pem")
    with Client(["a:1", "b:1"], credential="token", tls=tls, answer_timeout_s=1.0) as client:
        try:
            decision: Decision = client.decide(payment)
            correlation: int = client.submit(payment)
            reply: Reply = client.receive()
            stored: StoredDecision = client.lookup(payment.id)
            state: ClusterState = client.cluster()
            print(correlation, reply.result().lsn, stored.chain.hex(), state.silence_ms)
        except CatracaError as error:
            recorded: Recorded = error.recorded
            print(recorded.value)
            return None
    clock: str = client.ping()  # type: ignore[assignment]
    Client(in_flight="many", lifetime_s=1)  # type: ignore[arg-type, call-arg]
    print(clock)
    return decision.verdict


async def pay_soon(payment: Transaction) -> Verdict:
    """The same, for asyncio."""
    async with AsyncClient("a:1", lazy=True) as client:
        decision: Decision = await client.decide(payment)
        clock: int = client.ping()  # type: ignore[assignment]
        print(clock)
        return decision.verdict
