"""Reads the runs of bench-peers.sh: `round FOLDER SHAPE N`, `half FOLDER SHAPE`, `result FOLDER OUT.json`."""

import glob
import json
import os
import re
import statistics
import sys

SHAPES = ["4x512", "256x1", "64x1", "16x1", "1x1"]
SYSTEMS = ["catraca", "redis"]
# With a validator: kind of load, and connections with one payment in flight each.
STACK_SHAPES = [f"{kind}_{connections}" for kind in ("asked", "cached") for connections in (512, 64, 8)]
STACK_SYSTEMS = ["validated", "stack"]


def runs(folder):
    """Every report, by shape and system, in the order of the rounds."""
    found = {}
    for path in glob.glob(os.path.join(folder, "run-*.json")):
        shape, system, number = re.fullmatch(r"run-(\w+)-(\w+)-(\d+)\.json", os.path.basename(path)).groups()
        with open(path, encoding="utf-8") as file:
            found.setdefault(shape, {}).setdefault(system, {})[int(number)] = json.load(file)
    return {s: {y: [r[n] for n in sorted(r)] for y, r in systems.items()} for s, systems in found.items()}


def figures(reports):
    def median(pick):
        return statistics.median(pick(report) for report in reports)

    rates = [report["throughput_per_s"] for report in reports]
    return {
        "throughput_per_s": statistics.median(rates),
        "throughput_least_per_s": min(rates),
        "throughput_most_per_s": max(rates),
        "latency_us": {q: median(lambda r, q=q: r["latency_us"][q]) for q in ("p50", "p99", "p99_9", "max")},
        "rounds": [{"throughput_per_s": r["throughput_per_s"], "latency_us": r["latency_us"]} for r in reports],
    }


def us(value):
    return f"{value:.0f} us" if value < 1000 else f"{value / 1000:.2f} ms"


def metric(path, name):
    """Sum of a metric over the shards."""
    total = 0.0
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if re.match(re.escape(name) + r"[{ ]", line):
                total += float(line.split()[-1])
    return int(total)


def one_round(folder, shape, number):
    found = runs(folder)[shape]
    systems = SYSTEMS if shape in SHAPES else STACK_SYSTEMS
    told = [f"{system} {found[system][-1]['throughput_per_s']:>11,.0f}/s" for system in systems]
    print(f"round {number}  {shape:>10}  " + "   ".join(told), flush=True)


def against_redis(found):
    """Prints the table, and gives it for the JSON."""
    shapes = {}
    print(f"{'shape':>6} | {'catraca/s':>11} | {'Redis/s':>9} | {'ratio':>6} | {'catraca p50':>11} | {'p99':>8} |"
          f" {'Redis p50':>9} | {'p99':>8} | p50 ratio")
    for shape in SHAPES:
        ours, peer = (figures(found[shape][system]) for system in SYSTEMS)
        ratio = ours["throughput_per_s"] / peer["throughput_per_s"]
        p50_ratio = ours["latency_us"]["p50"] / peer["latency_us"]["p50"]
        shapes[shape] = {"catraca": ours, "redis": peer, "throughput_ratio": ratio, "p50_ratio": p50_ratio}
        print(
            f"{shape:>6} | {ours['throughput_per_s']:>11,.0f} | {peer['throughput_per_s']:>9,.0f} | {ratio:>6.2f} |"
            f" {us(ours['latency_us']['p50']):>11} | {us(ours['latency_us']['p99']):>8} |"
            f" {us(peer['latency_us']['p50']):>9} | {us(peer['latency_us']['p99']):>8} | {p50_ratio:.2f}"
        )
    return shapes


def open_loop(folder, path):
    """Prints a line on it, and gives it for the JSON."""
    with open(path, encoding="utf-8") as file:
        run = json.load(file)
    missed = metric(os.path.join(folder, "metrics"), "catraca_deadlines_missed_total")
    keep = ("rate", "seconds", "connections", "sent", "answered", "unsent", "throughput_per_s", "latency_us", "service_us")
    keep += ("late_sends", "late_threshold_us", "max_lateness_us", "errors", "violations")
    latency = run["latency_us"]
    print(
        f"\nopen loop, {run['rate']:,.0f} a second for {run['seconds']:.0f} s:"
        f" p50 {us(latency['p50'])}, p99 {us(latency['p99'])}, p99.9 {us(latency['p99_9'])}, max {us(latency['max'])};"
        f" {run['late_sends']:,} of {run['sent']:,} sends"
        f" over {us(run['late_threshold_us'])} late (the latest {us(run['max_lateness_us'])}),"
        f" {run['unsent']:,} never sent; deadlines missed: {missed}; errors: {run['errors'] or 'none'}"
    )
    return {**{name: run[name] for name in keep}, "deadlines_missed": missed}


def cached_share(folder, shape, system, reports):
    """Which share of payments the cache answered, over all rounds with their warm-ups."""
    if system == "stack":
        cached, asked = (sum(report["sources"][source] for report in reports) for source in ("cache", "validator"))
    else:
        cached = asked = 0
        for after in glob.glob(os.path.join(folder, f"run-{shape}-{system}-*.after")):
            before = after.removesuffix("after") + "before"
            names = ("validators_core_cache_hits", "validators_parked", "validator_attempts")
            hits, parked, attempts = (metric(after, f"catraca_{name}_total") - metric(before, f"catraca_{name}_total") for name in names)
            # Payments also wait for the cache that cores share, but only where the core's own has no answer.
            cached, asked = cached + hits + parked - attempts, asked + attempts
    return cached / max(cached + asked, 1)


def against_stack(folder, found):
    """Prints the table, and gives it for the JSON."""
    shapes = {}
    print(f"{'shape':>10} | {'catraca/s':>11} | {'stack/s':>9} | {'ratio':>6} | {'catraca p50':>11} | {'p99':>8} |"
          f" {'stack p50':>9} | {'p99':>8} | {'p99 ratio':>9} | from the cache | reviewed")
    for shape in STACK_SHAPES:
        ours, peer = (figures(found[shape][system]) for system in STACK_SYSTEMS)
        for system, of in zip(STACK_SYSTEMS, (ours, peer)):
            reports = found[shape][system]
            of["cached_share"] = cached_share(folder, shape, system, reports)
            # Nobody answered in time, so that a person would have to look.
            of["reviewed"] = sum(report["verdicts"].get("review", 0) for report in reports)
        ratio = ours["throughput_per_s"] / peer["throughput_per_s"]
        p99_ratio = peer["latency_us"]["p99"] / ours["latency_us"]["p99"]
        shapes[shape] = {"catraca": ours, "stack": peer, "throughput_ratio": ratio, "p99_ratio": p99_ratio}
        print(
            f"{shape:>10} | {ours['throughput_per_s']:>11,.0f} | {peer['throughput_per_s']:>9,.0f} | {ratio:>6.1f} |"
            f" {us(ours['latency_us']['p50']):>11} | {us(ours['latency_us']['p99']):>8} |"
            f" {us(peer['latency_us']['p50']):>9} | {us(peer['latency_us']['p99']):>8} | {p99_ratio:>9.1f} |"
            f" {ours['cached_share']:>5.1%}, {peer['cached_share']:>6.1%} | {ours['reviewed']}, {peer['reviewed']}"
        )
    return shapes


def result(folder, out):
    found = runs(folder)
    with open(os.path.join(folder, "machine.json"), encoding="utf-8") as file:
        summary = {"machine": json.load(file), "shapes": {}}
    if SHAPES[0] in found:
        summary["shapes"] = against_redis(found)
    path = os.path.join(folder, "open.json")
    if os.path.exists(path):
        summary["open_loop"] = open_loop(folder, path)
    if STACK_SHAPES[0] in found:
        print()
        summary["stack_shapes"] = against_stack(folder, found)
    with open(out, "w", encoding="utf-8") as file:
        json.dump(summary, file, indent=2)
        file.write("\n")


def main():
    command, *arguments = sys.argv[1:]
    if command == "round":
        one_round(*arguments)
    elif command == "half":
        print(round(figures(runs(arguments[0])[arguments[1]]["catraca"])["throughput_per_s"] / 2))
    else:
        result(*arguments)


if __name__ == "__main__":
    main()
