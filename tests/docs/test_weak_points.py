"""The table of weak points names tests that exist, for every one of the 36."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [
    line.split(" | ")
    for line in (ROOT / "docs" / "weak-points.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| D-")
]


def test_every_weak_point_has_a_row() -> None:
    """D-1 to D-36, in order."""
    assert [row[0] for row in ROWS] == [f"| D-{number}" for number in range(1, 37)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip("| "))
def test_every_proof_exists(row: list[str]) -> None:
    """File and function; at least one each."""
    proofs = re.findall(r"`([^`]+)::(test_\w+)`", row[3])
    assert proofs
    for path, name in proofs:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"def {name}\(", text), f"{path} has no {name}"
