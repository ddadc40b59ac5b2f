"""How a suite went against one server."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """`passed` of `total`; `chosen`: reasons, and the cases that differ by them; `failed`: what differs without one."""

    passed: int = 0
    total: int = 0
    chosen: dict[str, list[str]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    missing: str = ""
    """Why it could not be run."""

    def note(self, good: bool, shown: str, reason: str | None = None) -> None:
        """One case."""
        self.total += 1
        if good:
            self.passed += 1
        elif reason is not None:
            self.chosen.setdefault(reason, []).append(shown.partition(":")[0])
        else:
            self.failed.append(shown)

    def __str__(self) -> str:
        if self.missing:
            return "not run"
        number = sum(map(len, self.chosen.values()))
        chosen = f" + {number} by choice" if number else ""
        return f"{self.passed}{chosen} of {self.total}"
