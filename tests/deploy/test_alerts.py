"""The alert rules speak of numbers that exist, with labels that they have, and of all that the page wants alerts on."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
from test_operations import measured  # type: ignore[import-not-found]

ROOT = Path(__file__).parents[2]

LABELS = {"process", "instance", "job", "consumer", "reactor", "of", "status", "route", "method", "severity"}


def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    assert group["name"] == "skerry"
    found: list[dict[str, Any]] = group["rules"]
    return found


def test_every_rule_is_about_a_number_that_exists() -> None:
    """None that was renamed or taken out; and labels that somebody sets."""
    known = measured()
    for rule in rules():
        named = set(re.findall(r"skerry_[a-z_]+", rule["expr"]))
        assert named <= known, f"{rule['alert']}: {named - known}"
        assert named or rule["expr"].startswith("up{"), rule
        written = rule["expr"] + "".join(rule["annotations"].values())
        used = set(re.findall(r"\$labels\.(\w+)", written)) | set(re.findall(r"(\w+)=~?\"", written))
        assert used <= LABELS, f"{rule['alert']}: {used - LABELS}"


def test_every_rule_says_what_to_do() -> None:
    """As Prometheus takes it: a name of its own, a time, a severity, a summary and a description."""
    found = rules()
    assert len({rule["alert"] for rule in found}) == len(found)
    for rule in found:
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}, rule
        assert re.fullmatch(r"Skerry[A-Za-z]+", rule["alert"])
        assert re.fullmatch(r"[0-9]+[sm]", rule.get("for", "0s"))
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["expr"].count("(") == rule["expr"].count(")")


def test_what_the_page_says_is_a_rule() -> None:
    """Each number of the paragraph "Alert on" of docs/operations.md."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    paragraph = page.partition("\nAlert on: ")[2].partition("\n\n")[0]
    wanted = set(re.findall(r"skerry_[a-z_]+", paragraph))
    assert wanted
    assert wanted <= {name for rule in rules() for name in re.findall(r"skerry_[a-z_]+", rule["expr"])}
