"""A registry: objects, where they are, and which server is told of which endpoint.

Answers as tarsregistry does: active and inactive endpoints, sets before groups, an error for a set without servers.
What is registered stands in memory and is changed by the test (or by the double of the node).

Source: the rules of TarsFramework's registry for sets and groups.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from skerry.tars.call import current
from skerry.tars.endpoint import Endpoint, parse_endpoints
from skerry.tars.platform.identity import NODE_NAME
from skerry.tars.platform.registry import QUERY, row_of

NO_GROUP = -1


@dataclass(frozen=True, slots=True)
class Registration:
    """One endpoint of an object."""

    endpoint: Endpoint
    node: str
    set_division: str = ""
    group: int = NO_GROUP
    active: bool = True


class Registry(QUERY.QueryF):  # type: ignore[misc]
    """The servant, and what it knows. `groups`: the group of a node, by its name. `asked`: who asked for what."""

    def __init__(self) -> None:
        self.objects: dict[str, list[Registration]] = {}
        self.groups: dict[str, int] = {}
        self.asked: list[tuple[str, str]] = []

    def register(
        self, name: str, endpoints: str, *, node: str = "", set_division: str = "", group: int = NO_GROUP
    ) -> None:
        """`name` is at `endpoints` (`tcp -h ... -p ...[:...]`) from now on; one that is there is active again."""
        for endpoint in parse_endpoints(endpoints):
            self.deregister(name, str(endpoint))
            found = Registration(endpoint, node or endpoint.host, set_division, group)
            self.objects.setdefault(name, []).append(found)

    def deregister(self, name: str, endpoints: str = "") -> None:
        """Forget these endpoints of `name`, all without `endpoints`."""
        gone = set(parse_endpoints(endpoints)) if endpoints else None
        self.objects[name] = [
            each for each in self.objects.get(name, []) if gone is not None and each.endpoint not in gone
        ]

    def set_active(self, name: str, active: bool, node: str = "") -> None:
        """The endpoints of `name` (on one node, where it is given) take calls, or are down."""
        self.objects[name] = [
            dataclasses.replace(each, active=active) if node in ("", each.node) else each
            for each in self.objects.get(name, [])
        ]

    async def findObjectById(self, id: str) -> list[Any]:  # noqa: N802
        return self._answer(id, lambda _: True)[0]

    async def findObjectById4Any(self, id: str) -> Any:  # noqa: N802
        return 0, *self._answer(id, lambda _: True)

    async def findObjectById4All(self, id: str) -> Any:  # noqa: N802
        return await self.findObjectByIdInSameGroup(id)

    async def findObjectByIdInSameGroup(self, id: str) -> Any:  # noqa: N802
        known = [each.group for each in self.objects.get(id, []) if each.active]
        mine = self.groups.get(_caller(), NO_GROUP)
        if mine != NO_GROUP and mine in known:
            wanted = {mine}
        else:
            wanted = {NO_GROUP} if NO_GROUP in known and mine != NO_GROUP else set(known)
        return 0, *self._answer(id, lambda each: not each.active or each.group in wanted)

    async def findObjectByIdInSameStation(self, id: str, sStation: str) -> Any:  # noqa: N802, N803
        return await self.findObjectByIdInSameGroup(id)

    async def findObjectByIdInSameSet(self, id: str, setId: str) -> Any:  # noqa: N802, N803
        parts = setId.split(".")
        if len(parts) != 3 or not all(parts) or "*" in parts[:2]:
            return -1, [], []
        if not any(each.set_division for each in self.objects.get(id, [])):
            return await self.findObjectByIdInSameGroup(id)
        active, inactive = self._answer(id, lambda each: _in_set(each.set_division, setId))
        return (0 if active else -1), active, inactive

    def _answer(self, name: str, wanted: Callable[[Registration], bool]) -> tuple[list[Any], list[Any]]:
        self.asked.append((name, _caller()))
        del self.asked[:-10_000]
        found = [each for each in self.objects.get(name, []) if wanted(each)]
        return [_row(each) for each in found if each.active], [
            _row(each) for each in found if not each.active
        ]


def _row(each: Registration) -> Any:
    return row_of(dataclasses.replace(each.endpoint, set_division=each.set_division), each.node)


def _caller() -> str:
    """The caller's node: what it says, else where it calls from."""
    call = current()
    return call.context.get(NODE_NAME) or call.peer[0]


def _in_set(theirs: str, mine: str) -> bool:
    """Whether a server of set `theirs` serves callers of set `mine`; a group `*` is every group."""
    if not theirs:
        return False
    *there, group = theirs.split(".")
    *here, wanted = mine.split(".")
    return there == here and (group == wanted or "*" in (group, wanted))
