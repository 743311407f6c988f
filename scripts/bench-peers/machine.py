"""What must be known of a machine to judge figures measured on it. Usage: machine.py FOLDER OUT.json"""

import json
import mmap
import os
import platform
import statistics
import sys
import time

# Writes of the probe, and the length of the file that they go through: each writes a block of its own, zero-filled before.
WRITES = 1_000
BLOCK = 4096


def first(path, key):
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith(key):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return "unknown"


def text(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return "unknown"


def file_system(folder):
    """Device and type of the mount that holds the folder: the longest mount point that is a prefix of it."""
    folder = os.path.realpath(folder)
    best = ("", "unknown", "unknown")
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        for line in mounts:
            # Spaces within one of the three are written as octal.
            device, point, kind = (part.replace("\\040", " ") for part in line.split()[:3])
            inside = point == "/" or folder == point or folder.startswith(point + "/")
            if inside and len(point) >= len(best[0]):
                best = (point, device, kind)
    return {"device": best[1], "type": best[2]}


def durable_write_us(folder):
    """Quantiles of one 4 KiB append with O_DIRECT and O_DSYNC to a zero-filled file, which is how catraca writes its log."""
    path = os.path.join(folder, "probe")
    with open(path, "wb") as file:
        file.write(bytes(BLOCK * WRITES))
        file.flush()
        os.fsync(file.fileno())
    flags = os.O_WRONLY | os.O_DSYNC
    try:
        descriptor, direct = os.open(path, flags | os.O_DIRECT), True
    except OSError:
        descriptor, direct = os.open(path, flags), False
    block = mmap.mmap(-1, BLOCK)  # aligned to a page, as O_DIRECT wants
    block.write(os.urandom(BLOCK))
    took = []
    for number in range(WRITES):
        began = time.perf_counter_ns()
        os.pwrite(descriptor, block, number * BLOCK)
        took.append((time.perf_counter_ns() - began) / 1000)
    os.close(descriptor)
    os.unlink(path)
    took.sort()
    return {"p50": statistics.median(took), "p99": took[WRITES * 99 // 100], "max": took[-1], "o_direct": direct}


def main():
    folder, out = sys.argv[1:3]
    memory_kib = first("/proc/meminfo", "MemTotal").split()[0]
    machine = {
        "cpu": first("/proc/cpuinfo", "model name"),
        "processors": os.cpu_count(),
        "governor": text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "virtual": "hypervisor" in first("/proc/cpuinfo", "flags").split(),
        "memory_mib": int(memory_kib) // 1024 if memory_kib.isdigit() else 0,
        "kernel": platform.release(),
        "system": text("/etc/debian_version"),
        "file_system": file_system(folder),
        "load_average": os.getloadavg()[0],
        "durable_4k_write_us": durable_write_us(folder),
    }
    with open(out, "w", encoding="utf-8") as file:
        json.dump(machine, file, indent=2)
    probe = machine["durable_4k_write_us"]
    kind = "virtual machine" if machine["virtual"] else "bare metal"
    print(f"processors     {machine['processors']} x {machine['cpu']} ({kind}, governor {machine['governor']})")
    print(f"memory         {machine['memory_mib']} MiB")
    print(f"kernel         {machine['kernel']}, Debian {machine['system']}")
    print(f"disk           {machine['file_system']['type']} on {machine['file_system']['device']}")
    print(f"4 KiB durable  p50 {probe['p50']:.0f} us, p99 {probe['p99']:.0f} us, max {probe['max']:.0f} us ({WRITES} writes, one by one)")
    print(f"load before    {machine['load_average']:.2f}" + ("  (NOT IDLE: expect worse figures)" if machine["load_average"] > 0.5 else ""))


main()
