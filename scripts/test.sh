#!/usr/bin/env bash
# Everything that must hold before a change lands: sets up what is missing, then format, lints as errors, all tests, the documentation.
# Ends with one line that says what failed, or that all passed.
set -euo pipefail
# shellcheck source=scripts/project.sh
. "$(dirname -- "$0")/project.sh"
# shellcheck source=scripts/setup.sh
. scripts/setup.sh

section="setup"
finish() {
  local status=$?
  local took="$((SECONDS / 60)) min $((SECONDS % 60)) s"
  if [ "$status" -eq 0 ]; then
    heading "All passed, in $took"
  else
    heading "FAILED in: $section (after $took)"
  fi
}
trap finish EXIT
# Else the status that is told would be that of the last command that ended.
trap 'exit 130' INT
trap 'exit 143' TERM

run_section() {
  section=$1
  shift
  heading "$section"
  "$@"
}

# The database of advisories is elsewhere than the crates. Where it can't be reached nothing is said of a change, so that this is no
# failure; what is known to be vulnerable is one.
advisories() {
  if timeout 120 cargo deny --locked fetch db; then
    cargo deny --locked check --disable-fetch advisories
  else
    echo "NOT CHECKED: the database of advisories is not reachable"
  fi
}

run_section "Setting up" setup tests
run_section "Format" cargo fmt --all --check
run_section "Shell scripts" shellcheck --external-sources .ci/run scripts/*.sh
run_section "Python files" ruff check --no-cache scripts
run_section "Unused dependencies" cargo machete --with-metadata
run_section "Licences and sources of dependencies" cargo deny --locked check licenses bans sources
run_section "Advisories on dependencies" advisories
run_section "Lints, warnings are errors" cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
# Tests with real processes run the binaries.
run_section "Building the binaries" cargo build --workspace --all-features --bins --locked
run_section "Tests" cargo nextest run --no-fail-fast --workspace --all-features --locked
run_section "Documentation, warnings are errors" env RUSTDOCFLAGS="-D warnings" \
  cargo doc --quiet --workspace --no-deps --all-features --locked --document-private-items
run_section "Examples in the documentation" cargo test --workspace --all-features --locked --doc
run_section "Scripts" python3 scripts/test_scripts.py
run_section "Clients in Go, Java, PHP and Python" python3 scripts/clients/test_clients.py
