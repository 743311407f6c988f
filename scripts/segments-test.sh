#!/bin/sh
# Puts loads on nodes whose log segments run out, N times each (20 unless told otherwise), with a processor and the disk kept busy by
# others, and looks each time that the node holds: it sheds within its bounds, goes on at once, and loses nothing.
#
#   ./scripts/segments-test.sh 20
set -eu
# shellcheck source=scripts/project.sh
. "$(dirname -- "$0")/project.sh"
count_from "${1:-}" 20
cargo build --package catraca-cli --bin catraca
CATRACA_SEGMENT_ROUNDS="$count" exec cargo test --package catraca-tests --test segments -- --nocapture --test-threads 1
