#!/usr/bin/env bash
# Fuzzes what takes bytes from outside: sessions, logs, snapshots, lists, proofs, replication, policies, windows, named lists, who was asked (tests/src/fuzz), as many targets at a
# time as there are processors. Sets up what is missing, a nightly compiler and cargo-fuzz among it.
#
#   ./scripts/fuzz.sh 60            all targets, 60 seconds each
#   ./scripts/fuzz.sh 600 session   one of them
#
# Prints a line for each target; exit status 1 if one found something, with the input and how to have it again. What is learned is
# kept in fuzz/corpus of the target folder and goes on from there the next time; the seeds in tests/fuzz/corpus stay as they are.
set -euo pipefail
# shellcheck source=scripts/project.sh
. "$(dirname -- "$0")/project.sh"
# shellcheck source=scripts/setup.sh
. scripts/setup.sh

CARGO_FUZZ_VERSION=0.13
# Longest input, bytes; longest time for one, seconds; most memory, MiB. A body takes milliseconds and some tens of MiB.
MAX_LEN=16384
MAX_SECONDS=10
MAX_MIB=1024
OUT=$CARGO_TARGET_DIR/fuzz

usage() {
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' scripts/fuzz.sh
  exit 2
}

setup_fuzz() {
  setup
  command -v c++ >/dev/null 2>&1 || die "missing: a C++ compiler, which libFuzzer is built with; install g++"
  command -v rustup >/dev/null 2>&1 || die "fuzzing needs a nightly compiler, and there is no rustup to install it"
  rustup run nightly rustc --version >/dev/null 2>&1 || rustup toolchain install nightly --profile minimal
  if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "setup: building cargo-fuzz (once, about a minute)"
    install_tool cargo-fuzz "$CARGO_FUZZ_VERSION"
  fi
}

fuzz_command() {
  # Without a sanitizer: the code is safe Rust but for a few lines, and runs several times faster so.
  cargo +nightly fuzz "$1" --fuzz-dir tests/fuzz --target-dir "$OUT/build" --sanitizer none "${@:2}"
}

# fuzz_target NAME SECONDS: its output goes to a file.
fuzz_target() {
  local target=$1 seconds=$2
  mkdir -p "$OUT/corpus/$target" "$OUT/findings/$target"
  fuzz_command run "$target" "$OUT/corpus/$target" "tests/fuzz/corpus/$target" -- -max_total_time="$seconds" -max_len=$MAX_LEN \
    -timeout=$MAX_SECONDS -rss_limit_mb=$MAX_MIB -print_final_stats=1 -artifact_prefix="$OUT/findings/$target/" \
    >"$OUT/$target.log" 2>&1
}

# The coverage in the last, or first, of libFuzzer's lines with this word.
coverage() {
  grep -E "^#[0-9]+[[:space:]]+$2" "$OUT/$1.log" | sed -n 's/.* cov: \([0-9]*\).*/\1/p' | tail -n 1
}

report() {
  local target=$1 status=$2 log=$OUT/$1.log
  local runs found before after
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)
  found=$(sed -n "s/.*Test unit written to //p" "$log" | tail -n 1)
  before=$(coverage "$target" INITED)
  after=$(grep -oE ' cov: [0-9]+' "$log" | tail -n 1 | grep -oE '[0-9]+') || after=$before
  if [ "$status" -eq 0 ]; then
    printf '%-11s %10s executions, coverage %s, %s of it new\n' "$target" "${runs:-?}" "${after:-?}" "$((${after:-0} - ${before:-0}))"
    return 0
  fi
  printf '%-11s FAILED after %s executions\n' "$target" "${runs:-?}"
  if [ -z "$found" ]; then
    tail -n 20 "$log"
    return 1
  fi
  grep -m 1 -A 3 'panicked at' "$log" || tail -n 20 "$log"
  printf '  the input:  %s\n' "$found"
  printf '  once more:  cargo +nightly fuzz run --fuzz-dir tests/fuzz --target-dir %q --sanitizer none %s %q\n' "$OUT/build" "$target" "$found"
  printf '  for good:   cp %q tests/fuzz/corpus/%s/ && cargo nextest run -p catraca-tests --test fuzz\n' "$found" "$target"
  return 1
}

[[ "${1:-}" =~ ^[1-9][0-9]*$ ]] || usage
seconds=$1
setup_fuzz
# The same versions of everything as in the workspace; cargo adds the fuzzer's own.
cp Cargo.lock tests/fuzz/Cargo.lock
mapfile -t targets < <(sed -n 's/^path = "targets\/\(.*\)\.rs"$/\1/p' tests/fuzz/Cargo.toml)
if [ -n "${2:-}" ]; then
  [[ " ${targets[*]} " == *" $2 "* ]] || die "there is no target $2; there are: ${targets[*]}"
  targets=("$2")
fi
mkdir -p "$OUT"
heading "Building the targets"
fuzz_command build

heading "Fuzzing, $seconds s each: ${targets[*]}"
failed=0
processors=$(nproc)
for ((first = 0; first < ${#targets[@]}; first += processors)); do
  batch=("${targets[@]:first:processors}")
  pids=()
  for target in "${batch[@]}"; do
    fuzz_target "$target" "$seconds" &
    pids+=($!)
  done
  for i in "${!batch[@]}"; do
    status=0
    wait "${pids[i]}" || status=$?
    report "${batch[i]}" "$status" || failed=1
  done
done
exit "$failed"
