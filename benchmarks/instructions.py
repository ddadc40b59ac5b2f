"""Instructions that one request costs, counted by callgrind: the same in every run to 0.2 %, whatever else the machine
does. Judge a change of a few per cent by them, not by time.

GETs of a value of livekv, of a plain ASGI route beside the same on uvicorn, and of hosted applications beside uvicorn
and beside nothing, answered in one process against a transport that does nothing. Counting begins when the process is
ready; what its end costs is taken out by a second run without requests. Needs valgrind. Run:
`make bench-instructions`, or `python -m benchmarks.instructions [KIND ...]`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.rows import Row, table

KINDS = {
    "computed": "GET of a value, computed each time",
    "kept": "GET of a value, kept until an event",
    "token": "GET of a value behind a token",
    "cookie": "GET of a value behind a session's cookie",
    "trusted": "GET of a value behind a trusted proxy",
    "log": "GET of a value, written to the access log",
}
ASGI = {
    "starlette": "GET of a plain ASGI route, Starlette on uvicorn",
    "asgi": "GET of a plain ASGI route",
}
HOSTED = {
    "api-uvicorn": "FastAPI JSON, on uvicorn",
    "api-alone": "FastAPI JSON, without a server",
    "api": "FastAPI JSON, hosted",
}
HOSTED_WSGI = {
    "flask-alone": "Flask hello, without a server",
    "flask": "Flask hello, hosted",
    "bare": "bare WSGI callable, hosted",
}
GROUPS = (KINDS, ASGI, HOSTED, HOSTED_WSGI)
"""Each is measured against its first."""
REQUESTS = 4_000
PEERS = Path(__file__).parent / "peers"


def count(kind: str, requests: int) -> int:
    """The instructions of a process that answers so many."""
    program = (
        "asgi_requests.py" if kind in ASGI else "lane_requests.py" if kind in KINDS else "hosted_requests.py"
    )
    with tempfile.TemporaryDirectory() as folder:
        ended = subprocess.run(
            ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/out",
             sys.executable, str(PEERS / program), kind, str(requests)],
            capture_output=True, text=True, check=False, env={**os.environ, "PYTHONHASHSEED": "0"},
        )  # fmt: skip
        found = re.search(r"Collected : (\d+)", ended.stderr)
        if ended.returncode or found is None:
            raise RuntimeError(f"{kind}: {ended.stderr[-2000:]}")
        return int(found[1])


def run(kinds: tuple[str, ...] = tuple(kind for group in GROUPS for kind in group)) -> list[Row]:
    """Count. Raises RuntimeError without valgrind."""
    if shutil.which("valgrind") is None:
        raise RuntimeError("this needs valgrind")
    each = {kind: (count(kind, REQUESTS) - count(kind, 0)) / REQUESTS for kind in kinds}
    rows = []
    for names in GROUPS:
        first = next(iter(names))
        base = each.get(first)
        rows += [
            Row(names[kind], number, "instructions", first, number / base if base else None)
            for kind, number in each.items()
            if kind in names
        ]
    return rows


if __name__ == "__main__":
    print(table(run(tuple(sys.argv[1:])) if sys.argv[1:] else run()))
