#!/bin/sh
# npm_packages.sh FROM INTO: the npm packages that the package.json and package-lock.json in FROM name, into INTO.
# Does nothing when they are there. Ends with 0 when there is no node (the tests say so), with 1 when npm fails.
set -eu
cd "$(dirname "$0")/.."
from=$1
into=$2
if ! command -v node >/dev/null 2>&1 || ! command -v npm >/dev/null 2>&1; then
    echo "npm packages: no node and npm here, the tests that need $from will be skipped" >&2
    exit 0
fi
if [ -f "$into/.ready" ] && cmp -s "$from/package-lock.json" "$into/package-lock.json"; then
    exit 0
fi
mkdir -p "$into"
cp "$from/package.json" "$from/package-lock.json" "$into/"
(cd "$into" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error)
touch "$into/.ready"
