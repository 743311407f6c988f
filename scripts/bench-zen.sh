#!/usr/bin/env bash
# Compares policies with GoRules ZEN on the same rules, in one run: scripts/bench-zen.sh. Builds ZEN first, which takes some minutes.
set -euo pipefail
# shellcheck source=scripts/project.sh
. "$(dirname -- "$0")/project.sh"
cargo build --quiet --release --manifest-path benches/zen/Cargo.toml --bin catraca-bench-zen
exec "$CARGO_TARGET_DIR/release/catraca-bench-zen"
