#!/usr/bin/env bash
# Compares policies with GoRules ZEN on the same rules, in one run: scripts/bench-zen.sh. Builds ZEN, which takes some minutes.
set -euo pipefail
# shellcheck source=scripts/project.sh
. "$(dirname -- "$0")/project.sh"
exec cargo run --quiet --release --manifest-path benches/zen/Cargo.toml
