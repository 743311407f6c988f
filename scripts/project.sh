# shellcheck shell=sh
# What every script here sources first, before it leaves its caller's folder: goes to the project's root, and settles where things are.
#
#   CARGO_TARGET_DIR    Set and absolute from here on, so that cargo, whatever cargo starts, and the script mean the same folder. A
#                       relative one counts from where the caller stands, as with cargo itself. Without one it is target/ in the
#                       project, whatever cargo's configuration says.
#   count_from TEXT N   How often something is done: the caller's TEXT, or else N. Sets `$count`; ends with status 2 where that is no
#                       number.
#   from_caller PATH    A file that the caller names, as an absolute path. Sets `$path`, because $(...) would cut newlines off.
caller_dir=$PWD

from_caller() {
    case $1 in
        /*) path=$1 ;;
        *) path=$caller_dir/$1 ;;
    esac
}

count_from() {
    count=${1:-$2}
    case $count in
        '' | *[!0-9]*)
            echo "usage: $0 [ROUNDS]" >&2
            exit 2
            ;;
    esac
}

# With CDPATH set, cd might go somewhere else altogether.
CDPATH='' cd -- "$(dirname -- "$0")/.." || exit
from_caller "${CARGO_TARGET_DIR:-$PWD/target}"
CARGO_TARGET_DIR=$path
export CARGO_TARGET_DIR
