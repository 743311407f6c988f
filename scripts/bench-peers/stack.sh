# shellcheck shell=bash
# The second part of bench-peers.sh, which sources it: the job with a validator, on catraca and on the stack that people build, a service in
# Python or Node with Redis and PostgreSQL (stack_worker.py, stack_worker.js). Uses that script's variables.
#
# The provider of the validator's answers and the load are on processor 1, for both. Catraca's data core is on processor 0, and its other
# threads are on processor 1; the stack has both processors. Each worker has a port of its own, and the load keeps as many
# connections to each: a balancer in front of them that costs nothing.

# One worker: with two or three, what runs on the two processors gets no more done. And its connections to PostgreSQL.
stack_workers=1 stack_connections=32
# How long the validator takes, milliseconds.
stack_delay_ms=5
# So many payers that nearly each is asked about, and so few that nearly no one is.
stack_people_asked=1000000 stack_people_cached=2000
stack_listed_share=0.002

start_provider() {
  cat >"$work/answers.toml" <<END
otherwise = { body = { status = "regular" } }
[[phase]]
after_ms = 0
delay_ms = $stack_delay_ms
END
  taskset -c 1 "$catraca" provider --answers "$work/answers.toml" >"$work/provider.log" 2>&1 &
  started $!
  wait_for "the provider" "$work/provider.log" grep -q "listens on" "$work/provider.log"
  provider=$(sed -n 's/^provider listens on //p' "$work/provider.log")
}

start_validated_node() {
  start_node "$work/validated"
  # The same time for an answer as the stack's, nothing that is asked again, and a breaker that has no reason to open.
  cat >"$work/policy.toml" <<END
[[validator]]
id = "status"
url = "$provider/{payer.document}"
when = "true"
documents = "full"
answer = "/status"
answers = ["regular", "suspended"]
no_answer = "review"
attempts = 1
timeout_ms = 1400
wait_ms = 1500
cache = { good_s = 86400 }
limits = { in_flight = 1024, queue = 65535 }

[[rule]]
id = "suspended"
when = 'has(validator("status")) && validator("status") == "suspended"'
verdict = "deny"
END
  "$catraca" policy activate "$work/policy.toml" --addr "$node_addr" >/dev/null
}

# Debian has the modules of both; another Node than Debian's finds them where NODE_PATH says.
find_worker() {
  worker_command=("$debian_python" scripts/bench-peers/stack_worker.py)
  worker_version=$("$debian_python" --version)
  if [ "$worker" = node ]; then
    worker_command=(node scripts/bench-peers/stack_worker.js)
    worker_version="Node $(node --version)"
    node -e 'require("pg"); require("redis")' || die "Node's pg and redis are missing: install nodejs, node-pg and node-redis, or set NODE_PATH"
  fi
}

start_workers() {
  local number port
  stack_ports=""
  for ((number = 0; number < stack_workers; number++)); do
    port=$(free_port)
    "${worker_command[@]}" "$port" "$sockets/redis" "$sockets" "$stack_connections" "$provider" \
      >"$work/worker-$number.log" 2>&1 &
    started $!
    wait_for "a worker" "$work/worker-$number.log" curl -sSf "http://127.0.0.1:$port/"
    stack_ports+=" $port"
  done
}

# run_validated KIND PEOPLE SEED CONNECTIONS ROUND: catraca, with its figures before and after.
run_validated() {
  local out="$work/run-$1_$4-validated-$5"
  settle
  curl -sSf "http://$node_http/metrics" >"$out.before"
  "$loadgen" --addr "$node_addr" --connections "$4" --in-flight 1 --seconds "$seconds" --warmup 1 --core 1 --list "$work/list.csv" \
    --listed-share "$stack_listed_share" --documents "$2" --seed "$3" --verify --json "$out.json" >"$work/out" 2>&1 ||
    { cat "$work/out" >&2; die "catraca's run failed"; }
  # Its figures are made every now and then.
  settle
  curl -sSf "http://$node_http/metrics" >"$out.after"
}

# run_stack KIND PEOPLE SEED CONNECTIONS ROUND
run_stack() {
  settle
  STACK_PORTS=$stack_ports STACK_LIST=$work/list.csv STACK_PEOPLE=$2 STACK_FIRST=$(($3 * 1000000)) \
    STACK_LISTED_SHARE=$stack_listed_share STACK_WARMUP=1 STACK_OUT="$work/run-$1_$4-stack-$5.json" \
    taskset -c 1 wrk --threads "$stack_workers" --connections "$4" --duration "$((seconds + 1))s" --timeout 10s \
    --script scripts/bench-peers/stack.lua "http://127.0.0.1:${stack_ports##* }/" >"$work/out" 2>&1 ||
    { cat "$work/out" >&2; die "the stack's run failed"; }
}

compare_stack() {
  heading "With a validator that takes $stack_delay_ms ms: catraca, and the stack that people build"
  find_worker
  make_sockets
  start_provider
  start_validated_node
  start_postgres scripts/bench-peers/stack.sql
  start_cache
  start_workers
  echo "catraca on $node_addr; $stack_workers worker in $worker_version, $(redis-server --version | cut -d ' ' -f 1-3)," \
    "$(postgres --version)"

  # Each answer that is to be cached is asked for before: everybody pays a few times.
  local round connections kind seed number=1000
  run_validated filled "$stack_people_cached" 1 64 0
  for ((round = 0; round < 4; round++)); do
    run_stack filled "$stack_people_cached" 1 64 "$round"
  done
  heading "Closed loop: $stack_rounds rounds of $seconds s a shape, in alternation"
  for ((round = 1; round <= stack_rounds; round++)); do
    for kind in asked cached; do
      for connections in 512 64 8; do
        # Other people in each run where all are asked about, the same ones where the answers are cached.
        if [ "$kind" = asked ]; then
          number=$((number + 1))
          set -- asked "$stack_people_asked" "$number" "$connections" "$round"
        else
          set -- cached "$stack_people_cached" 1 "$connections" "$round"
        fi
        if ((round % 2)); then
          run_validated "$@"
          run_stack "$@"
        else
          run_stack "$@"
          run_validated "$@"
        fi
        python3 scripts/bench-peers/table.py round "$work" "${kind}_$connections" "$round"
      done
    done
  done
  stop_node
  stop_servers
}
