"""The clients of other languages as programs that are told line by line what to do.

A line is a command and fields, `key=value`, with tabs between them; values are percent-encoded. The answer is one line as well,
"ok" or "error" with fields, named as in PROTOCOL.md. The driver of a language lies with its tests: it calls the client as any
program would, so that one set of tests holds all of them to the same rules. A driver that says nothing for a long time, or ends,
fails the test.
"""

import os
import pathlib
import queue
import subprocess
import sys
import threading
import urllib.parse

CLIENTS = pathlib.Path(__file__).resolve().parents[1]
PROJECT = CLIENTS.parents[1]
VECTORS = PROJECT / "wire" / "vectors"
# Longer than anything takes, on however busy a machine: who waits for it fails.
FOR_EVER_S = 120

sys.path.insert(0, str(CLIENTS / "python"))


def target_dir():
    """Where builds are kept, as scripts/project.sh says."""
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or PROJECT / "target").absolute()


class Failed(Exception):
    """A driver's "error", with its fields."""

    def __init__(self, said):
        super().__init__(f"{said.get('type')}: {said.get('text')}")
        self.said = said


class Driver:
    """A running driver."""

    def __init__(self, command, **environment):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
                                        env={**os.environ, "CATRACA_DRIVER": "1", **environment})
        self._lines = queue.Queue()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self):
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def tell(self, command, **fields):
        """Gives the command, and does not wait."""
        words = [f"{key}={urllib.parse.quote(str(value), safe='')}" for key, value in fields.items()]
        self.process.stdin.write("\t".join([command, *words]) + "\n")
        self.process.stdin.flush()

    def line(self):
        """The next line that the driver says: a word and its fields."""
        try:
            line = self._lines.get(timeout=FOR_EVER_S)
        except queue.Empty:
            self.end()
            raise AssertionError("the driver says nothing") from None
        if line is None:
            raise AssertionError(f"the driver has ended, with status {self.process.wait()}")
        word, *fields = line.split("\t")
        pairs = (field.partition("=") for field in fields)
        return word, {key: urllib.parse.unquote(value) for key, _, value in pairs}

    def result(self):
        """The fields of the answer; raises Failed."""
        word, said = self.line()
        if word == "error":
            raise Failed(said)
        assert word == "ok", (word, said)
        return said

    def ask(self, command, **fields):
        """Gives the command and waits for its answer."""
        self.tell(command, **fields)
        return self.result()

    def end(self):
        """Ends the program, whatever it does."""
        self.process.kill()
        self.process.wait()
        self._reading.join()
        self.process.stdin.close()
        self.process.stdout.close()


def of_transaction(payment):
    """A Transaction of the Python client as a driver's fields."""
    def shown(value):
        if isinstance(value, bytes):
            return value.hex()
        return "" if value is None else int(value) if isinstance(value, int) else value

    return {name: shown(value) for name, value in vars(payment).items()}
