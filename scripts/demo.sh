#!/usr/bin/env bash
# Two nodes under load, the death of one, and both logs compared, on this machine: sets up what is missing, builds, and runs
# `catraca demo` with the arguments given (`./scripts/demo.sh --seconds 20`; `--help` explains). Ctrl-C ends it in order.
set -euo pipefail
# shellcheck source=scripts/project.sh
. "$(dirname -- "$0")/project.sh"
# shellcheck source=scripts/setup.sh
. scripts/setup.sh

heading "Setting up"
setup
echo "setup: everything is there"
heading "Building (the first time takes some minutes)"
cargo build --release --locked --package catraca-cli --bin catraca
heading "catraca demo $*"
# Its --data-dir counts from there too.
cd -- "$caller_dir"
exec "$CARGO_TARGET_DIR/release/catraca" demo "$@"
