# shellcheck shell=bash
# The servers of the stack that people build, for the comparisons that source this (bench-peers.sh, bench-http.sh): a PostgreSQL and a
# Redis on Unix sockets, and how servers are waited for and stopped. Uses `$work` and `$documents` of its caller.

# The last one started is the first.
server_pids=()
# Folder of the sockets: its path must be short.
sockets=""

stop_servers() {
  local pid
  # The last one started goes first: PostgreSQL waits until the workers have left.
  for pid in "${server_pids[@]}"; do
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  server_pids=()
  if [ -n "$sockets" ]; then rm -rf "$sockets"; fi
}

started() {
  server_pids=("$1" "${server_pids[@]}")
}

# wait_for WHAT LOG COMMAND...: until it succeeds, a minute at most, for the server that was started last.
wait_for() {
  local what=$1 log=$2 tries
  for ((tries = 0; tries < 600; tries++)); do
    if "${@:3}" >/dev/null 2>&1; then return 0; fi
    kill -0 "${server_pids[0]}" 2>/dev/null || break
    sleep 0.1
  done
  cat "$log" >&2
  die "$what did not start"
}

# ready_field WHAT PID LOG FIELD: waits for the line that says that it is ready, and prints a field of it.
ready_field() {
  local tries
  for ((tries = 0; tries < 600; tries++)); do
    kill -0 "$2" 2>/dev/null || { cat "$3" >&2; die "$1 did not start"; }
    if python3 scripts/bench-peers/ready.py "$3" "$4"; then return 0; fi
    sleep 0.1
  done
  die "$1 was not ready after a minute: $3"
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Both must have come to rest: the node prepares segments of its log ahead, Redis frees memory.
settle() {
  sleep 1
}

make_sockets() {
  sockets=$(mktemp -d)
  chmod 711 "$sockets"
}

# PostgreSQL refuses to be run by root.
as_postgres=()
# start_postgres TABLES.sql
start_postgres() {
  mkdir "$work/postgres"
  if [ "$(id -u)" -eq 0 ]; then
    as_postgres=(setpriv --reuid postgres --regid postgres --init-groups --)
    chmod 711 "$work"
    chown postgres: "$work/postgres" "$sockets"
    "${as_postgres[@]}" test -w "$work/postgres" || die "the user postgres can't reach $work: set CARGO_TARGET_DIR to where it can"
  fi
  (cd "$work/postgres" && "${as_postgres[@]}" initdb --pgdata "$work/postgres" --username catraca --auth trust --encoding UTF8 --no-sync \
    >"$work/postgres.log" 2>&1) || { cat "$work/postgres.log" >&2; die "initdb failed"; }
  # Synced before each answer, as Debian sets it up; memory for its pages, and no checkpoint while it is measured, are in its favour.
  # PostgreSQL changes into its folder by itself, so that it need not be able to read the caller's.
  (cd "$work/postgres" && exec "${as_postgres[@]}" postgres -D "$work/postgres" -c listen_addresses= -c unix_socket_directories="$sockets" \
    -c fsync=on -c synchronous_commit=on -c full_page_writes=on -c shared_buffers=512MB -c max_wal_size=16GB -c checkpoint_timeout=1h \
    -c max_connections=200 >"$work/postgres.log" 2>&1) &
  started $!
  wait_for PostgreSQL "$work/postgres.log" query "SELECT 1"
  psql -h "$sockets" -U catraca -d postgres -v ON_ERROR_STOP=1 -q -f "$1"
  [ "$(query "SHOW synchronous_commit")" = on ] || die "PostgreSQL does not sync"
}
query() {
  psql -h "$sockets" -U catraca -d postgres -At -c "$1"
}

# As a cache: it keeps nothing on the disk.
start_cache() {
  redis-server --port 0 --unixsocket "$sockets/redis" --dir "$work" --daemonize no --save "" --appendonly no \
    --logfile "$work/stack-redis.log" &
  started $!
  wait_for redis-server "$work/stack-redis.log" redis-cli -s "$sockets/redis" ping
  # Documents without their points and strokes, as the load sends them.
  sed -n '2,$ { s/,.*//; s/[.\/-]//g; s/^/SADD listed /p }' "$work/list.csv" | redis-cli -s "$sockets/redis" --pipe >/dev/null
  echo "$(redis-cli -s "$sockets/redis" scard listed) documents are listed in Redis, and $documents in catraca"
}
