"""Loop models by name."""

from __future__ import annotations

import asyncio
import selectors
import sys

import pytest

from skerry.errors import LifecycleError, SettingsError
from skerry.loop import models
from skerry.loop.loop import Loop


@pytest.mark.parametrize("name", models.available())
def test_each_model_makes_what_it_says(name: str) -> None:
    """K-13: not select only; each name gives an asyncio loop over that machinery."""

    async def kind() -> str:
        loop = asyncio.get_running_loop()
        selector = getattr(loop, "_selector", None)
        return type(selector if selector is not None else loop).__name__

    seen = Loop(model=name).run(kind)
    assert (
        seen
        == {
            "select": "SelectSelector",
            "poll": "PollSelector",
            "epoll": "EpollSelector",
            "kqueue": "KqueueSelector",
            "asyncio": selectors.DefaultSelector.__name__,
            "uvloop": "Loop",
        }[name]
    )


def test_an_unknown_model_names_the_setting_and_the_choice() -> None:
    """A wrong name is a SettingsError with what there is; the default is uvloop where installed."""
    with pytest.raises(
        SettingsError, match=r"SKERRY_LOOP_MODEL: 'libev' is no loop model; choose one of select"
    ):
        Loop(model="libev")
    missing = next(name for name, factory in models.MODELS.items() if factory is None)
    with pytest.raises(SettingsError, match="not available on this machine"):
        Loop().model = missing
    assert Loop().model == models.default() == ("uvloop" if "uvloop" in models.available() else "asyncio")


def test_a_running_loop_keeps_its_model() -> None:
    """The model is chosen before running."""

    async def change() -> None:
        with pytest.raises(LifecycleError, match="stop"):
            loop.model = "select"

    loop = Loop(model="poll")
    loop.run(change)
    loop.model = "select"


if sys.version_info >= (3, 12):

    @pytest.mark.parametrize("name", models.available())
    def test_each_model_takes_eager_tasks(name: str) -> None:
        """asyncio's own factory of them, set while the loop runs: a task has begun when it is made."""
        begun: list[int] = []

        async def work() -> None:
            begun.append(1)

        async def main() -> None:
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
            task = asyncio.create_task(work(), name="eager")
            assert begun == [1]
            await task

        Loop(model=name).run(main)
