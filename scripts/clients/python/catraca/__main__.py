"""The command line, `python3 -m catraca`: sends one transaction and prints the decision. Also started as a folder."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Optional, Sequence

if not __package__:
    # Started as a folder, python3 path/to/catraca, which Python takes for the place of modules.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from catraca import CatracaError, Client, DocumentError, FieldError, Transaction, end_to_end_id  # noqa: E402
from catraca._connection import host_and_port  # noqa: E402
from catraca._frames import MAX_BUDGET_US  # noqa: E402


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The command line: one transaction; 0 when it was decided, 1 when not, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(
        prog="python3 -m catraca",
        description="Sends one transaction to a catraca server and prints the decision.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="""examples:
  python3 -m catraca --payer 049.332.286-80 --payee 12.ABC.345/01DE-35 --amount 1234
  python3 -m catraca --addr 10.0.0.5:7400 --id order-1 --payer 04933228680 --payee 00000000000191 --amount 100000 --json
  python3 -m catraca --addr 10.0.0.5:7400,10.0.0.6:7400 --payer 04933228680 --payee 00000000000191 --amount 100000
  CATRACA_CREDENTIAL=token python3 -m catraca --payer 04933228680 --payee 12ABC34501DE35 --amount 1

exit status: 0 decided (whatever the verdict), 1 not decided, 2 wrong arguments""")
    parser.add_argument("--addr", action="append", metavar="HOST:PORT[,HOST:PORT]",
                        help="a server; more than one, with commas or by repeating it: the client finds the primary among them "
                             "(default: 127.0.0.1:7400)")
    parser.add_argument("--payer", required=True, help="CPF or CNPJ of the payer, with or without mask")
    parser.add_argument("--payee", required=True, help="CPF or CNPJ of the payee")
    parser.add_argument("--amount", required=True, type=int, metavar="CENTAVOS", help="amount in centavos: 1234 is R$ 12.34")
    parser.add_argument("--id", help="id of the transaction (default: a new EndToEndId)")
    parser.add_argument("--ispb", default="00000000", help="ISPB for the new EndToEndId (default: %(default)s)")
    parser.add_argument("--budget-ms", type=int, default=2000, help="time for the answer, 1 to 2000 ms (default: %(default)s)")
    parser.add_argument("--event-time-ns", type=int, metavar="NS",
                        help="when the payer acted, nanoseconds since 1970 UTC (default: now); the same again to send one again")
    parser.add_argument("--credential", default=os.environ.get("CATRACA_CREDENTIAL", ""),
                        help="token from the operator; better in the environment, as CATRACA_CREDENTIAL")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    addresses = [address for given in options.addr or ["127.0.0.1:7400"] for address in given.split(",") if address]
    if not addresses:
        parser.error("--addr names no server")
    for address in addresses:
        try:
            host_and_port(address)
        except ValueError as error:
            parser.error(f"--addr: {error}")
    if not 1 <= options.budget_ms * 1000 <= MAX_BUDGET_US:
        parser.error(f"--budget-ms is {options.budget_ms}: give 1 to {MAX_BUDGET_US // 1000}")
    event_time_ns = time.time_ns() if options.event_time_ns is None else options.event_time_ns
    try:
        transaction = Transaction(options.id or end_to_end_id(options.ispb), options.payer, options.payee, options.amount,
                                  event_time_ns=event_time_ns, budget_us=options.budget_ms * 1000)
        transaction.encode()
    except (FieldError, DocumentError) as error:
        parser.error(str(error))
    try:
        # Lazy, so that the time in which there is no primary is waited for within the budget, as in the middle of a connection.
        with Client(addresses, credential=options.credential, name="catraca-python", lazy=True) as client:
            decision = client.decide(transaction)
    except CatracaError as error:
        print(f"catraca: {error} (to send it again: --id {transaction.id} --event-time-ns {event_time_ns})", file=sys.stderr)
        return 1
    if options.json:
        # As text, because many programs read a JSON number as a float.
        print(json.dumps({"id": transaction.id, **decision.__dict__, "verdict": decision.verdict.name.lower(),
                          "receipt": f"{decision.receipt:016x}"}))
        return 0
    listed = [who for bit, who in ((1, "payer"), (2, "payee")) if decision.matched_rules & bit]
    print(f"{decision.verdict.name.lower()}: transaction {transaction.id}, score {decision.score}"
          + (f", listed: {' and '.join(listed)}" if listed else "") + (", decided before" if decision.duplicate else ""))
    print(f"record {decision.lsn} of stream {decision.shard}, epoch {decision.epoch}; receipt {decision.receipt:016x}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
