#!/bin/sh
# Kills the intake, the node and the broker in turn under load, N times in all (200 unless told otherwise), and looks in the end that each
# payment was decided once and answered. First with RabbitMQ; then with a broker of Kafka's protocol, which is not killed: it keeps nothing.
#
#   ./scripts/intake-test.sh 30
set -eu
# shellcheck source=scripts/project.sh
. "$(dirname -- "$0")/project.sh"
count_from "${1:-}" 200
cargo build --package catraca-cli --bin catraca
for test in intake intake_kafka; do
  CATRACA_INTAKE_ROUNDS="$count" cargo test --package catraca-tests --test "$test" -- --nocapture --exact \
    whoever_is_killed_each_payment_is_decided_once_and_answered
done
