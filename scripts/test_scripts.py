#!/usr/bin/env python3
"""Tests of the scripts here, without building anything: python3 scripts/test_scripts.py, nothing to install.

Each script runs in a copy of the project, whose path has a space, with tools on its PATH that only write down how they were called. The
fake cargo makes fake programs where the real one would. So it shows whether a script and cargo mean the same folder, whatever
CARGO_TARGET_DIR says and wherever the caller stands.
"""

import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest

PROJECT = pathlib.Path(__file__).resolve().parents[1]
# What the scripts read of the project besides their own folder.
NEEDED = ["Cargo.lock", "Cargo.toml", "tests/fuzz/Cargo.toml"]
# Nothing here takes long: who runs into this waits for something that does not come.
FOR_EVER_S = 300
# Where the tools are that have no fake.
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"

# Every fake is this program: the tools under their names in the first folder of PATH, and what the fake cargo builds.
FAKE = r"""#!/bin/bash
# In one write, because several run at a time.
printf -v call '%q ' "$0" "$PWD" "${CARGO_TARGET_DIR-}" "$@"
echo "$call" >>"$FAKE_CALLS"

# The value of an option in the arguments.
option() {
  local wanted=$1
  shift
  while [ $# -gt 0 ]; do
    if [ "$1" = "$wanted" ]; then echo "$2"; return; fi
    shift
  done
}
until_told() {
  "$FAKE_SLEEP" 60 &
  trap "kill $!; exit 0" TERM
  echo "$1" >&"$2"
  if [ -n "${3:-}" ]; then : >"$3"; fi
  wait
}
report='{"rate": 1, "seconds": 1, "connections": 1, "sent": 9, "answered": 9, "requests": 9, "resent": 0, "unsent": 0,
  "throughput_per_s": 5,
  "latency_us": {"p50": 1, "p99": 1, "p99_9": 1, "max": 1}, "service_us": {},
  "verdicts": {}, "sources": {"cache": 1, "validator": 1}, "late_sends": 0, "late_threshold_us": 1,
  "max_lateness_us": 1, "errors": {}, "violations": {}, "failure": null}'

name=${0##*/}
case "$name $*" in
  "cargo build"*)
    profile=$(option --profile "$@")
    case " $* " in *" --release "*) profile=release ;; esac
    made=${CARGO_TARGET_DIR:-target}/${profile:-debug}
    mkdir -p "$made/examples"
    for program in catraca catraca-loadgen catraca-bench-zen sim instructions examples/redis_load examples/machine_pauses; do
      cp "$0" "$made/$program"
    done
    ;;
  "cargo install"* | apt-get*) exit 9 ;;
  "cargo +nightly fuzz"*)
    target=$(option --target-dir "$@")
    mkdir -p "$target"
    if [ "$3" = run ]; then
      printf '#1 INITED cov: 5 ft: 1\n#2 NEW cov: 7 ft: 1\nstat::number_of_executed_units: 2\n'
    fi
    ;;
  "catraca blacklist synth"*) printf 'document,since,until\nx,,\n' >"$(option --out "$@")" ;;
  "catraca blacklist build"*) : >"$(option --out "$@")" ;;
  "catraca provider"*) until_told "provider listens on http://127.0.0.1:3" 1 ;;
  "postgres --version") echo "postgres (PostgreSQL) 0" ;;
  "postgres"*) until_told ready 2 ;;
  "psql"*"count("*) echo 1000000 ;;
  "psql"*) echo on ;;
  "setpriv"*) exec "${@:7}" ;;
  "wrk"*) echo "$report" >"$STACK_OUT"; exit "${FAKE_WRK_STATUS:-0}" ;;
  "nginx"*) until_told ready 2 ;;
  "python3 -m venv"*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
  "python "*issuer.py) until_told '{"message": "ready", "jwks": "http://127.0.0.1:4/jwks", "token": "token"}' 1 ;;
  "python -m uvicorn"*) until_told ready 2 ;;
  "python "*) ;;
  "python3"*stack_worker*) until_told ready 2 ;;
  "python3 -c import "*) if [[ "$2" == *socket* ]]; then exec "$FAKE_PYTHON" "$@"; fi ;;
  "catraca serve"* | "catraca gateway"*)
    until_told '{"fields": {"message": "ready", "listen": "127.0.0.1:1", "http": "127.0.0.1:2"}}' 2 ;;
  "catraca log verify"*) echo '{"sound": true, "records": 1000000, "streams": [{"state": "clean"}]}' ;;
  "catraca-loadgen"*)
    json=$(option --json "$@")
    # The soak ends the measuring of pauses after a load: not before that is ready to be ended.
    if [ -n "$(option --resend-share "$@")" ]; then
      until [ -e "${json%/*}/measuring" ]; do "$FAKE_SLEEP" 0.001; done
      rm "${json%/*}/measuring"
    fi
    if [ -n "$json" ]; then echo "$report" >"$json"; fi
    ;;
  "machine_pauses"*) until_told '{"wake_ms": [1], "durable_write_ms": 1}' 1 "$1/measuring" ;;
  "redis_load"*" --load") ;;
  "redis_load"*) echo "$report" ;;
  "redis-server --version") echo "Redis server v=0" ;;
  "redis-server"*) until_told ready 1 ;;
  "redis-cli"*ping) echo PONG ;;
  "redis-cli"*--pipe) cat >/dev/null ;;
  "redis-cli"*scard*) echo 1 ;;
  "redis-cli"*) printf 'appendfsync\nalways\n' ;;
  "curl"*) echo "catraca_deadlines_missed_total 0" ;;
  "nproc"*) echo 2 ;;
  "valgrind"*) "${@:3}" && echo "==1== Collected : $(($4 * 100))" >&2 ;;
  "taskset"*) exec "${@:3}" ;;
  "sleep"*) exec "$FAKE_SLEEP" 0.01 ;;
  # The tests of the copy are not what is tested here.
  "python3"*unittest* | "python3"*test_scripts* | "python3"*test_clients*) ;;
  "python3"*soak_judge*) if [ -n "$FAKE_JUDGE" ]; then exec "$FAKE_PYTHON" "$@"; fi ;;
  "python3"*) exec "$FAKE_PYTHON" "$@" ;;
esac
"""
TOOLS = ("cargo rustup rustc gcc c++ g++ make git pkg-config curl ip promtool valgrind redis-server redis-cli taskset nproc sleep apt-get"
         " go javac php openssl initdb postgres psql setpriv chown wrk nginx python3 shellcheck ruff mypy hatchling"
         " schemathesis openapi-python-client tansu node npm"
         " cargo-nextest cargo-deny cargo-machete").split()

# How each script is called, and the programs that it must find where cargo put them.
SCRIPTS = {
    "bench-http.sh": (["--rounds", "2", "--seconds", "1", "--json", "my figures.json"], {"catraca", "python"}),
    "bench-peers.sh": (["--rounds", "1", "--seconds", "1", "--open-seconds", "1", "--stack-rounds", "1", "--json", "my figures.json"],
                       {"catraca", "catraca-loadgen", "redis_load"}),
    "bench-zen.sh": ([], {"catraca-bench-zen"}),
    "demo.sh": (["--data-dir", "my demo"], {"catraca"}),
    "failover-test.sh": (["2"], set()),
    "fuzz.sh": (["1"], set()),
    "instructions.sh": ([], {"instructions"}),
    "intake-test.sh": (["2"], set()),
    "kill-test.sh": (["2"], set()),
    "segments-test.sh": (["2"], set()),
    "setup.sh": ([], set()),
    "sim.sh": (["3", "--broken", "two words"], {"sim"}),
    "soak.sh": (["--transactions", "10000"], {"catraca", "catraca-loadgen", "machine_pauses"}),
    "test.sh": ([], set()),
}
# Sourced by the others, never run.
SOURCED = {"project.sh"}


class Call:
    """How a fake was called."""

    def __init__(self, line):
        self.program, self.folder, self.target, *self.arguments = shlex.split(line)
        self.name = os.path.basename(self.program)


class Place:
    """A copy of the project, somebody else's folder beside it, and the fakes."""

    def __init__(self, root):
        self.root = root
        self.project, self.elsewhere, self.tools = root / "the project", root / "some where", root / "the tools"
        shutil.copytree(PROJECT / "scripts", self.project / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        for path in NEEDED:
            (self.project / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / path, self.project / path)
        for folder in (self.elsewhere, self.tools, root / "home"):
            folder.mkdir()
        self.fakes(self.tools, TOOLS)
        self.before = self.files()

    @staticmethod
    def fakes(folder, names):
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(FAKE)
            path.chmod(0o755)

    def files(self):
        return {path for path in self.root.rglob("*") if not path.is_dir()}

    def run(self, command, folder, target=None, judge=False):
        """Runs it there; its exit status and output, and the calls of fakes. The soak's judge is started 61 times: once is enough."""
        calls = self.root / "home" / "calls"
        environment = {
            "PATH": f"{self.tools}:{SYSTEM_PATH}", "HOME": str(self.root / "home"), "FAKE_CALLS": str(calls),
            "FAKE_SLEEP": shutil.which("sleep"), "FAKE_PYTHON": sys.executable, "FAKE_JUDGE": "yes" if judge else "",
            "PYTHONDONTWRITEBYTECODE": "1",
            # Where cd would go first.
            "CDPATH": str(self.root / "home"), "LC_ALL": "C.UTF-8", "TMPDIR": str(self.root / "home")}
        if target is not None:
            environment["CARGO_TARGET_DIR"] = str(target)
        ran = subprocess.run([str(part) for part in command], cwd=folder, env=environment, stdin=subprocess.DEVNULL, check=False,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=FOR_EVER_S)
        lines = calls.read_text().splitlines() if calls.exists() else []
        return ran, [Call(line) for line in lines]


class Scripts(unittest.TestCase):
    def place(self):
        folder = tempfile.TemporaryDirectory(prefix="catraca scripts ")
        self.addCleanup(folder.cleanup)
        return Place(pathlib.Path(os.path.realpath(folder.name)))

    def check(self, place, name, command, folder, target, given):
        """The script ends well, and nothing was built, run or left but in the target folder."""
        arguments, programs = SCRIPTS[name]
        ran, calls = place.run([*command, *arguments], folder, given)
        self.assertEqual(ran.returncode, 0, f"{ran.stdout}\n{[call.__dict__ for call in calls]}")
        cargo = [call for call in calls if call.name == "cargo"]
        # setup.sh is run from where the caller stands, and builds nothing of the project.
        for call in cargo if name != "setup.sh" else []:
            self.assertEqual((call.folder, call.target), (str(place.project), str(target)), call.arguments)
        built = [call for call in calls if not call.program.startswith(str(place.tools))]
        self.assertEqual({call.name for call in built if call.program.startswith(f"{target}/")}, programs)
        self.assertEqual([call.program for call in built if not call.program.startswith(f"{target}/")], [])
        allowed = {place.root / "home" / "calls", folder / "my figures.json", place.project / "tests/fuzz/Cargo.lock"}
        stray = {path for path in place.files() - place.before - allowed if target not in path.parents}
        self.assertEqual(stray, set())
        self.assertEqual([str(path) for pattern in ("soak.*", "bench-http.*", "bench-peers.*") for path in target.glob(pattern)], [])
        return calls

    def ways(self, name):
        """The script, called with and without CARGO_TARGET_DIR."""
        place = self.place()
        calls = self.check(place, name, [f"./scripts/{name}"], place.project, place.project / "target", None)
        yield place, place.project, place.project / "target", calls
        for target, given in ((lambda place: place.root / "my target", lambda target: target),
                              (lambda place: place.elsewhere / "my target", lambda _: "my target")):
            place = self.place()
            folder, command = place.elsewhere, [pathlib.Path("..", "the project", "scripts", name)]
            calls = self.check(place, name, command, folder, target(place), given(target(place)))
            yield place, folder, target(place), calls

    def test_every_script_is_tested(self):
        self.assertEqual({path.name for path in (PROJECT / "scripts").glob("*.sh")}, set(SCRIPTS) | SOURCED)

    def test_the_target_folder_is_the_same_for_all(self):
        for name in sorted(set(SCRIPTS) - {"demo.sh", "bench-http.sh", "bench-peers.sh", "fuzz.sh", "sim.sh"}):
            with self.subTest(name):
                self.assertEqual(len(list(self.ways(name))), 3)

    def test_the_simulator_gets_its_arguments(self):
        for _, _, _, calls in self.ways("sim.sh"):
            self.assertEqual([call.arguments for call in calls if call.name == "sim"], [["3", "--broken", "two words"]])

    def test_the_demo_runs_where_its_caller_stands(self):
        for _, folder, _, calls in self.ways("demo.sh"):
            demo = [(call.folder, call.arguments) for call in calls if call.name == "catraca"]
            self.assertEqual(demo, [(str(folder), ["demo", "--data-dir", "my demo"])])

    def test_the_comparison_leaves_its_figures_where_its_caller_stands(self):
        for _, folder, _, _ in self.ways("bench-peers.sh"):
            figures = json.loads((folder / "my figures.json").read_text())
            for shapes in (figures["shapes"], figures["stack_shapes"]):
                self.assertEqual({shape["throughput_ratio"] for shape in shapes.values()}, {1})

    def test_the_comparison_over_http_leaves_its_figures_where_its_caller_stands(self):
        for _, folder, target, calls in self.ways("bench-http.sh"):
            figures = json.loads((folder / "my figures.json").read_text())
            self.assertEqual(set(figures["shapes"]), {"64", "1"})
            for doors in figures["shapes"].values():
                self.assertEqual({door: of["against_fastapi"]["throughput"] for door, of in doors.items()},
                                 {"fastapi": 1, "gateway": 1, "nginx": 1})
            # Two rounds of two shapes, through three doors each.
            self.assertEqual(len([call for call in calls if call.name == "wrk"]), 12)
            self.assertEqual({call.program for call in calls if call.name == "python"},
                             {str(path) for path in target.glob("bench-http-packages/*/bin/python")})
            nginx = [call.arguments for call in calls if call.name == "nginx" and "-c" in call.arguments]
            self.assertEqual(len(nginx), 1)

    def test_the_comparison_over_http_fails_where_answers_are_wrong(self):
        place = self.place()
        (place.tools / "wrk").write_text(FAKE.replace("name=", "FAKE_WRK_STATUS=3\nname=", 1))
        arguments, _ = SCRIPTS["bench-http.sh"]
        ran, _ = place.run([place.project / "scripts/bench-http.sh", *arguments], place.elsewhere)
        self.assertEqual(ran.returncode, 1, ran.stdout)
        self.assertIn("the run through fastapi failed", ran.stdout)
        self.assertFalse((place.elsewhere / "my figures.json").exists())
        self.assertEqual(list((place.project / "target").glob("bench-http.*")), [])

    def test_the_comparison_over_http_explains_itself(self):
        place = self.place()
        ran, calls = place.run([place.project / "scripts/bench-http.sh", "--help"], place.elsewhere)
        self.assertEqual((ran.returncode, calls), (0, []), ran.stdout)
        for said in ("--rounds N", "--json FILE", "examples:"):
            self.assertIn(said, ran.stdout)

    def test_fuzzing_builds_and_learns_in_the_target_folder(self):
        for _, _, target, calls in self.ways("fuzz.sh"):
            runs = [call.arguments for call in calls if call.arguments[:3] == ["+nightly", "fuzz", "run"]]
            self.assertGreater(len(runs), 3)
            for run in runs:
                self.assertEqual(run[run.index("--target-dir") + 1], f"{target}/fuzz/build")
                fuzzed = run[run.index("none") + 1]
                self.assertIn(f"{target}/fuzz/corpus/{fuzzed}", run)
                self.assertIn(f"-artifact_prefix={target}/fuzz/findings/{fuzzed}/", run)

    def test_programs_that_the_caller_names_are_used(self):
        for name, programs in (("soak.sh", ["catraca", "catraca-loadgen", "examples/machine_pauses"]),
                               ("bench-peers.sh", ["catraca", "catraca-loadgen", "examples/redis_load"]), ("bench-http.sh", ["catraca"])):
            with self.subTest(name):
                place = self.place()
                place.fakes(place.elsewhere / "my own", programs)
                arguments, _ = SCRIPTS[name]
                ran, calls = place.run([place.project / "scripts" / name, *arguments, "--bin-dir", "my own"], place.elsewhere,
                                       judge=True)
                self.assertEqual(ran.returncode, 0, ran.stdout)
                self.assertFalse([call.arguments for call in calls if call.name == "cargo" and "build" in call.arguments])
                # The packages of the comparison over HTTP are not what is named.
                used = {call.program for call in calls if not call.program.startswith(str(place.tools)) and call.name != "python"}
                self.assertEqual(used, {str(place.elsewhere / "my own" / program) for program in programs})

    def test_wrong_arguments_are_explained_from_everywhere(self):
        for name, argument, said in (("fuzz.sh", "soon", "all targets, 60 seconds each"), ("soak.sh", "--soon", "usage: soak.sh"),
                                     ("bench-peers.sh", "--soon", "usage: bench-peers.sh"),
                                     ("bench-http.sh", "--soon", "usage: bench-http.sh"), ("kill-test.sh", "soon", "usage: "),
                                     ("failover-test.sh", "soon", "usage: "), ("intake-test.sh", "soon", "usage: ")):
            with self.subTest(name):
                place = self.place()
                ran, calls = place.run([pathlib.Path("..", "the project", "scripts", name), argument], place.elsewhere)
                self.assertEqual(ran.returncode, 2, ran.stdout)
                self.assertIn(said, ran.stdout)
                self.assertEqual([call.arguments for call in calls if call.name == "cargo"], [])

    def test_the_sections_of_the_whole_test_run(self):
        place = self.place()
        ran, calls = place.run([place.project / "scripts/test.sh"], place.elsewhere)
        self.assertIn("All passed", ran.stdout)
        self.assertTrue({"fmt", "clippy", "build", "nextest", "test", "doc"}
                            <= {call.arguments[0] for call in calls if call.name == "cargo"})
        self.assertTrue({"shellcheck", "ruff"} <= {call.name for call in calls})
        self.assertTrue({"machete", "deny"} <= {call.arguments[0] for call in calls if call.name == "cargo"})
        (place.tools / "python3").write_text("#!/bin/sh\nexit 3\n")
        ran, _ = place.run([place.project / "scripts/test.sh"], place.elsewhere)
        self.assertEqual(ran.returncode, 3)
        self.assertIn("FAILED in: Scripts", ran.stdout)

    def test_what_can_not_be_checked_is_said_and_what_is_missing_fails(self):
        def run(prepare):
            place = self.place()
            prepare(place)
            ran, _ = place.run([place.project / "scripts/test.sh"], place.elsewhere)
            return ran

        def failing(call):
            fake = FAKE.replace("name=", f'if [ "$*" = "{call}" ]; then exit 4; fi\nname=', 1)
            return lambda place: (place.tools / "cargo").write_text(fake)

        offline = run(failing("deny --locked fetch db"))
        self.assertEqual(offline.returncode, 0, offline.stdout)
        self.assertIn("NOT CHECKED: the database of advisories", offline.stdout)
        for call, section in (("deny --locked check --disable-fetch advisories", "Advisories on dependencies"),
                              ("deny --locked check licenses bans sources", "Licences and sources of dependencies"),
                              ("machete --with-metadata", "Unused dependencies")):
            failed = run(failing(call))
            self.assertEqual(failed.returncode, 4, failed.stdout)
            self.assertIn(f"FAILED in: {section}", failed.stdout)
        if not shutil.which("cargo-machete", path=SYSTEM_PATH):
            missing = run(lambda place: (place.tools / "cargo-machete").unlink())
            self.assertEqual(missing.returncode, 1, missing.stdout)
            self.assertIn("FAILED in: Setting up", missing.stdout)


if __name__ == "__main__":
    unittest.main()
