"""Whether what is stored can be read: everything, or the end of it where a quick look is enough."""

from __future__ import annotations

import msgspec
import pytest

from livekv import app
from livekv.messages import PutValue
from skerry.journal import Table
from skerry.roles.audit import audit, unfit_row
from skerry.testing import running


class Price(msgspec.Struct, frozen=True):
    cents: int


@pytest.mark.parametrize(("rows", "events", "read"), [(None, None, (5, 5)), (2, 3, (2, 3)), (9, 9, (5, 5))])
async def test_so_much_is_read(rows: int | None, events: int | None, read: tuple[int, int]) -> None:
    """All of it, or at most that many rows of a table and the last events."""
    async with running(app) as world:
        for number in range(5):
            await world.commands.send(PutValue(f"k{number}", "v"))
        found = await audit(world.journal, app.declaration, rows=rows, events=events)
        assert (found.rows, found.events, found.unfit) == (*read, [])


@pytest.mark.parametrize(
    ("key", "data", "told"),
    [("7", b'{"cents":3}', ""), ("seven", b'{"cents":3}', "'seven'"), ("7", b'{"cents":"3"}', "cents")],
)
def test_a_row_needs_a_key_and_a_value_of_its_table(key: str, data: bytes, told: str) -> None:
    """Each is checked, and named."""
    why = unfit_row(Table("price", key=int, row=Price), key, data)
    assert told in why
    assert bool(why) == bool(told)
