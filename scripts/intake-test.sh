#!/bin/sh
# Kills the intake, the node and the broker in turn under load, N times in all (200 unless told otherwise), and looks in the end that each
# payment was decided once and answered.
#
#   ./scripts/intake-test.sh 30
set -eu
# shellcheck source=scripts/project.sh
. "$(dirname -- "$0")/project.sh"
count_from "${1:-}" 200
cargo build --package catraca-cli --bin catraca
CATRACA_INTAKE_ROUNDS="$count" exec cargo test --package catraca-tests --test intake -- --nocapture --exact \
    whoever_is_killed_each_payment_is_decided_once_and_answered
