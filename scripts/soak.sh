#!/usr/bin/env bash
# A long load on one node, of every shape, while connections come and go and the list is swapped each second. Fails when anything breaks
# a promise or does not stay as it was:
#
#   - a stall of more than 250 ms that the machine's own pauses, measured beside the load, do not explain;
#   - an error, a wrong or missing answer, a node that ends, a log that is not sound or lacks a record;
#   - memory or descriptors that grow after the first tenth.
#
#   ./scripts/soak.sh [--transactions 10000000] [--bin-dir DIR] [--keep]
#
# It notices a runtime that loses tasks. Tried twice with 3,000,000 transactions on an unoptimised build (two processors, others at work),
# PREEMPT_TIMER in engine/node/src/driver/mod.rs set to 1 ms and yield_to_reactor calling `glommio::executor().yield_now()`:
#   - once the core stopped answering for good after 1.5 million: the node ended itself with status 15 ("the core of shard 0 has not moved
#     for 10 s"), 8,192 transactions were unanswered, and the soak failed;
#   - once all were answered, with stalls of 376 and 566 ms where the machine's own pauses came to 27 and 24 ms, and the soak failed.
# As it should be, the same build held for 2,000,000. A broken run of 200,000 showed nothing: give it millions.
set -euo pipefail
# shellcheck source=scripts/project.sh
. "$(dirname -- "$0")/project.sh"
# shellcheck source=scripts/setup.sh
. scripts/setup.sh

transactions=10000000 bin_dir="" keep=""
cycles=10
while [ $# -gt 0 ]; do
  case "$1" in
    --transactions) transactions=${2:?} && shift 2 ;;
    --bin-dir) from_caller "${2:?}" && bin_dir=$path && shift 2 ;;
    --keep) keep=yes && shift ;;
    [0-9]*) transactions=$1 && shift ;;
    *) echo "usage: soak.sh [--transactions N] [--bin-dir DIR] [--keep]" >&2 && exit 2 ;;
  esac
done
[ "$transactions" -ge 10000 ] || die "a soak of fewer than 10,000 transactions shows nothing"

heading "Setting up"
setup
if [ -z "$bin_dir" ]; then
  heading "Building"
  cargo build --release --locked --package catraca-cli --package catraca-loadgen --bins --examples
  bin_dir=$CARGO_TARGET_DIR/release
fi
catraca=$bin_dir/catraca loadgen=$bin_dir/catraca-loadgen pauses=$bin_dir/examples/machine_pauses
for program in "$catraca" "$loadgen" "$pauses"; do
  [ -x "$program" ] || die "$program is missing: build it, or leave --bin-dir out"
done
load_core=$(($(nproc) - 1))

mkdir -p "$CARGO_TARGET_DIR"
work=$(mktemp -d "$CARGO_TARGET_DIR/soak.XXXXXX")
node_pid="" helper_pids=""
stop() {
  local status=$? pid
  for pid in $helper_pids $node_pid; do
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  if [ "$status" -ne 0 ] && [ -f "$work/node.log" ]; then
    echo "the node's last lines:" >&2
    tail -n 5 "$work/node.log" >&2
  fi
  if [ -n "$keep" ]; then echo "kept: $work"; else rm -rf "$work"; fi
}
trap stop EXIT
trap 'exit 130' INT TERM

heading "Lists and a node"
# Two lists: the second has some documents more. Those are in the load generator's list too, but with a day that has passed, so that it
# neither counts on them being listed nor pays anybody with them.
"$catraca" blacklist synth --entries 20000 --seed 7 --out "$work/first.csv" >/dev/null
"$catraca" blacklist synth --entries 5000 --seed 8 --out "$work/more.csv" >/dev/null
"$catraca" blacklist build --source "plain=$work/first.csv" --out "$work/first.catraca" >/dev/null
"$catraca" blacklist build --source "plain=$work/first.csv" --source "plain=$work/more.csv" --out "$work/second.catraca" >/dev/null
{
  cat "$work/first.csv"
  sed -e 1d -e 's/,,$/,2020-01-01,2020-01-02/' "$work/more.csv"
} >"$work/load.csv"
# A dedupe table that is full soon, so that its filling does not look like growth.
CATRACA_DEDUPE_ENTRIES=131072 "$catraca" serve --data-dir "$work/node" --shards 1 --cores 0 --listen 127.0.0.1:0 --http 127.0.0.1:0 \
  --blacklist "$work/first.catraca" 2>"$work/node.log" &
node_pid=$!
addr=""
for ((tries = 0; tries < 600; tries++)); do
  kill -0 "$node_pid" 2>/dev/null || die "the node did not start"
  if addr=$(python3 scripts/bench-peers/ready.py "$work/node.log" listen); then break; fi
  sleep 0.1
done
[ -n "$addr" ] || die "the node was not ready after a minute"
echo "process $node_pid on $addr, load on processor $load_core"

# The list, each second.
swap_lists() {
  local list
  while true; do
    for list in second first; do
      "$catraca" blacklist load "$work/$list.catraca" --addr "$addr" --force >"$work/swap.out" 2>&1 || {
        cp "$work/swap.out" "$work/swap-failed"
        return 1
      }
      echo >>"$work/swaps"
      sleep 1
    done
  done
}
# Connections that come, pay a little and go; and some that say nothing, or nonsense, and go.
come_and_go() {
  local turn=$((RANDOM * 1000))
  while true; do
    "$loadgen" --addr "$addr" --connections 16 --in-flight 2 --transactions 320 --core none --seed "$turn" \
      --list "$work/load.csv" --listed-share 0.1 --verify >"$work/come.out" 2>&1 || {
      cp "$work/come.out" "$work/come-failed"
      return 1
    }
    (exec 3<>"/dev/tcp/${addr%:*}/${addr##*:}") 2>/dev/null || true
    (exec 3<>"/dev/tcp/${addr%:*}/${addr##*:}" && echo "GET / HTTP/1.1" >&3) 2>/dev/null || true
    turn=$((turn + 1))
    echo >>"$work/comings"
    sleep 0.2
  done
}
resident_kib() {
  awk '/^VmRSS/ { print $2 }' "/proc/$node_pid/status"
}
descriptors() {
  # shellcheck disable=SC2012
  ls "/proc/$node_pid/fd" | wc -l
}
helpers_start() {
  swap_lists &
  helper_pids=$!
  come_and_go &
  helper_pids="$helper_pids $!"
}
helpers_stop() {
  local pid
  for pid in $helper_pids; do
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  helper_pids=""
  [ ! -e "$work/swap-failed" ] || { cat "$work/swap-failed" >&2; die "a list could not be swapped"; }
  [ ! -e "$work/come-failed" ] || { cat "$work/come-failed" >&2; die "a connection that came and went was served badly"; }
}
# The node with nobody connected: what stays then is its own.
measure() {
  sleep 2
  echo "$(resident_kib) $(descriptors)"
}
# One shape: its name, its share of a cycle in thousandths, and what the load generator is told.
failed=0
run_shape() {
  local name=$1 count=$((transactions * $2 / 1000 / cycles)) status=0 pauses_pid
  shift 2
  [ "$count" -gt 0 ] || count=1
  "$pauses" "$work" >"$work/pauses.json" &
  pauses_pid=$!
  "$loadgen" --addr "$addr" "$@" --transactions "$count" --core "$load_core" --seed "$cycle" --list "$work/load.csv" --listed-share 0.05 \
    --resend-share 0.01 --verify --json "$work/run.json" >"$work/run.out" 2>&1 || status=$?
  kill -TERM "$pauses_pid"
  wait "$pauses_pid" || die "the measuring of the machine's own pauses failed"
  python3 scripts/soak_judge.py "$name" "$status" "$work/run.json" "$work/pauses.json" "$work/answered" || {
    [ "$status" -eq 0 ] || cat "$work/run.out" >&2
    failed=$((failed + 1))
  }
  rm -f "$work/run.json"
  # A node that is gone, or answers nothing any more, makes every further shape fail the same way.
  [ "$status" -ne 1 ] || die "the load could not go on"
}

heading "$transactions transactions in $cycles cycles of six shapes"
began=$SECONDS
for ((cycle = 1; cycle <= cycles; cycle++)); do
  helpers_start
  run_shape "1x1" 3 --connections 1 --in-flight 1
  run_shape "16x1" 30 --connections 16 --in-flight 1
  run_shape "64x1" 50 --connections 64 --in-flight 1
  run_shape "4x64" 300 --connections 4 --in-flight 64
  run_shape "4x512" 500 --connections 4 --in-flight 512
  run_shape "open" 117 --connections 8 --rate 50000
  helpers_stop
  if ((cycle == 1)); then read -r kib_before descriptors_before <<<"$(measure)"; fi
done
read -r kib_after descriptors_after <<<"$(measure)"

heading "Afterwards"
echo "took $((SECONDS - began)) s; $(wc -l <"$work/comings") times connections came and went; $(wc -l <"$work/swaps") swaps of the list"
echo "memory $((kib_before / 1024)) MiB after the first cycle, $((kib_after / 1024)) MiB at the end; descriptors $descriptors_before, $descriptors_after"
# A twentieth and 16 MiB: what an allocator keeps back moves by that much.
if ((kib_after > kib_before + kib_before / 20 + 16 * 1024)); then
  echo "FAILED: memory grew"
  failed=$((failed + 1))
fi
# The log has a segment open, and those that are prepared: one more or less at the moment of looking.
if ((descriptors_after > descriptors_before + 3)); then
  echo "FAILED: descriptors grew"
  failed=$((failed + 1))
fi
kill -TERM "$node_pid"
node_status=0
wait "$node_pid" || node_status=$?
node_pid=""
[ "$node_status" -eq 0 ] || die "the node ended with status $node_status"
"$catraca" log verify "$work/node" --json >"$work/verify.json" || die "the log is not sound: $(cat "$work/verify.json")"
python3 scripts/soak_judge.py log "$work/verify.json" "$work/answered" || failed=$((failed + 1))
[ "$failed" -eq 0 ] || die "$failed checks failed"
echo "soak: all held"
