"""A service for tests that uses everything of the platform, run by `skerry tars run configured:service`."""

from __future__ import annotations

import json
import logging
from typing import Any

from skerry import tars
from skerry.tars import Service

demo: Any = tars.load_text(
    "module Demo { interface Hello { string hello(routekey string name); string around(string name); }; };"
).Demo
log = logging.getLogger("configured")
service = Service(version="1.0")
settings: dict[str, str] = {}


class Greeter:
    """A service that functions take by its type."""

    def greet(self, name: str) -> str:
        return f"{settings['greeting']} {name}!"


service.provides()(Greeter)


class HelloServant(demo.Hello):  # type: ignore[misc]
    async def hello(self, name: str, greeter: Greeter) -> str:
        log.info("asked by %s", name)
        service.property("hellos").sum(1)
        return greeter.greet(name)

    async def around(self, name: str) -> str:
        """Calls itself, by its bare name."""
        found: str = await service.communicator.proxy(demo.Hello, "Demo.PyServer.HelloObj").hello(name)
        return found


service.servant("HelloObj", HelloServant())


@service.on_config("greetings.json")
def greetings(text: str) -> None:
    read = json.loads(text)
    if "greeting" not in read:
        raise ValueError("there is no greeting in it")
    settings.update(read)
