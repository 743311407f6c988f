#!/usr/bin/env bash
# Simulates two nodes with all that can go wrong: scripts/sim.sh [COUNT] [FIRST_SEED] [--trace] [--broken VARIANT]. --help explains.
set -euo pipefail
# shellcheck source=scripts/project.sh
. "$(dirname -- "$0")/project.sh"
cargo build --quiet --locked --profile sim -p catraca-tests --bin sim
exec "$CARGO_TARGET_DIR/sim/sim" "$@"
