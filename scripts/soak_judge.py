"""Judges one shape of soak.sh, or its log at the end.

    soak_judge.py NAME STATUS RUN.json PAUSES.json ANSWERED      prints a line; status 1 if a promise was broken
    soak_judge.py log VERIFY.json ANSWERED                       status 1 if the log holds fewer records than were answered
"""

import json
import os
import sys

# What a stall may be beyond the longest pause of the machine itself in the same minute, milliseconds.
STALL_MS = 250


def read(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def shape(name, status, run_path, pauses_path, answered_path):
    pauses = read(pauses_path)
    # One answer waits for a processor and for the disk, at worst one after the other.
    own_ms = max(pauses["wake_ms"]) + pauses["durable_write_ms"]
    if not os.path.exists(run_path):
        print(f"{name:>6}  FAILED: the load did not run")
        return 1
    run = read(run_path)
    stall_ms = run["latency_us"]["max"] / 1000
    wrong = []
    if run["failure"]:
        wrong.append(run["failure"])
    if run["errors"]:
        wrong.append("errors: " + ", ".join(f"{code} {count}" for code, count in run["errors"].items()))
    if sum(run["violations"].values()):
        wrong.append("violations: " + ", ".join(f"{kind} {count}" for kind, count in run["violations"].items() if count))
    if run["answered"] != run["sent"]:
        wrong.append(f"{run['sent'] - run['answered']} without an answer")
    if stall_ms > STALL_MS + own_ms:
        wrong.append(f"a stall of {stall_ms:.0f} ms, and the machine's own pauses come to {own_ms:.0f} ms")
    if status != "0" and not wrong:
        wrong.append(f"the load generator ended with status {status}")
    with open(answered_path, "a", encoding="utf-8") as file:
        # What was sent again made no second record.
        print(run["answered"] - run["resent"], file=file)
    print(
        f"{name:>6}  {run['answered']:>9,} answered  {run['throughput_per_s']:>10,.0f}/s  p50 {run['latency_us']['p50'] / 1000:6.2f} ms"
        f"  longest {stall_ms:5.0f} ms  (machine: processors {max(pauses['wake_ms']):.0f} ms, disk {pauses['durable_write_ms']:.0f} ms)",
        flush=True,
    )
    for what in wrong:
        print(f"        FAILED: {what}", flush=True)
    return 1 if wrong else 0


def log(verify_path, answered_path):
    verified = read(verify_path)
    with open(answered_path, encoding="utf-8") as lines:
        answered = sum(int(line) for line in lines)
    unclean = [stream["state"] for stream in verified["streams"] if stream["state"] != "clean"]
    print(f"log: {verified['records']:,} records, {unclean or 'clean'}; {answered:,} transactions were decided by the shapes")
    if not verified["sound"] or unclean or verified["records"] < answered:
        print("FAILED: the log is not clean, or lacks records")
        return 1
    return 0


if sys.argv[1] == "log":
    sys.exit(log(*sys.argv[2:]))
sys.exit(shape(*sys.argv[1:]))
