"""How much of each module its own tests run: a line for each module below the bar.

    python scripts/covered.py              # every room; minutes
    python scripts/covered.py http bus     # some of them

Only the tests of a module's room count (scripts/rooms.py): a test of the whole system runs many lines that it does not
check. Lines and branches together, measured in the process of the tests: modules that run in processes which the tests
start show less than is tested.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from rooms import ROOMS, ROOT, SOURCE, WITH_SERVICES, modules_of, suite_of

BAR = 80.0
"""Percent of lines and branches that the tests of a room should run of each of its modules."""


def measured(room: str, directory: Path) -> dict[str, float]:
    """Percent for each module of a room, after its tests ran."""
    data, report = directory / "coverage", directory / "coverage.json"
    base = [sys.executable, "-m", "coverage"]
    run = [
        *base,
        "run",
        f"--data-file={data}",
        "--branch",
        f"--source={SOURCE}",
        "-m",
        "pytest",
        "-q",
        "--no-header",
    ]
    tests = subprocess.run(
        [*run, "--tb=short", *map(str, suite_of(room))], cwd=ROOT, capture_output=True, text=True
    )
    if tests.returncode:
        print(f"coverage: the tests of {room} fail\n{tests.stdout[-3000:]}", flush=True)
    subprocess.run(
        [*base, "json", "-q", f"--data-file={data}", "-o", report], cwd=ROOT, check=True, capture_output=True
    )
    files = json.loads(report.read_text(encoding="utf-8"))["files"]
    wanted = {str(path.relative_to(ROOT)): str(path.relative_to(SOURCE)) for path in modules_of(room)}
    return {
        wanted[name]: float(found["summary"]["percent_covered"])
        for name, found in files.items()
        if name in wanted
    }


def main(rooms: list[str]) -> None:
    unknown = set(rooms) - ROOMS.keys()
    if unknown:
        sys.exit(f"coverage: no room {', '.join(sorted(unknown))}; there are {', '.join(ROOMS)}")
    every: dict[str, float] = {}
    for room in rooms or [room for room in ROOMS if room not in WITH_SERVICES]:
        with tempfile.TemporaryDirectory(prefix="coverage-") as directory:
            found = measured(room, Path(directory))
        every |= found
        low = {name: percent for name, percent in found.items() if percent < BAR}
        print(f"{room}: {len(found)} modules, {len(low)} below {BAR:.0f} %", flush=True)
        for name, percent in sorted(low.items(), key=lambda pair: pair[1]):
            print(f"  {percent:5.1f} %  {name}", flush=True)
    held = sum(percent >= BAR for percent in every.values())
    print(f"coverage: {held} of {len(every)} modules have {BAR:.0f} % or more from the tests of their room")


if __name__ == "__main__":
    main(sys.argv[1:])
