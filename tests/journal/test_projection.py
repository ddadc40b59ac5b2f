"""Memory that is loaded anew takes the place of the old one in one step, whatever a projection keeps it in."""

from __future__ import annotations

from typing import Any

from skerry.journal.projection import Projection


class Slotted(Projection):
    """Keeps some of it in slots: one that is always set, one that is set when it is needed, a private one."""

    __slots__ = ("__secret", "cache", "rows")

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.sum = 0

    def remember(self, secret: str) -> None:
        self.__secret = secret
        self.cache = secret.upper()

    def all(self) -> dict[str, Any]:
        return {"rows": self.rows, "sum": self.sum, "cache": getattr(self, "cache", None),
                "secret": getattr(self, "_Slotted__secret", None)}  # fmt: skip


def test_everything_is_exchanged() -> None:
    """Attributes and slots; what only one of them has is then only in the other one."""
    old = Slotted()
    old.rows["a"], old.sum = 1, 1
    old.remember("old")
    new = old.twin()
    assert isinstance(new, Slotted)
    new.rows["b"], new.sum = 2, 2
    of_old, of_new = old.all(), new.all()
    old.exchange(new)
    assert (old.all(), new.all()) == (of_new, of_old)
    assert old.all()["cache"] is None, "nothing stays of the memory before"
    old.exchange(new)
    assert (old.all(), new.all()) == (of_old, of_new)
