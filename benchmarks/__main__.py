"""`make bench`: every benchmark in one run, as a table and as JSON under benchmarks/results/.

How to read it: a ratio is ours divided by the peer's, measured side by side in this run, so lower is better and 1.00x
is a draw; the bar is the greatest ratio that is good. Absolute numbers belong to this machine at this moment.
`python -m benchmarks [NAME ...]` runs only those named; `BENCH_SECONDS` and `BENCH_ROUNDS` lengthen a run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.needs import missing
from benchmarks.rows import Row, table

NAMES = (
    "http_get",
    "hosting",
    "memory",
    "idle",
    "writes",
    "growth",
    "consumers",
    "reactors",
    "fanout",
    "page",
    "balancer",
    "emitter",
    "journals",
    "commits",
    "bridge",
    "mirrors",
    "rabbitmq",
    "tars_codec",
    "tars_rpc",
    "tars_platform",
)
RESULTS = Path(__file__).parent / "results"


def measure(name: str) -> list[Row]:
    """The rows of one benchmark; one row that says why, when it cannot run here."""
    try:
        module = importlib.import_module(f"benchmarks.{name}")
        found: list[Row] = module.run()
        return found
    except Exception as error:  # one that cannot run must not hide the others' figures
        return [Row(f"{name}: not measured", 0.0, "", note=f"{type(error).__name__}: {error}"[:200])]


def machine() -> dict[str, str]:
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processors": str(os.cpu_count()),
    }


def main() -> int:
    """Exit code 0 also when a bar is missed: a figure is news, not a failure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], help="which; default: all")
    chosen = parser.parse_args().names or NAMES
    lacking = missing(chosen)
    print("\n".join(lacking), file=sys.stderr, flush=True)
    rows: dict[str, list[Row]] = {}
    for name in chosen:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        began = time.monotonic()
        rows[name] = measure(name)
        print(table(rows[name]), flush=True)
        print(f"({time.monotonic() - began:.0f} s)\n", flush=True)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.json"
    content = {
        "machine": machine(),
        "missing": lacking,
        "rows": {name: [asdict(row) for row in found] for name, found in rows.items()},
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print("\n".join(lacking))
    missed = [row.name for found in rows.values() for row in found if row.met is False]
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    print(f"bars missed: {', '.join(missed)}" if missed else "every bar that was measured is met")
    print(__doc__.split("\n\n")[1])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
