"""The command line, `python3 -m catraca`: sends one transaction and prints the decision. The folder
can be started as well."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import List, Optional, Sequence

if not __package__:
    # Started as a folder, python3 path/to/catraca, which Python takes for the place of modules.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from catraca import (  # noqa: E402
    CatracaError,
    Client,
    Decision,
    DocumentError,
    FieldError,
    Tls,
    Transaction,
    end_to_end_id,
)
from catraca._route import host_and_port  # noqa: E402
from catraca._values import MAX_BUDGET_US  # noqa: E402

EXAMPLES = """examples:
  python3 -m catraca --payer 049.332.286-80 --payee 12.ABC.345/01DE-35 --amount 1234
  python3 -m catraca --addr 10.0.0.5:7400,10.0.0.6:7400 --id order-1 \\
    --payer 04933228680 --payee 00000000000191 --amount 100000 --json
  CATRACA_CREDENTIAL=token python3 -m catraca --addr node-a.example:7443 --tls-ca-file ca.pem \\
    --payer 04933228680 --payee 12ABC34501DE35 --amount 1

exit status: 0 decided (whatever the verdict), 1 not decided, 2 wrong arguments"""


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """One transaction; 0 when it was decided, 1 when not, 2 for wrong arguments."""
    parser = _parser()
    options = parser.parse_args(arguments)
    addresses = _addresses(parser, options.addr)
    if not 1 <= options.budget_ms * 1000 <= MAX_BUDGET_US:
        parser.error(f"--budget-ms is {options.budget_ms}: give 1 to {MAX_BUDGET_US // 1000}")
    event_time_ns = time.time_ns() if options.event_time_ns is None else options.event_time_ns
    files = options.tls_ca_file, options.tls_certificate_file, options.tls_key_file
    if files[0] is None and files != (None, None, None):
        parser.error("--tls-certificate-file and --tls-key-file are for TLS: give --tls-ca-file")
    try:
        transaction = Transaction(
            options.id or end_to_end_id(options.ispb),
            options.payer,
            options.payee,
            options.amount,
            event_time_ns=event_time_ns,
            budget_us=options.budget_ms * 1000,
        )
        transaction.encode()
        # Lazy, so that the time in which there is no primary is waited for within the budget, as in
        # the middle of a connection.
        client = Client(
            addresses,
            credential=options.credential,
            name="catraca-python",
            lazy=True,
            tls=None if files[0] is None else Tls(*files),
        )
    except (FieldError, DocumentError) as error:
        parser.error(str(error))
    try:
        with client:
            decision = client.decide(transaction)
    except CatracaError as error:
        again = f"--id {transaction.id} --event-time-ns {event_time_ns}"
        print(f"catraca: {error} (to send it again: {again})", file=sys.stderr)
        return 1
    _print(transaction.id, decision, options.json)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m catraca",
        description="Sends one transaction to a catraca server and prints the decision.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("--addr", action="append", metavar="HOST:PORT[,HOST:PORT]",
        help="a server; more than one, with commas or by repeating it: the client finds the "
        "primary among them (default: 127.0.0.1:7400)")  # fmt: skip
    add("--payer", required=True, help="CPF or CNPJ of the payer, with or without mask")
    add("--payee", required=True, help="CPF or CNPJ of the payee")
    add("--amount", required=True, type=int, metavar="CENTAVOS",
        help="amount in centavos: 1234 is R$ 12.34")  # fmt: skip
    add("--id", help="id of the transaction (default: a new EndToEndId)")
    add("--ispb", default="00000000", help="ISPB for the new EndToEndId (default: %(default)s)")
    add("--budget-ms", type=int, default=2000,
        help="time for the answer, 1 to 2000 ms (default: %(default)s)")  # fmt: skip
    add("--event-time-ns", type=int, metavar="NS",
        help="when the payer acted, nanoseconds since 1970 UTC (default: now); the same again to "
        "send one again")  # fmt: skip
    add("--credential", default=os.environ.get("CATRACA_CREDENTIAL", ""),
        help="token from the operator; better in the environment, as "
        "CATRACA_CREDENTIAL")  # fmt: skip
    add("--tls-ca-file", metavar="PEM",
        help="authorities that the nodes' certificates are of: speaks TLS to their port "
        "for it")  # fmt: skip
    add("--tls-certificate-file", metavar="PEM", help="certificate to show to the nodes")
    add("--tls-key-file", metavar="PEM", help="its private key")
    add("--json", action="store_true", help="print JSON")
    return parser


def _addresses(parser: argparse.ArgumentParser, given: Optional[List[str]]) -> List[str]:
    named = given or ["127.0.0.1:7400"]
    addresses = [address for one in named for address in one.split(",") if address]
    if not addresses:
        parser.error("--addr names no server")
    for address in addresses:
        try:
            host_and_port(address)
        except FieldError as error:
            parser.error(f"--addr: {error}")
    return addresses


def _print(transaction_id: str, decision: Decision, as_json: bool) -> None:
    verdict, receipt = decision.verdict.name.lower(), f"{decision.receipt:016x}"
    if as_json:
        # The receipt as text, because many programs read a JSON number as a float.
        said = {**vars(decision), "verdict": verdict, "receipt": receipt}
        print(json.dumps({"id": transaction_id, **said}))
        return
    sides = ((1, "payer"), (2, "payee"))
    listed = [who for bit, who in sides if decision.matched_rules & bit]
    print(
        f"{verdict}: transaction {transaction_id}, score {decision.score}"
        + (f", listed: {' and '.join(listed)}" if listed else "")
        + (", decided before" if decision.duplicate else "")
    )
    place = f"record {decision.lsn} of stream {decision.shard}, epoch {decision.epoch}"
    print(f"{place}; receipt {receipt}")


if __name__ == "__main__":
    sys.exit(main())
