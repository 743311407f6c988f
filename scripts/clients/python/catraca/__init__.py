"""A small client of catraca for Python 3.9 and later, with nothing but the standard library.

    from catraca import Client, Transaction, Verdict

    with Client(["node-a:7400", "node-b:7400"]) as client:
        payment = Transaction(id="order-1", payer="049.332.286-80", payee="12.ABC.345/01DE-35",
                              amount_centavos=1234)
        if client.decide(payment).verdict == Verdict.APPROVE:
            ...

It speaks the protocol of wire/PROTOCOL.md, version 1. When a connection is lost the client connects
again and sends again what is unanswered, which is safe: the server gives the same transaction the
same decision. It does the same when another node has become the primary, and looks for one when the
node in use is silent or can't confirm. `python3 -m catraca` sends one transaction.
"""

from catraca._client import Client
from catraca._documents import canonical_document, end_to_end_id, masked_document
from catraca._errors import (
    CatracaError,
    ConnectError,
    DocumentError,
    ErrorCode,
    FieldError,
    NoAnswer,
    NoPrimary,
    ProtocolError,
    Recorded,
    Refused,
)
from catraca._tls import Tls
from catraca._values import (
    Channel,
    ClusterOp,
    ClusterState,
    Decision,
    Rail,
    Reply,
    StoredDecision,
    Transaction,
    Verdict,
    Welcome,
)

__all__ = [
    "CatracaError",
    "Channel",
    "Client",
    "ClusterOp",
    "ClusterState",
    "ConnectError",
    "Decision",
    "DocumentError",
    "ErrorCode",
    "FieldError",
    "NoAnswer",
    "NoPrimary",
    "ProtocolError",
    "Rail",
    "Recorded",
    "Refused",
    "Reply",
    "StoredDecision",
    "Tls",
    "Transaction",
    "Verdict",
    "Welcome",
    "canonical_document",
    "end_to_end_id",
    "masked_document",
]
