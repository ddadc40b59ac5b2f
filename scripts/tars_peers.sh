#!/bin/sh
# The Tars programs in JavaScript that the interop tests talk to, at pinned versions, into var/tars-peers.
# Does nothing when they are there. Ends with 0 when there is no node (the tests say so), with 1 when npm fails.
set -eu
cd "$(dirname "$0")/.."
from=tests/tars/interop/js
into=${1:-var/tars-peers}
if ! command -v node >/dev/null 2>&1 || ! command -v npm >/dev/null 2>&1; then
    echo "tars peers: no node and npm here, their tests will be skipped" >&2
    exit 0
fi
if [ -f "$into/.ready" ] && cmp -s "$from/package-lock.json" "$into/package-lock.json"; then
    exit 0
fi
mkdir -p "$into"
cp "$from/package.json" "$from/package-lock.json" "$into/"
(cd "$into" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error)
touch "$into/.ready"
