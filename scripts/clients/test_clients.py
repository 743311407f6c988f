#!/usr/bin/env python3
"""Builds the clients of other languages than Rust, and holds all of them to the same rules: golden vectors, fake nodes, real
nodes and the death of one. Python 3.9 and later; a language that is missing is a failure.

    python3 scripts/clients/test_clients.py                  # all of them
    python3 scripts/clients/test_clients.py Go               # one
    python3 scripts/clients/test_clients.py Java.Following   # and of it one set: Vectors, Answers, Following, Silence, Live, Secure,
                                                             # SecureLive, Tokens, TokensLive, Own

The server is CATRACA_BIN, or else the debug build. Nothing is left behind but caches of builds in the folder of builds.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

sys.dont_write_bytecode = True
CLIENTS = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(CLIENTS / "tests"), str(CLIENTS / "python")]

import drivers  # noqa: E402
import following  # noqa: E402
import live  # noqa: E402
import rules  # noqa: E402
import secure  # noqa: E402
import tokens  # noqa: E402
import vectors  # noqa: E402


def run(*command, folder, **environment):
    """A step of a build or a test of its own, which must succeed."""
    done = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=600)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))} failed:\n{done.stdout}")


def tool(name):
    """A program that scripts/setup.sh installs, where it is in nobody's path."""
    home = pathlib.Path(os.environ.get("CARGO_HOME") or pathlib.Path.home() / ".cargo")
    found = shutil.which(name) or next(map(str, home.glob(f"catraca-tools/{name}-*/bin/{name}")), None)
    if found is None:
        raise FileNotFoundError(f"{name} is missing: scripts/setup.sh installs it")
    return found


class Go:
    """Built once, into a folder that goes."""

    def __init__(self, folder):
        self.folder = CLIENTS / "go"
        self.program = folder / "go-driver"
        # The cache makes the second build a matter of a second. No network, and the toolchain that is installed.
        cache = drivers.target_dir() / "go-cache"
        self.environment = {"GOCACHE": str(cache), "GOFLAGS": "-trimpath", "GOPROXY": "off", "GOTOOLCHAIN": "local"}
        run("go", "vet", ".", folder=self.folder, **self.environment)
        run("go", "test", "-c", "-o", self.program, ".", folder=self.folder, **self.environment)

    def start(self):
        return drivers.Driver([self.program])

    def own_tests(self):
        run(self.program, "-test.v", folder=self.folder)


class Java:
    """Compiled with javac alone."""

    def __init__(self, folder):
        self.classes = folder / "java-classes"
        sources = sorted((CLIENTS / "java").rglob("*.java"))
        run("javac", "-Xlint:all", "-Werror", "--release", "17", "-encoding", "UTF-8", "-d", self.classes, *sources, folder=folder)

    def _command(self, of):
        return ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-ea", "-cp", self.classes, f"catraca.{of}"]

    def start(self):
        return drivers.Driver(self._command("Driver"))

    def own_tests(self):
        run(*self._command("OwnTest"), folder=self.classes)


class Php:
    """Nothing to build; every warning is a failure."""

    def __init__(self, folder):
        # -n: without the settings of the machine, and the extensions that they load.
        self.command = ["php", "-n", "-d", "error_reporting=-1", "-d", "display_errors=stderr", "-d", "zend.assertions=1"]
        self.folder = CLIENTS / "php"
        for source in sorted(self.folder.rglob("*.php")):
            run("php", "-n", "-l", source, folder=folder)

    def start(self):
        return drivers.Driver([*self.command, self.folder / "test" / "driver.php"])

    def own_tests(self):
        run(*self.command, "test/own.php", folder=self.folder)


class Python:
    """Run from the wheel, in an environment of its own; every warning is a failure."""

    driver, own = "driver.py", "own.py"

    def __init__(self, folder):
        self.folder = CLIENTS / "python"
        environment = folder / "python"
        self.program = environment / "bin" / "python"
        if not environment.exists():
            self._install(folder, environment)

    def _install(self, folder, environment):
        run(tool("mypy"), "--strict", "--cache-dir", os.devnull, "catraca", "test/typed.py",
            folder=self.folder)
        run(tool("hatchling"), "build", "--target", "wheel", "--directory", folder,
            folder=self.folder)
        run(sys.executable, "-m", "venv", "--without-pip", environment, folder=folder)
        (place,) = environment.glob("lib/python*/site-packages")
        (wheel,) = folder.glob("*.whl")
        # What an installer does with one that holds Python alone.
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(place)
        installed = {path.name for path in (place / "catraca").iterdir()}
        sources = {path.name for path in (self.folder / "catraca").iterdir()}
        missing = sources - {"__pycache__"} - installed
        if missing or "py.typed" not in installed:
            raise AssertionError(f"the wheel is without {missing or 'its types'}")

    def start(self):
        return drivers.Driver([*self._command(), self.folder / "test" / self.driver])

    def own_tests(self):
        run(*self._command(), self.folder / "test" / self.own, folder=CLIENTS,
            PYTHONPATH=str(CLIENTS / "tests"))

    def _command(self):
        return [self.program, "-B", "-W", "error"]


class PythonAsyncio(Python):
    """The client for asyncio."""

    driver, own = "aio_driver.py", "own_aio.py"


LANGUAGES = {"Go": Go, "Java": Java, "PHP": Php, "Python": Python, "PythonAsyncio": PythonAsyncio}
SETS = {"Vectors": vectors.Vectors, "Answers": rules.Answers, "Following": following.Following, "Silence": following.Silence,
        "Live": live.Live, "Secure": secure.Secure, "SecureLive": secure.SecureLive, "Tokens": tokens.Tokens,
        "TokensLive": tokens.TokensLive}


def tests_of(name, language):
    """The test classes of a language, with one driver for all of them."""
    running = []

    def driver(_):
        # One that was ended, because it said nothing, fails its own test only.
        if not running or running[-1].process.poll() is not None:
            running.append(language.start())
        return running[-1]

    def end(_):
        while running:
            running.pop().end()

    def own(_):
        language.own_tests()

    common = {"driver": driver, "tearDownClass": classmethod(end)}
    made = {of: type(f"{name}.{of}", (base,), common) for of, base in SETS.items()}
    made["Own"] = type(f"{name}.Own", (unittest.TestCase,), {"test_the_tests_of_its_own": own})
    return made


def main(wanted):
    """Builds what is wanted and tests it: 0 where all passed."""
    unknown = [one for one in wanted if one.partition(".")[0] not in LANGUAGES or one.partition(".")[2] not in ("", "Own", *SETS)]
    if unknown:
        print(f"no such client or set: {' '.join(unknown)}\n{__doc__}", file=sys.stderr)
        return 2
    suite = unittest.TestSuite()
    with tempfile.TemporaryDirectory(prefix="catraca-clients.") as folder:
        for name, language in LANGUAGES.items():
            sets = {one.partition(".")[2] for one in wanted if one.partition(".")[0] == name} or (set() if wanted else {""})
            if not sets:
                continue
            built = language(pathlib.Path(folder))
            for of, case in tests_of(name, built).items():
                if of in sets or "" in sets:
                    suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(case))
        return 0 if unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
