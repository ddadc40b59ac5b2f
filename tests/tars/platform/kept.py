"""livekv as an object of a Tars service, with a servant that writes and reads through its buses and memory, run as
processes by `skerry tars run kept:service`."""

from __future__ import annotations

from typing import Any

from livekv.app import app
from livekv.messages import PutValue
from livekv.values import Values
from skerry import CommandBus, tars
from skerry.bus.outcomes import Level

demo: Any = tars.load_text("""
module Demo { interface Keep { int put(string name, string value); string get(string name); }; };
""").Demo


class KeepServant(demo.Keep):  # type: ignore[misc]
    async def put(self, name: str, value: str, commands: CommandBus) -> int:
        receipt = await commands.send(PutValue(name, value), level=Level.VISIBLE)
        return receipt.position.offset if receipt.position is not None else 0

    @tars.lane
    def get(self, name: str, values: Values) -> str:
        entry = values.get(name)
        return entry.value if entry is not None else ""


service = tars.Service(version="3.0")
service.http("WebObj", "livekv.app:app")
service.servant("KeepObj", KeepServant())
twice = tars.Service()
twice.http("WebObj", app)
twice.http("OtherObj", app)
