"""`make demo` says where the values stay, and no password."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "scripts" / "demo.py"


@pytest.mark.parametrize(
    ("journal", "place"),
    [
        ("sqlite:///var/demo/livekv.db", "var/demo/livekv.db"),
        ("sqlite:////srv/livekv.db", "/srv/livekv.db"),
        (
            "postgresql://shop:SECRET@db.example:5432/shop?password=SECRET",
            "postgresql://db.example:5432/shop",
        ),
    ],
)
def test_the_place_is_told_without_a_password(
    journal: str, place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also on servers, whose URL has one."""

    def run(path: str, arguments: list[str]) -> None:
        raise SystemExit(0)

    monkeypatch.setenv("SKERRY_JOURNAL", journal)
    monkeypatch.setattr(os, "execv", run)
    with pytest.raises(SystemExit):
        runpy.run_path(str(DEMO), run_name="__main__")
    said = capsys.readouterr().out
    assert f"stay in {place}.\n" in said
    assert "SECRET" not in said
