"""`make compliance`: the foreign suites, one table, ours beside uvicorn. Exit code 1 when ours fails somewhere.

`python -m compliance [SUITE]...` runs only those: requests, corpora, frameworks, django, crawl, clients, autobahn. What
cannot be run here (no index, no Python 2.7 for Autobahn) is said, and is no failure.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable

from compliance import clients, corpora, frameworks, live_server
from compliance.outcome import Outcome
from compliance.requests import CASES
from compliance.sites.run import visit_all
from compliance.subjects import NAMES, ROOT, running

DIRECTORY = ROOT / "var" / "compliance"
GOOD = {"OK", "INFORMATIONAL"}


def requests(name: str, asks: str) -> Outcome:
    """Our own cases of one list."""
    outcome = Outcome()
    with running(name) as port:
        for case in (case for case in CASES if case.asks == asks):
            answer = corpora.ask(port, case.data, half_close=False, seconds=0.5)
            found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
            status = int(found[1]) if found else None
            good = case.met_by(status, closed=not case.answers and bool(answer))
            good = good or (status is None and bool(case.answers) and case.closes)
            outcome.note(good, f"{case.name}: {status}")
    return outcome


def bodies(name: str) -> Outcome:
    """gunicorn's corpora."""
    with running(name) as port:
        return corpora.run(port, DIRECTORY, choices=name != "uvicorn")


def autobahn(name: str) -> Outcome:
    """All of Autobahn's cases, 9.* (limits) and 12.*, 13.* (compression) included."""
    outcome = Outcome()
    environ = {
        **os.environ,
        "PYTHON": sys.executable,
        "SUBJECT": "uvicorn" if name == "uvicorn" else "skerry",
    }
    done = subprocess.run(["sh", "compliance/autobahn/run.sh", "--all"], cwd=ROOT, env=environ, check=False,
                          capture_output=True, text=True)  # fmt: skip
    report = ROOT / "var" / "autobahn" / "report" / "index.json"
    if done.returncode > 1 or not report.exists():
        outcome.missing = (done.stderr.strip().splitlines() or ["it did not start"])[-1]
        return outcome
    ((_, found),) = json.loads(report.read_text()).items()
    for number, case in found.items():
        said = f"{number}: {case['behavior']}, {case['behaviorClose']}"
        outcome.note({case["behavior"], case["behaviorClose"]} <= GOOD, said)
    return outcome


Suite = tuple[str, str, Callable[[str], Outcome], tuple[str, ...]]
SUITES: tuple[Suite, ...] = (
    ("requests", "h1spec's cases", lambda name: requests(name, "h1spec"), NAMES),
    ("requests", "Http11Probe's kinds", lambda name: requests(name, "probe"), NAMES),
    ("corpora", f"gunicorn {corpora.VERSION}, requests", bodies, ("asgi", "uvicorn")),
    (
        "frameworks",
        "gunicorn's ASGI frameworks",
        lambda name: frameworks.run(name, DIRECTORY),
        ("asgi", "uvicorn"),
    ),
    ("django", "Django's live servers", lambda name: live_server.run(DIRECTORY), ("asgi",)),
    ("crawl", "a crawler, beside their servers", lambda name: visit_all(DIRECTORY), ("asgi",)),
    ("clients", "clients of npm, ab, h2load", lambda name: clients.run(DIRECTORY), ("lane",)),
    ("autobahn", "Autobahn, all cases", autobahn, ("asgi", "uvicorn")),
)


def main(wanted: list[str]) -> int:
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    failed: list[str] = []
    chosen: list[str] = []
    print(f"{'suite':<30}" + "".join(f"{name:>26}" for name in NAMES))
    for key, title, run, subjects in SUITES:
        if wanted and key not in wanted:
            continue
        print(f"{title:<30}", end="", flush=True)
        for name in NAMES:
            if name not in subjects:
                print(f"{'':>26}", end="", flush=True)
                continue
            try:
                outcome = run(name)
            except (OSError, RuntimeError) as error:
                outcome = Outcome(missing=str(error))
            print(f"{outcome!s:>26}", end="", flush=True)
            if outcome.missing:
                chosen.append(f"{title}, {name}: not run: {outcome.missing}")
            elif name != "uvicorn":
                failed += [f"{title}, {name}: {each}" for each in outcome.failed]
                chosen += [f"{reason}: {' '.join(names)}" for reason, names in outcome.chosen.items()]
        print()
    for heading, lines in (("By choice, or not run:", chosen), ("FAILED:", failed)):
        if lines:
            print(f"\n{heading}", *lines, sep="\n  ")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
