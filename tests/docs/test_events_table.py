"""The table of events is the one of the code: no event without its line, no line without its event."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "event-core" / "events.md"


def emitted() -> set[str]:
    """Every name that is emitted as a literal on an `events` or `emitter`, and those of told failures."""
    found: set[str] = set()
    for path in (ROOT / "src" / "skerry").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr="emit", value=ast.Attribute(attr="events" | "emitter")),
                    args=[ast.Constant(value=str(name)), *_],
                ):
                    found.add(name)
                case ast.Call(func=ast.Attribute(attr="_tell"), args=[ast.Constant(value=str(name)), *_]):
                    found.add(name)
                case _:
                    pass
    return found


def test_every_event_has_its_line_and_every_line_its_event() -> None:
    """Transitions of the runtime are told by pattern; all others by name."""
    cells = [
        line.split("|")[3] for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("|")
    ]
    documented = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    transitions = {"create", "start", "stop", "fail", "resume", "destroy"}
    documented -= transitions | {f"{when}_{verb}" for verb in transitions for when in ("before", "after")}
    code = {name for name in emitted() if not name.startswith(("before_", "after_"))}
    assert code - documented == set(), "emitted, but not in docs/event-core/events.md"
    assert documented - code == set(), "in docs/event-core/events.md, but emitted nowhere"
