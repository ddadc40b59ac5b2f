#!/bin/sh
# Installs the peers of the benchmarks from the package index, each by itself; names those that cannot be had here. What
# is then missing of all that benchmarks need is said by `python -m benchmarks`.
set -u
cd "$(dirname "$0")/.."
PYTHON=${1:-.venv/bin/python}
log=$(mktemp)
for peer in $(grep -v '^#' constraints/bench.txt); do
  "$PYTHON" -m pip install --quiet --disable-pip-version-check --only-binary :all: "$peer" 2>"$log" || {
    echo "bench: $peer cannot be installed: $(grep -m 1 -i error "$log")" >&2
  }
done
rm -f "$log"
exit 0
