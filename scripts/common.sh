# Sourced by the scripts: where the tree is, how many jobs, and the minutes of each stage.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
jobs=$(nproc)

# After the packages are installed. The compiler cache is the tree's own unless the user has one.
use_ccache() {
  if command -v ccache >/dev/null; then
    export CCACHE_DIR=${CCACHE_DIR:-$root/.cache/ccache}
    export CMAKE_CXX_COMPILER_LAUNCHER=ccache
    export CCACHE_SLOPPINESS=pch_defines,time_macros  # else it leaves precompiled headers alone
  fi
}

minutes_since() {
  local seconds=$(($(date +%s) - $1))
  printf '%d.%02d min' $((seconds / 60)) $((seconds % 60 * 100 / 60))
}

# stage NAME COMMAND...: runs it, in a shell of its own that stops at the first failure, and prints
# its minutes; a failure ends the script.
stage() {
  local name=$1 start status
  start=$(date +%s)
  echo "== $name"
  set +e  # not `if (...)`: bash ignores set -e inside a condition
  (set -e; "${@:2}")
  status=$?
  set -e
  if [[ $status -ne 0 ]]; then
    echo "== $name: FAILED after $(minutes_since "$start")" >&2
    exit 1
  fi
  echo "== $name: $(minutes_since "$start")"
}
