#!/bin/sh
# Kills a node under load N times (100 unless told otherwise), and looks after each restart that nothing which was answered is lost,
# changed or done twice.
#
#   ./scripts/kill-test.sh 500
set -eu
# shellcheck source=scripts/project.sh
. "$(dirname -- "$0")/project.sh"
count_from "${1:-}" 100
cargo build --package catraca-cli --bin catraca
CATRACA_KILL_ROUNDS="$count" exec cargo test --package catraca-tests --test kill -- --nocapture --test-threads 1
