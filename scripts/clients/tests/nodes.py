"""Real nodes for the tests of the clients: started on ports that are free, in a folder that goes afterwards."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import time

import drivers

from catraca import Client

# Small, so that many fit beside a build.
SETTINGS = {"CATRACA_DEDUPE_ENTRIES": "262144", "CATRACA_SEGMENT_MIB": "4", "CATRACA_SPIN_US": "0",
            "CATRACA_DISK_RESERVE_MIB": "64"}
LOOK_AGAIN_S = 0.02


def binary():
    """The server's program: CATRACA_BIN, or else the debug build."""
    path = pathlib.Path(os.environ.get("CATRACA_BIN") or drivers.target_dir() / "debug" / "catraca").absolute()
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: build it (cargo build --bin catraca), or name another one with CATRACA_BIN")
    return path


def free_address():
    """An address that nobody uses at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return "127.0.0.1:%d" % listener.getsockname()[1]


def wait_for(what, holds):
    """Waits until something holds, for as long as that takes on a busy machine."""
    until = time.monotonic() + drivers.FOR_EVER_S
    while not holds():
        if time.monotonic() > until:
            raise AssertionError(f"never {what}")
        time.sleep(LOOK_AGAIN_S)


class Node:
    """A node as a process of its own; it listens for TLS as well where there are certificates.
    `clients` is what its configuration says of who may connect."""

    def __init__(self, folder, core=0, standby_of=None, certificates=None, clients=""):
        self.folder, self._log = folder, folder.with_suffix(".log")
        self.listen, self.replication = free_address(), free_address()
        command = [binary(), "serve", "--data-dir", folder, "--shards", "1", "--cores", str(core), "--listen", self.listen,
                   "--http", "127.0.0.1:0", "--replication", self.replication]
        command += ["--standby-of", standby_of.replication] if standby_of else []
        settings = clients
        if certificates:
            self.listen_tls = free_address()
            settings = f"""listen_tls = "{self.listen_tls}"
tls_certificate_file = "{certificates.path("server")}"
tls_key_file = "{certificates.path("server-key")}"
tls_client_ca_file = "{certificates.path("ca")}"
{clients}"""
        if settings:
            configuration = folder.with_suffix(".toml")
            configuration.write_text(settings)
            command += ["--config", configuration]
        # Settings of whoever runs the tests are not meant for these nodes.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CATRACA_")}
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
                                            env={**environment, **SETTINGS})
        try:
            wait_for(f"ready: {self.listen}", self._is_ready)
        except AssertionError:
            self.kill()
            raise

    def _is_ready(self):
        said = self._log.read_text(encoding="utf-8", errors="replace")
        if self.process.poll() is not None:
            raise AssertionError(f"the node has ended:\n{said}")
        return any(json.loads(line).get("fields", {}).get("message") == "ready"
                   for line in said.splitlines(keepends=True) if line.startswith("{") and line.endswith("\n"))

    def place(self):
        """What it says of its part in the cluster."""
        with Client(self.listen, role="any", answer_timeout_s=drivers.FOR_EVER_S, connect_timeout_s=drivers.FOR_EVER_S) as client:
            return client.cluster()

    def promote(self):
        """Makes it the primary."""
        subprocess.run([binary(), "promote", "--addr", self.listen], check=True, stdout=subprocess.DEVNULL,
                       timeout=drivers.FOR_EVER_S)

    def kill(self):
        """SIGKILL: no goodbye."""
        self.process.kill()
        self.process.wait()


def start_pair(folder, certificates=None):
    """A primary and its standby, in sync."""
    folder.mkdir()
    primary = Node(folder / "a", certificates=certificates)
    try:
        (folder / "b").mkdir()
        # With its permissions: the node refuses one that others can read.
        shutil.copy(folder / "a" / "chain.key", folder / "b" / "chain.key")
        standby = Node(folder / "b", core=min((os.cpu_count() or 1) - 1, 1), standby_of=primary,
                       certificates=certificates)
    except BaseException:
        primary.kill()
        raise

    def in_sync():
        places = primary.place(), standby.place()
        return all(place.in_sync and place.connected for place in places) and places[0].durability == 2

    try:
        wait_for("in sync", in_sync)
    except BaseException:
        primary.kill()
        standby.kill()
        raise
    return primary, standby
