#!/usr/bin/env bash
# The same decision over HTTP, in one run: through a service in FastAPI with Redis and PostgreSQL, as people build it, through catraca's
# gateway and node, and through nginx in front of that gateway. Prints medians and ratios, in decisions a second, latency, and processor
# time for each decision.
set -euo pipefail
# shellcheck source=scripts/project.sh
. "$(dirname -- "$0")/project.sh"
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
# shellcheck source=scripts/bench-peers/servers.sh
. scripts/bench-peers/servers.sh

rounds=5 seconds=10 workers=2 json="" bin_dir="" documents=1000000
# Of payments one in a hundred has a listed party. Connections to PostgreSQL, of all workers together.
listed_share=0.01 postgres_connections=64
usage() {
  cat <<'END'
usage: bench-http.sh [--rounds N] [--seconds S] [--workers N] [--documents N] [--json FILE] [--bin-dir DIR]

POST /v1/decisions with an access token, from 64 connections that are kept, and from one, through
  fastapi   FastAPI (uvicorn, uvloop, httptools), Redis (listed documents, ids seen), PostgreSQL (one synced insert a decision)
  gateway   catraca's gateway and node (one synced write of its log for the payments that come together)
  nginx     nginx with scripts/deploy/nginx-http.conf, in front of the same gateway
in alternation. wrk makes the load, on the second processor. An answer that is not the decision which is due ends the run with status 1.

  --rounds N       rounds of each shape and door (5)
  --seconds S      seconds of a round, after one of warm-up (10)
  --workers N      processes of the service in FastAPI (2)
  --documents N    documents in the list (1000000)
  --json FILE      the figures as JSON too, every round in it
  --bin-dir DIR    folder of a catraca that is built already; without it one is built

examples:
  ./scripts/bench-http.sh                                          6 minutes, once all is set up
  ./scripts/bench-http.sh --rounds 1 --seconds 2                   a quick look
  ./scripts/bench-http.sh --json http.json && jq '.shapes["64"].gateway.against_fastapi' http.json
END
}
wrong() {
  usage >&2
  exit 2
}
while [ $# -gt 0 ]; do
  case "$1" in
    --help | -h) usage && exit 0 ;;
  esac
  [ $# -ge 2 ] || wrong
  case "$1" in
    --rounds) rounds=$2 ;;
    --seconds) seconds=$2 ;;
    --workers) workers=$2 ;;
    --documents) documents=$2 ;;
    --json) from_caller "$2" && json=$path ;;
    --bin-dir) from_caller "$2" && bin_dir=$path ;;
    *) wrong ;;
  esac
  shift 2
done
for number in "$rounds" "$seconds" "$workers" "$documents"; do
  [[ "$number" =~ ^[1-9][0-9]*$ ]] || wrong
done
[ "$workers" -le "$postgres_connections" ] || wrong

heading "Setting up"
setup bench
[ "$(nproc)" -ge 2 ] || die "two processors are needed"
if [ -z "$bin_dir" ]; then
  heading "Building"
  cargo build --release --locked --package catraca-cli --bins
  bin_dir=$CARGO_TARGET_DIR/release
fi
catraca=$bin_dir/catraca
[ -x "$catraca" ] || die "$catraca is missing: build it, or leave --bin-dir out"

# The service's packages, in a folder of these very versions.
requirements=scripts/bench-http/requirements.txt
packages=$CARGO_TARGET_DIR/bench-http-packages/$(cksum <$requirements | tr ' ' -)
if [ ! -e "$packages/complete" ]; then
  echo "setup: installing the packages of $requirements from PyPI, into $packages"
  python3 -m venv --clear "$packages" || { apt_install python3-venv && python3 -m venv --clear "$packages"; }
  "$packages/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: --no-deps -r $requirements ||
    die "PyPI has not given the packages of $requirements"
  : >"$packages/complete"
fi
# No compiled files beside the sources.
export PYTHONDONTWRITEBYTECODE=1

work=$(mktemp -d "$CARGO_TARGET_DIR/bench-http.XXXXXX")
stop() {
  stop_servers
  rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

heading "This machine"
python3 scripts/bench-peers/machine.py "$work" "$work/machine.json"

heading "The list"
"$catraca" blacklist synth --entries "$documents" --seed 7 --out "$work/list.csv"
"$catraca" blacklist build --source "plain=$work/list.csv" --out "$work/list.catraca" >/dev/null
python3 scripts/bench-http/people.py "$work/list.csv" "$work/people" "$work/listed"

start_issuer() {
  "$packages/bin/python" scripts/bench-http/issuer.py >"$work/issuer.log" 2>&1 &
  started $!
  jwks=$(ready_field "the issuer" $! "$work/issuer.log" jwks)
  token=$(ready_field "the issuer" $! "$work/issuer.log" token)
}
issuer=https://issuer.example audience=https://catraca.example

start_service() {
  service_port=$(free_port)
  HTTP_REDIS=$sockets/redis HTTP_POSTGRES=$sockets HTTP_CONNECTIONS=$((postgres_connections / workers)) HTTP_JWKS=$jwks \
    HTTP_ISSUER=$issuer HTTP_AUDIENCE=$audience "$packages/bin/python" -m uvicorn --app-dir scripts/bench-http service:app \
    --host 127.0.0.1 --port "$service_port" --workers "$workers" --loop uvloop --http httptools --no-access-log --log-level warning \
    >"$work/service.log" 2>&1 &
  service_pid=$!
  started $service_pid
  wait_for "the service" "$work/service.log" curl -sSf "http://127.0.0.1:$service_port/readyz"
}

# A core that is idle sleeps at once: all share two processors, and time that a core spends on looking for work would count as a decision's.
start_node() {
  CATRACA_SPIN_US=0 "$catraca" serve --data-dir "$work/node" --shards 1 --cores 0 --listen 127.0.0.1:0 --http 127.0.0.1:0 \
    --blacklist "$work/list.catraca" 2>"$work/node.log" &
  node_pid=$!
  started $node_pid
  node_addr=$(ready_field "the node" $node_pid "$work/node.log" listen)
}

start_gateway() {
  cat >"$work/gateway.toml" <<END
oauth_issuer = "$issuer"
oauth_audience = "$audience"
oauth_jwks_url = "$jwks"
oauth_max_lifetime_s = 86400
[[clients]]
id = "bench"
name = "bench"
permissions = ["decisions:write"]
decisions_per_second = 1000000
END
  "$catraca" gateway --listen 127.0.0.1:0 --node "$node_addr" --config "$work/gateway.toml" 2>"$work/gateway.log" &
  gateway_pid=$!
  started $gateway_pid
  gateway_addr=$(ready_field "the gateway" $gateway_pid "$work/gateway.log" listen)
  wait_for "the gateway" "$work/gateway.log" curl -sSf "http://$gateway_addr/readyz"
}

# The sample of scripts/deploy with other addresses, and one gateway.
start_nginx() {
  nginx_port=$(free_port)
  mkdir "$work/nginx"
  sed "s/0\.0\.0\.0:8080/127.0.0.1:$nginx_port/; s/10\.0\.0\.11:8080/$gateway_addr/; /^ *server 10\.0\.0\.12:8080/d" \
    scripts/deploy/nginx-http.conf >"$work/nginx/http.conf"
  # As Debian's own nginx.conf, but for what needs root, and in the foreground.
  {
    [ "$(id -u)" -ne 0 ] || echo "user root;"
    cat <<END
daemon off;
worker_processes auto;
pid pid;
error_log stderr warn;
events { worker_connections 768; }
http {
  sendfile on;
  tcp_nopush on;
END
    for kind in client_body proxy fastcgi uwsgi scgi; do
      echo "  ${kind}_temp_path $kind;"
    done
    echo "  include http.conf;"
    echo "}"
  } >"$work/nginx/nginx.conf"
  nginx -p "$work/nginx" -c nginx.conf >"$work/nginx.log" 2>&1 &
  nginx_pid=$!
  started $nginx_pid
  wait_for nginx "$work/nginx.log" curl -sSf "http://127.0.0.1:$nginx_port/readyz"
}

# run_door DOOR CONNECTIONS ROUND
run_door() {
  local servers=() url report="$work/run-$2-$1-$3.json"
  case "$1" in
    fastapi) servers=("uvicorn=$service_pid" "redis=$redis_pid" "postgres=$postgres_pid") url=http://127.0.0.1:$service_port/ ;;
    gateway) servers=("gateway=$gateway_pid" "node=$node_pid") url=http://$gateway_addr/ ;;
    nginx) servers=("nginx=$nginx_pid" "gateway=$gateway_pid" "node=$node_pid") url=http://127.0.0.1:$nginx_port/ ;;
  esac
  settle
  HTTP_TOKEN=$token HTTP_PEOPLE=$work/people HTTP_LISTED=$work/listed HTTP_LISTED_SHARE=$listed_share HTTP_WARMUP=1 STACK_OUT=$report \
    python3 scripts/bench-http/run.py "$report" "${servers[@]}" -- taskset -c 1 wrk --threads 1 --connections "$2" \
    --duration "$((seconds + 1))s" --timeout 10s --script scripts/bench-http/decisions.lua "$url" >"$work/out" 2>&1 ||
    { cat "$work/out" >&2; die "the run through $1 failed"; }
}

heading "The servers"
make_sockets
start_issuer
start_postgres scripts/bench-http/service.sql
postgres_pid=${server_pids[0]}
start_cache
redis_pid=${server_pids[0]}
start_service
start_node
start_gateway
start_nginx
echo "FastAPI on port $service_port ($workers workers, $("$packages/bin/python" --version), $(redis-server --version | cut -d ' ' -f 1-3)," \
  "$(postgres --version)), the gateway on $gateway_addr, nginx on port $nginx_port ($(nginx -v 2>&1))"

heading "Closed loop: $rounds rounds of $seconds s, in alternation"
doors=(fastapi gateway nginx)
for ((round = 1; round <= rounds; round++)); do
  for connections in 64 1; do
    for door in "${doors[@]}"; do
      run_door "$door" "$connections" "$round"
    done
    python3 scripts/bench-http/http_table.py round "$work" "$connections" "$round"
  done
  # Who begins changes, so that none always follows the same.
  doors=("${doors[@]:1}" "${doors[0]}")
done

inserted=$(query "SELECT count(*) FROM decisions")
stop_servers
"$catraca" log verify "$work/node" --json >"$work/verified.json" || die "the node's log is not sound"
python3 scripts/bench-http/http_table.py recorded "$work" "$inserted" "$work/verified.json"

heading "Medians"
python3 scripts/bench-http/http_table.py result "$work" "$work/result.json"
if [ -n "$json" ]; then
  cp "$work/result.json" "$json"
  echo "JSON: $json"
fi
