#!/bin/sh
# Instructions per transaction of the state machine, from the bytes of a SUBMIT to the bytes of its VERDICT: counted by valgrind, so
# that no noise of the machine moves the figure. Two runs with different numbers of transactions; the difference leaves set-up out.
#
#   scripts/instructions.sh            batches of 512, and one at a time
#
# Needs valgrind (Debian: apt-get install valgrind).
set -eu
# shellcheck source=scripts/project.sh
. "$(dirname -- "$0")/project.sh"
command -v valgrind >/dev/null || { echo "valgrind is missing: apt-get install valgrind" >&2; exit 1; }
"${CARGO:-cargo}" build --quiet --release -p catraca-benches --bin instructions
program=$CARGO_TARGET_DIR/release/instructions
few=20480
many=61440

# Instructions of a run with $1 transactions in batches of $2.
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" 2>&1 |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

for batch in 512 1; do
    a=$(count "$few" "$batch")
    b=$(count "$many" "$batch")
    if [ -z "$a" ] || [ -z "$b" ]; then
        echo "valgrind gave no count" >&2
        exit 1
    fi
    echo "batches of $batch: $(((b - a) / (many - few))) instructions per transaction"
done
