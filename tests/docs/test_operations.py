"""The operations page names every number that processes show, and none that they do not."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
ROOMS = (
    "kernel/metrics.py",
    "kernel/losses.py",
    "server/moving.py",
    "server/server.py",
    "hosting",
    "supervision/supervisor.py",
    "process",
    "roles",
)


def measured() -> set[str]:
    """Names of metrics as they stand in the code."""
    found: set[str] = set()
    for room in ROOMS:
        place = ROOT / "src" / "skerry" / room
        for path in [place] if place.is_file() else sorted(place.glob("*.py")):
            text = path.read_text(encoding="utf-8")
            found |= set(re.findall(r'"(skerry_[a-z_]+)"', text))
            if 'f"skerry_listeners_{name}"' in text:
                block = text.partition("def register_hub_metrics")[2].partition("registry.gauge(f")[0]
                names = re.findall(r'^        \("(\w+)",', block, re.M)
                found |= {f"skerry_listeners_{name}{end}" for name in names for end in ("", "_total")}
    return found


def described() -> set[str]:
    """Names of metrics as they stand in the table; `..._x` goes on from the name before it."""
    found: set[str] = set()
    for line in PAGE.splitlines():
        if not line.startswith("| `skerry_"):
            continue
        first = ""
        for name in re.findall(r"`([a-z_.]+)`", line.split("|")[1]):
            if name.startswith("..."):
                name = re.sub(r"(skerry_listeners).*", r"\1", first) + name.removeprefix("...")
            first = first or name
            found.add(name)
    return found


def test_every_number_is_explained() -> None:
    """What /metrics shows stands in the table, and what stands there is shown."""
    assert measured() - described() == set()
    assert described() - measured() == set()


def test_numbers_that_other_pages_name_exist() -> None:
    """A page that leads to a number leads to one that there is."""
    named = {
        f"{path.name}: {name}"
        for path in (ROOT / "docs").rglob("*.md")
        for name in re.findall(r"`(skerry_\w+_(?:total|seconds|bytes))\b", path.read_text(encoding="utf-8"))
        if name not in described()
    }
    assert named == set()
