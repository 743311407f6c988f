"""Prints a field of the line in which a node says that it is ready. Usage: ready.py LOG FIELD. Status 1: it has not said so."""

import json
import sys

with open(sys.argv[1], encoding="utf-8", errors="replace") as lines:
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            continue
        fields = {**said, **said.get("fields", {})}
        if fields.get("message") == "ready":
            print(fields[sys.argv[2]])
            sys.exit(0)
sys.exit(1)
