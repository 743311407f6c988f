#!/usr/bin/env bash
# Simulates two nodes with all that can go wrong: scripts/sim.sh [COUNT] [FIRST_SEED] [--trace] [--broken VARIANT]. --help explains.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --quiet --locked --profile sim -p catraca-tests --bin sim
exec target/sim/sim "$@"
