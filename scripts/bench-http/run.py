"""Runs a load, and adds to its report how much processor time each server and the load itself had meanwhile.

Usage: run.py REPORT.json NAME=PID [NAME=PID ...] -- LOAD...    A process counts with all that it has started; its status is the load's.
"""

import json
import os
import resource
import subprocess
import sys

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def processes():
    """Of each process its parent, and its processor time with that of children that have ended, in ticks."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    # The name before it may have spaces and brackets.
                    fields = file.read().rpartition(")")[2].split()
            except OSError:
                # It has ended meanwhile.
                continue
            found[int(name)] = int(fields[1]), sum(map(int, fields[11:15]))
    return found


def used_s(servers):
    """Seconds that each server has had since it began."""
    found = processes()
    totals = dict.fromkeys(servers, 0)
    for pid, (_, ticks) in found.items():
        above = pid
        while above in found:
            for name, server in servers.items():
                if above == server:
                    totals[name] += ticks
            above = found[above][0]
    return {name: ticks / TICKS_A_SECOND for name, ticks in totals.items()}


def main():
    report_path, *arguments = sys.argv[1:]
    at = arguments.index("--")
    servers = {name: int(pid) for name, pid in (argument.split("=") for argument in arguments[:at])}
    before = used_s(servers)
    status = subprocess.run(arguments[at + 1:], check=False).returncode
    after = used_s(servers)
    if status != 0:
        sys.exit(status if status > 0 else 128 - status)
    load = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(report_path, encoding="utf-8") as file:
        report = json.load(file)
    report["cpu_s"] = {name: after[name] - before[name] for name in servers}
    report["load_cpu_s"] = load.ru_utime + load.ru_stime
    report["load_average"] = os.getloadavg()[0]
    with open(report_path, "w", encoding="utf-8") as file:
        json.dump(report, file)


if __name__ == "__main__":
    main()
