"""`make compliance`: the foreign suites, one table, ours beside uvicorn. Exit code 1 when ours fails somewhere.

`python -m compliance [SUITE]...` runs only those: requests, corpora, frameworks, django, crawl, clients, autobahn. What
cannot be run here (no index, no Python 2.7 for Autobahn) is said, and is no failure.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from compliance import clients, corpora, frameworks, live_server
from compliance.corpora import heard
from compliance.outcome import Outcome
from compliance.probe import PROBE
from compliance.requests import CASES, Case
from compliance.sites.run import visit_all
from compliance.subjects import NAMES, ROOT, running

DIRECTORY = ROOT / "var" / "compliance"
GOOD = {"OK", "INFORMATIONAL"}


def requests(name: str, cases: Iterable[Case]) -> Outcome:
    """The cases of one list."""
    outcome = Outcome()
    with running(name) as port, ThreadPoolExecutor(16) as threads:
        mine = [case for case in cases if not case.of or name in case.of]
        for case, (said, ended) in zip(
            mine, threads.map(lambda case: heard(port, case.data), mine), strict=True
        ):
            good = case.judge(said, ended=ended)
            if good and case.choice and name != "uvicorn":
                outcome.note(False, f"{case.name}:", case.choice)
            else:
                outcome.note(good, f"{case.name}: {said[:60]!r}{' and closed' if ended else ''}")
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
    (
        "requests",
        "h1spec's cases",
        lambda name: requests(name, (each for each in CASES if each.asks == "h1spec")),
        NAMES,
    ),
    ("requests", "Http11Probe's cases", lambda name: requests(name, PROBE), NAMES),
    (
        "requests",
        "more cases of our own",
        lambda name: requests(name, (each for each in CASES if each.asks == "own")),
        NAMES,
    ),
    ("corpora", f"gunicorn {corpora.VERSION}, requests", bodies, ("asgi", "uvicorn")),
    (
        "frameworks",
        "gunicorn's ASGI frameworks",
        lambda name: frameworks.run(name, DIRECTORY),
        ("asgi", "uvicorn"),
    ),
    ("django", "Django's live servers", lambda name: live_server.run(DIRECTORY), ("asgi",)),
    ("crawl", "a crawler, beside their servers", lambda name: visit_all(DIRECTORY), ("asgi",)),
    ("clients", "clients of npm, Go, ab, h2load", lambda name: clients.run(DIRECTORY), ("lane",)),
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
            except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
                outcome = Outcome(missing=str(error))
            print(f"{outcome!s:>26}", end="", flush=True)
            if outcome.missing:
                chosen.append(f"{title}, {name}: not run: {outcome.missing}")
            elif name != "uvicorn":
                failed += [f"{title}, {name}: {each}" for each in outcome.failed]
                told = [f"{reason}: {' '.join(names)}" for reason, names in outcome.chosen.items()]
                chosen += [line for line in told if line not in chosen]
        print()
    for heading, lines in (("By choice, or not run:", chosen), ("FAILED:", failed)):
        if lines:
            print(f"\n{heading}", *lines, sep="\n  ")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
