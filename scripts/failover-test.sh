#!/bin/sh
# Kills the primary of a pair under load N times (200 unless told otherwise), promotes the standby each time, lets the killed node come
# back as its standby, and looks each time that nothing which was answered is lost, changed or done twice.
#
#   ./scripts/failover-test.sh 20
set -eu
# shellcheck source=scripts/project.sh
. "$(dirname -- "$0")/project.sh"
count_from "${1:-}" 200
cargo build --package catraca-cli --bin catraca
CATRACA_FAILOVER_ROUNDS="$count" exec cargo test --package catraca-tests --test failover -- --nocapture --exact \
    no_answered_decision_is_lost_when_the_primary_is_killed
