"""Which machinery an asyncio loop waits with, by name. To add one, add a line.

`select`, `poll`, `epoll`, `kqueue` are asyncio's own loop over that system call, `asyncio` over the best of
them, `uvloop` is libuv. The default is `uvloop` where it is installed, else `asyncio`. `SKERRY_LOOP_MODEL`
and `Loop.model` choose.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
from collections.abc import Callable
from typing import Any

from skerry.errors import SettingsError

Factory = Callable[[], asyncio.AbstractEventLoop]
TaskFactory = Callable[..., Any]


def _over(selector: str) -> Factory | None:
    kind = getattr(selectors, selector, None)
    return None if kind is None else lambda: asyncio.SelectorEventLoop(kind())


def _uvloop() -> Factory | None:
    try:
        import uvloop
    except ImportError:
        return None
    made: Factory = uvloop.new_event_loop
    if not (3, 13) <= sys.version_info[:3] < (3, 13, 3):
        return made

    class Loop(uvloop.Loop):
        """uvloop hands `eager_start` to a task factory, which asyncio's own take from Python 3.13.3 on."""

        def set_task_factory(self, factory: TaskFactory | None) -> None:
            def make(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> Any:
                options.pop("eager_start", None)
                assert factory is not None
                return factory(loop, work, **options)

            super().set_task_factory(None if factory is None else make)

    return Loop


MODELS: dict[str, Factory | None] = {
    "select": _over("SelectSelector"),
    "poll": _over("PollSelector"),
    "epoll": _over("EpollSelector"),
    "kqueue": _over("KqueueSelector"),
    "asyncio": lambda: asyncio.SelectorEventLoop(),
    "uvloop": _uvloop(),
}
"""None where this machine does not have it."""


def available() -> tuple[str, ...]:
    """The models that work on this machine."""
    return tuple(name for name, factory in MODELS.items() if factory is not None)


def default() -> str:
    """What is used when nothing is chosen."""
    return "uvloop" if MODELS["uvloop"] is not None else "asyncio"


def factory(name: str) -> Factory:
    """How to make an asyncio loop of that model. SettingsError when there is none here."""
    found = MODELS.get(name)
    if found is None:
        why = "is not available on this machine" if name in MODELS else "is no loop model"
        raise SettingsError("SKERRY_LOOP_MODEL", f"{name!r} {why}; choose one of {', '.join(available())}")
    return found


def check_descriptor(loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
    """ValueError when that loop can never wait for the descriptor: `select` ends at 1,024 and would fail later."""
    if descriptor >= 1024 and isinstance(getattr(loop, "_selector", None), selectors.SelectSelector):
        raise ValueError(
            f"descriptor {descriptor} is too high for select (below 1024); choose another loop model"
        )
