"""Reads the runs of bench-http.sh: `round FOLDER CONNECTIONS N`, `recorded FOLDER INSERTED VERIFIED.json`, `result FOLDER OUT.json`."""

import json
import os
import pathlib
import statistics
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "bench-peers"))

from table import figures, runs, us  # noqa: E402

SHAPES = ["64", "1"]
# What the doors are, in the order of the table; the first is what the others are compared with.
DOORS = {"fastapi": "FastAPI", "gateway": "gateway", "nginx": "nginx + gateway"}


def cpu_us(report, name):
    """Microseconds of processor that a server had for each decision, those of the warm-up too."""
    return report["cpu_s"][name] / report["requests"] * 1e6


def of_door(reports):
    found = figures(reports)
    found["cpu_us_per_decision"] = {
        name: statistics.median(cpu_us(report, name) for report in reports) for name in reports[0]["cpu_s"]
    }
    found["cpu_us_per_decision_total"] = statistics.median(
        sum(cpu_us(report, name) for name in report["cpu_s"]) for report in reports)
    found["load_cpu_us_per_decision"] = statistics.median(report["load_cpu_s"] / report["requests"] * 1e6 for report in reports)
    for told, report in zip(found["rounds"], reports):
        told.update({key: report[key] for key in ("requests", "cpu_s", "load_cpu_s", "load_average")})
    return found


def one_round(folder, shape, number):
    found = runs(folder)[shape]
    told = [f"{DOORS[door]} {found[door][-1]['throughput_per_s']:,.0f}/s" for door in DOORS]
    print(f"round {number}  {shape:>2} connections   " + "   ".join(told) + f"   load {os.getloadavg()[0]:.1f}", flush=True)


def recorded(folder, inserted, verified_path):
    """Ends with status 1 where more was answered than recorded. Requests on their way when a run ended may be recorded too."""
    with open(verified_path, encoding="utf-8") as file:
        logged = json.load(file)["records"]
    found = runs(folder)
    for doors, records in ((["fastapi"], int(inserted)), (["gateway", "nginx"], logged)):
        answered = sum(report["requests"] for shape in found.values() for door in doors for report in shape[door])
        print(f"{' and '.join(DOORS[door] for door in doors)}: {answered:,} decisions were answered, {records:,} are recorded")
        if records < answered:
            sys.exit(1)


def ratio(one, other):
    return one / other if other else float("nan")


def result(folder, out):
    found = runs(folder)
    with open(os.path.join(folder, "machine.json"), encoding="utf-8") as file:
        summary = {"machine": json.load(file), "shapes": {}}
    print(f"{'connections':>11} | {'through':<15} | {'decisions/s':>11} | {'least, most':>15} | {'p50':>8} | {'p99':>8} |"
          f" {'CPU us each':>11} | {'rate':>6} | {'p50':>5} | {'CPU':>5} | of the CPU; the load's own")
    for shape in SHAPES:
        doors = {door: of_door(found[shape][door]) for door in DOORS}
        peer = doors["fastapi"]
        for door, ours in doors.items():
            latency, total = ours["latency_us"], ours["cpu_us_per_decision_total"]
            # How many times better than FastAPI.
            ours["against_fastapi"] = {
                "throughput": ratio(ours["throughput_per_s"], peer["throughput_per_s"]),
                "p50": ratio(peer["latency_us"]["p50"], latency["p50"]),
                "p99": ratio(peer["latency_us"]["p99"], latency["p99"]),
                "cpu": ratio(peer["cpu_us_per_decision_total"], total),
            }
            times = ours["against_fastapi"]
            parts = ", ".join(f"{name} {part:.0f}" for name, part in ours["cpu_us_per_decision"].items())
            extent = f"{ours['throughput_least_per_s']:,.0f}, {ours['throughput_most_per_s']:,.0f}"
            print(
                f"{shape:>11} | {DOORS[door]:<15} | {ours['throughput_per_s']:>11,.0f} | {extent:>15} | {us(latency['p50']):>8} |"
                f" {us(latency['p99']):>8} | {total:>11.0f} | {times['throughput']:>6.1f} | {times['p50']:>5.1f} | {times['cpu']:>5.1f} |"
                f" {parts}; {ours['load_cpu_us_per_decision']:.0f}"
            )
        summary["shapes"][shape] = doors
    print("rate, p50 and CPU: how many times better than FastAPI")
    with open(out, "w", encoding="utf-8") as file:
        json.dump(summary, file, indent=2)
        file.write("\n")


def main():
    command, folder, *arguments = sys.argv[1:]
    if command == "round":
        one_round(folder, *arguments)
    elif command == "recorded":
        recorded(folder, *arguments)
    else:
        result(folder, *arguments)


if __name__ == "__main__":
    main()
