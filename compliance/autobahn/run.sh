#!/bin/sh
# Autobahn's functional cases (1-7, 10) against our server, or with SUBJECT=uvicorn against uvicorn. Needs a Python 2.7
# (PYTHON2, or one of pyenv's): the suite was never ported. It is installed into var/autobahn on the first run; the report is left there. Exit code 1 when a
# case fails. With arguments, those are the cases: run.sh '9.*'; --all is all of them
set -eu
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-.venv/bin/python}
PYTHON2=${PYTHON2:-$(ls "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7*/bin/python2.7 2>/dev/null | tail -1)}
PYTHON2=${PYTHON2:-$(command -v python2.7 || true)}
[ -x "$PYTHON2" ] || { echo "autobahn: no Python 2.7 on this machine; set PYTHON2" >&2; exit 77; }
dir=var/autobahn
mkdir -p "$dir"
if [ ! -e "$dir/suite/.ready" ]; then
  echo "autobahn: installing the suite into $dir/suite"
  rm -rf "$dir/suite"
  "$PYTHON2" -m pip install --quiet --disable-pip-version-check --no-warn-script-location \
    --target "$dir/suite" -r compliance/autobahn/requirements.txt >"$dir/pip.log" 2>&1 \
    || { tail -5 "$dir/pip.log" >&2; echo "autobahn: pip failed, see $dir/pip.log" >&2; exit 2; }
  touch "$dir/suite/.ready"
fi
rm -f "$dir/port"
"$PYTHON" compliance/autobahn/echo.py "${SUBJECT:-skerry}" >"$dir/port" 2>"$dir/server.log" &
server=$!
trap 'kill $server 2>/dev/null || true' EXIT INT TERM
for _ in 1 2 3 4 5 6 7 8 9 10; do [ -s "$dir/port" ] && break; sleep 0.3; done
[ -s "$dir/port" ] || { cat "$dir/server.log" >&2; exit 2; }
rm -rf "$dir/report"
"$PYTHON" compliance/autobahn/spec.py "$(cat "$dir/port")" "$dir/report" "$@" >"$dir/spec.json"
"$PYTHON2" compliance/autobahn/wstest.py "$dir/suite" -m fuzzingclient -s "$dir/spec.json" >"$dir/wstest.log" 2>&1 \
  || { tail -5 "$dir/wstest.log" >&2; exit 2; }
"$PYTHON" compliance/autobahn/summary.py "$dir/report/index.json"
