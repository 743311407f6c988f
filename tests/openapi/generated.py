"""Has a payment decided by the client that openapi-python-client made of the gateway's own description.

usage: generated.py FOLDER_OF_THE_CLIENT URL
"""

import sys
from datetime import datetime, timezone

folder, url = sys.argv[1:]
sys.path.insert(0, folder)

from made import Client  # noqa: E402
from made.api.decisions import decide, look_up  # noqa: E402
from made.api.operations import blacklist  # noqa: E402
from made.models import Blacklist, Decision, Problem, StoredDecision, Transaction  # noqa: E402

client = Client(base_url=url)


ours = Transaction(
    transaction_id="by-python",
    payer="049.332.286-80",
    payee="12.ABC.345/01DE-35",
    amount="123.45",
    event_time=datetime.now(timezone.utc),
)
first = decide.sync(client=client, body=ours)
assert isinstance(first, Decision) and first.verdict == "approve", first
again = decide.sync(client=client, body=ours)
assert isinstance(again, Decision) and again.duplicate and again.lsn == first.lsn, again
stored = look_up.sync("by-python", client=client)
assert isinstance(stored, StoredDecision) and stored.amount_centavos == 12345, stored
assert "*" in stored.payer, "documents are masked"
missing = look_up.sync("nobody", client=client)
assert isinstance(missing, Problem) and missing.code == "NOT_FOUND", missing
assert isinstance(blacklist.sync(client=client), Blacklist)
print("made client of Python: decided")
