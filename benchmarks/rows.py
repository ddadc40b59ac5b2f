"""One measured figure, and a table of them. Not for measuring: each benchmark does that itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """`value` in `unit`; `ratio` to `peer` measured in the same run; `bar` the greatest ratio that is good."""

    name: str
    value: float
    unit: str
    peer: str = ""
    ratio: float | None = None
    bar: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the bar is met; None when there is none."""
        return None if self.bar is None or self.ratio is None else self.ratio <= self.bar


def table(rows: Iterable[Row]) -> str:
    """The rows as aligned text."""
    lines = [("what", "value", "", "against", "ratio", "bar", "", "")]
    for row in rows:
        mark = {None: "", True: "ok", False: "MISSED"}[row.met]
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}x"
        bar = "" if row.bar is None else f"<= {row.bar:.2f}x"
        lines.append((row.name, f"{row.value:,.2f}", row.unit, row.peer, ratio, bar, mark, row.note))
    widths = [max(len(line[column]) for line in lines) for column in range(8)]
    right = {1, 4, 5}
    return "\n".join(
        "  ".join(
            text.rjust(width) if column in right else text.ljust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
