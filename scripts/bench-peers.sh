#!/usr/bin/env bash
# The same job on catraca and on others, in alternation. Prints medians and ratios, and beside them what the machine itself takes for
# one durable write. First on Redis: two look-ups in a list of a million documents, an idempotency key, one durable record, then the answer.
# Then on the stack that people build, a service in Python or Node with Redis and PostgreSQL: the same, and a validator is asked about the payer
# unless its answer is cached.
#
#   ./scripts/bench-peers.sh                              five rounds of 10 s a shape, a minute of open loop, then three rounds: 20 minutes
#   ./scripts/bench-peers.sh --rounds 1 --seconds 2 --open-seconds 5 --stack-rounds 1     a quick look
#   ./scripts/bench-peers.sh --rounds 0                   without Redis alone
#   ./scripts/bench-peers.sh --stack-rounds 0             without the stack
#   ./scripts/bench-peers.sh --rounds 0 --worker node     the service of the stack in Node, which is faster
#   ./scripts/bench-peers.sh --json bench.json            also as JSON, every round in it
#
# What is compared with Redis: catraca's one data core, and Redis's one thread, on processor 0; the load on processor 1, from one thread
# that sleeps in epoll while it waits, for both. Redis runs with `appendonly yes`, `appendfsync always`, no snapshots, no rewriting of its
# file while it is measured; its Lua script is in loadgen/examples/redis_load.rs. Both keep their files in one folder of this disk.
# Every verdict of both is checked. What is compared with the stack is told in scripts/bench-peers/stack.sh.
set -euo pipefail
# shellcheck source=scripts/project.sh
. "$(dirname -- "$0")/project.sh"
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
# shellcheck source=scripts/bench-peers/servers.sh
. scripts/bench-peers/servers.sh
# shellcheck source=scripts/bench-peers/stack.sh
. scripts/bench-peers/stack.sh

rounds=5 seconds=10 open_seconds=60 stack_rounds=3 worker=python json="" bin_dir="" documents=1000000
usage() {
  echo "usage: bench-peers.sh [--rounds N, 0 for none] [--seconds S] [--open-seconds S, 0 for none] [--stack-rounds N, 0 for none]" >&2
  echo "                      [--worker python|node] [--documents N] [--json FILE] [--bin-dir DIR  binaries that are built already]" >&2
  exit 2
}
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || usage
  case "$1" in
    --rounds) rounds=$2 ;;
    --seconds) seconds=$2 ;;
    --open-seconds) open_seconds=$2 ;;
    --stack-rounds) stack_rounds=$2 ;;
    --worker) worker=$2 ;;
    --documents) documents=$2 ;;
    --json) from_caller "$2" && json=$path ;;
    --bin-dir) from_caller "$2" && bin_dir=$path ;;
    *) usage ;;
  esac
  shift 2
done

[[ "$rounds" =~ ^[0-9]+$ && "$stack_rounds" =~ ^[0-9]+$ ]] || usage
[[ "$worker" = python || "$worker" = node ]] || usage
# wrk takes whole seconds only.
[[ "$stack_rounds" -eq 0 || "$seconds" =~ ^[1-9][0-9]*$ ]] || usage

heading "Setting up"
setup bench
[ "$(nproc)" -ge 2 ] || die "two processors are needed: one for the system that is measured, one for the load"
if [ -z "$bin_dir" ]; then
  heading "Building"
  cargo build --release --locked --package catraca-cli --package catraca-loadgen --bins --examples
  bin_dir=$CARGO_TARGET_DIR/release
fi
catraca=$bin_dir/catraca loadgen=$bin_dir/catraca-loadgen redis_load=$bin_dir/examples/redis_load
programs=("$catraca" "$loadgen")
[ "$rounds" -eq 0 ] || programs+=("$redis_load")
for program in "${programs[@]}"; do
  [ -x "$program" ] || die "$program is missing: build it, or leave --bin-dir out"
done

mkdir -p "$CARGO_TARGET_DIR"
work=$(mktemp -d "$CARGO_TARGET_DIR/bench-peers.XXXXXX")
node_pid="" redis_pid=""
stop() {
  local pid
  stop_servers
  for pid in $node_pid $redis_pid; do
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

heading "This machine"
python3 scripts/bench-peers/machine.py "$work" "$work/machine.json"

heading "The list"
"$catraca" blacklist synth --entries "$documents" --seed 7 --out "$work/list.csv"
"$catraca" blacklist build --source "plain=$work/list.csv" --out "$work/list.catraca" >/dev/null

# start_node FOLDER: with the list.
start_node() {
  "$catraca" serve --data-dir "$1" --shards 1 --cores 0 --listen 127.0.0.1:0 --http 127.0.0.1:0 \
    --blacklist "$work/list.catraca" 2>"$1.log" &
  node_pid=$! node_log=$1.log
  node_addr=$(ready_field "the node" "$node_pid" "$node_log" listen)
  node_http=$(ready_field "the node" "$node_pid" "$node_log" http)
}
stop_node() {
  local status=0
  kill -TERM "$node_pid"
  wait "$node_pid" || status=$?
  node_pid=""
  [ "$status" -eq 0 ] || { tail -n 3 "$node_log" >&2; die "the node ended with status $status"; }
}

start_redis() {
  taskset -c 0 redis-server --bind 127.0.0.1 --port "$redis_port" --dir "$work/redis" --daemonize no --save "" \
    --appendonly yes --appendfsync "$1" --auto-aof-rewrite-percentage 0 --logfile "$work/redis.log" &
  redis_pid=$!
  local tries
  for ((tries = 0; tries < 600; tries++)); do
    if [ "$(redis-cli -p "$redis_port" ping 2>/dev/null)" = PONG ]; then return 0; fi
    kill -0 "$redis_pid" 2>/dev/null || break
    sleep 0.1
  done
  cat "$work/redis.log" >&2
  die "redis-server did not start"
}

run_catraca() {
  settle
  "$loadgen" --addr "$node_addr" --connections "$1" --in-flight "$2" --seconds "$seconds" --warmup 1 --core 1 --list "$work/list.csv" \
    --listed-share 0.01 --verify --seed "$3" --json "$work/run-$1x$2-catraca-$3.json" >"$work/out" 2>&1 || { cat "$work/out" >&2; die "catraca's run failed"; }
}
run_redis() {
  settle
  "$redis_load" --addr "127.0.0.1:$redis_port" --connections "$1" --in-flight "$2" --seconds "$seconds" --warmup 1 --core 1 \
    --list "$work/list.csv" --listed-share 0.01 >"$work/run-$1x$2-redis-$3.json" 2>"$work/out" || { cat "$work/out" >&2; die "Redis's run failed"; }
}

compare_redis() {
  local round shape rate
  start_node "$work/node"
  mkdir "$work/redis"
  redis_port=$(free_port)
  start_redis always
  "$redis_load" --addr "127.0.0.1:$redis_port" --list "$work/list.csv" --load
  [ "$(redis-cli -p "$redis_port" config get appendfsync | tail -n 1)" = always ] || die "redis-server does not sync always"
  echo "catraca on $node_addr, $(redis-server --version | cut -d ' ' -f 1-3) on port $redis_port"

  heading "Closed loop: $rounds rounds of $seconds s a shape, in alternation"
  for ((round = 1; round <= rounds; round++)); do
    for shape in "4 512" "256 1" "64 1" "16 1" "1 1"; do
      # shellcheck disable=SC2086
      set -- $shape
      # Who begins changes, so that neither always follows the other.
      if ((round % 2)); then
        run_catraca "$1" "$2" "$round"
        run_redis "$1" "$2" "$round"
      else
        run_redis "$1" "$2" "$round"
        run_catraca "$1" "$2" "$round"
      fi
      python3 scripts/bench-peers/table.py round "$work" "$1x$2" "$round"
    done
  done

  if [ "$open_seconds" != 0 ]; then
    rate=$(python3 scripts/bench-peers/table.py half "$work" 4x512)
    heading "Open loop: $rate a second for $open_seconds s, half of what the closed loop reached"
    settle
    "$loadgen" --addr "$node_addr" --connections 16 --rate "$rate" --seconds "$open_seconds" --warmup 2 --core 1 --list "$work/list.csv" \
      --listed-share 0.01 --verify --json "$work/open.json" >"$work/out" 2>&1 || { cat "$work/out" >&2; die "the open loop failed"; }
  fi
  curl -sSf "http://$node_http/metrics" >"$work/metrics"
  stop_node
  kill -TERM "$redis_pid"
  wait "$redis_pid" || true
  redis_pid=""
}

[ "$rounds" -eq 0 ] || compare_redis
[ "$stack_rounds" -eq 0 ] || compare_stack

heading "Medians"
python3 scripts/bench-peers/table.py result "$work" "$work/result.json"
if [ -n "$json" ]; then
  cp "$work/result.json" "$json"
  echo "JSON: $json"
fi
