"""Calls that are dyed because of their routekey, and what they cause."""

from __future__ import annotations

from typing import Any

import pytest

import skerry.tars
from skerry.tars.call import current
from skerry.tars.communicator import Communicator
from skerry.tars.servant import lane
from skerry.tars.server import Server

NAME = "Demo.Dyed.UsersObj"
demo: Any = skerry.tars.load_text("""
module Demo
{
    interface Users
    {
        string find(int level, routekey string user);
        string lane(routekey string user);
        string caused();
    };
};
""").Demo


class UsersServant(demo.Users):  # type: ignore[misc]
    proxy: Any = None

    async def find(self, level: int, user: str) -> str:
        return f"{current().dyed} {await self.proxy.caused()}"

    @lane
    def lane(self, user: str) -> str:
        return current().dyed

    async def caused(self) -> str:
        return current().dyed


@pytest.fixture
async def users() -> Any:
    server, servant = Server(), UsersServant()
    server.add(servant, f"{NAME}@tcp -h 127.0.0.1 -p 0 -t 60000")
    async with server, Communicator(timeout_seconds=60) as communicator:
        servant.proxy = communicator.proxy(demo.Users, server.address(NAME))
        yield server, servant.proxy


async def test_calls_with_the_key_are_dyed(users: Any) -> None:
    """And those that they cause; of no other key, object or function. The last one asked for counts."""
    server, proxy = users
    assert await proxy.find(1, "anna") == " "
    server.dyeing.set("anna", NAME)
    assert await proxy.find(1, "anna") == "anna anna"
    assert await proxy.find(1, "bert") == " "
    assert (await proxy.lane("anna"), await proxy.lane("bert")) == ("anna", "")
    server.dyeing.set("anna", NAME, "lane")
    assert (await proxy.find(1, "anna"), await proxy.lane("anna")) == (" ", "anna")
    server.dyeing.set("anna", "Demo.Dyed.OtherObj")
    assert await proxy.lane("anna") == ""
