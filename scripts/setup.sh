#!/bin/sh
# Makes the virtual environment from pinned versions. Needs a Python >= 3.11 with venv, and a package index.
set -eu
PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}

command -v "$PYTHON" >/dev/null 2>&1 || { echo "setup: no $PYTHON on this machine; install Python 3.11 or newer, or set PYTHON=" >&2; exit 2; }
"$PYTHON" - <<'PY' || exit 2
import sys
if sys.version_info < (3, 11):
    sys.exit(f"setup: Python 3.11 or newer is needed, this is {sys.version.split()[0]}; set PYTHON= to a newer one")
PY
if [ ! -x "$VENV/bin/python" ]; then
  echo "setup: virtual environment in $VENV"
  "$PYTHON" -m venv "$VENV" || { echo "setup: python -m venv failed; on Debian: apt-get install python3-venv" >&2; exit 2; }
fi
echo "setup: installing pinned packages (a minute on a first run)"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints/dev.txt -e '.[dev]' -e examples/livekv 2>"$VENV/pip.log" \
  || { cat "$VENV/pip.log" >&2; echo "setup: pip failed, see above" >&2; exit 2; }
echo "setup: ready"
