"""The project as a server of the platform, with a servant beside it."""

from __future__ import annotations

import asyncio
from typing import Any

from skerry import tars

idl: Any = tars.load_text("module Interop { interface Echo { int sleep(int ms); }; };").Interop


class EchoServant(idl.Echo):  # type: ignore[misc]
    async def sleep(self, ms: int) -> int:
        await asyncio.sleep(ms / 1000)
        return ms


service = tars.Service(version="2.0.1")
service.servant("EchoObj", EchoServant())
service.http("WebObj", "site_wsgi:application")
limits: list[str] = []


@service.on_config("limits.txt")
def take(text: str) -> None:
    if not text.strip().isdecimal():
        raise ValueError("limits.txt is a number")
    limits[:] = [text.strip()]


@service.admin("limits")
def show(arguments: str) -> str:
    return f"{limits[0]} {arguments}".strip()
