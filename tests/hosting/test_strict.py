"""What a request leaves in its process is told, with its route; what belongs to a process that works is not."""

from __future__ import annotations

import asyncio
import locale
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
from django.core.signals import setting_changed

from skerry.hosting.django.requests import DjangoRequests
from skerry.hosting.flask.requests import FlaskRequests
from skerry.hosting.host import Host
from skerry.hosting.settings import HostSettings
from skerry.hosting.strict import GOES_ON_SECONDS, Strict
from skerry.http.application import Application
from skerry.testing.client import Client

kept: list[Any] = []
end = threading.Event()


def leaves_a_thread() -> None:
    thread = threading.Thread(target=end.wait, name="of-a-view-7", daemon=True)
    thread.start()


def leaves_a_file() -> None:
    kept.append(open(__file__))  # noqa: SIM115 - so that it stays


def leaves_a_receiver() -> None:
    def receiver(**_: Any) -> None: ...

    kept.append(receiver)
    flask.signals.template_rendered.connect(receiver)


LEFT: dict[str, tuple[Callable[[], None], str]] = {
    "thread": (leaves_a_thread, "a thread, Thread of-a-view"),
    "file": (leaves_a_file, f"an open file, {Path(__file__).absolute()}"),
    "receiver": (leaves_a_receiver, "a receiver of a signal"),
}
CHANGED: dict[str, tuple[Callable[[], object], str]] = {
    "environment": (
        lambda: os.environ.update(LEFT_BY_A_VIEW="1"),
        "the variable LEFT_BY_A_VIEW of the environment changed",
    ),
    "directory": (lambda: os.chdir("/"), "the working directory changed, to /"),
    "locale": (lambda: locale.setlocale(locale.LC_NUMERIC, "C.UTF-8"), "the locale changed, to "),
}


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    directory, numbers = os.getcwd(), locale.setlocale(locale.LC_NUMERIC)
    end.clear()
    yield
    end.set()
    os.chdir(directory)
    locale.setlocale(locale.LC_NUMERIC, numbers)
    os.environ.pop("LEFT_BY_A_VIEW", None)
    for each in kept:
        getattr(each, "close", lambda: None)()
    kept.clear()


class Process:
    """Requests of one route, one after the other, with seconds in between."""

    def __init__(self) -> None:
        self.now = 0.0
        self.strict = Strict(1, lambda: 0, FlaskRequests().receivers, lambda: self.now)

    def ask(self, view: Callable[[], object]) -> None:
        standing = self.strict.begin()
        assert standing is not None
        view()
        self.strict.end(standing, "GET /left")
        self.now += 2 * GOES_ON_SECONDS


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "skerry.host"]


@pytest.mark.parametrize("name", LEFT)
def test_what_grows_is_told_when_it_grows_again(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """The first may be one that a process needs once; it is told once, however often it comes after that."""
    view, what = LEFT[name]
    process = Process()
    process.ask(view)
    process.ask(lambda: None)
    assert told(caplog) == []
    for _ in range(3):
        process.ask(view)
    process.ask(lambda: None)
    assert told(caplog) == [f"GET /left has left something behind: {what}"]


@pytest.mark.parametrize("name", CHANGED)
def test_what_is_changed_is_told_at_once(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is so for all requests that follow."""
    view, what = CHANGED[name]
    process = Process()
    process.ask(view)
    process.ask(view)
    [said] = told(caplog)
    assert said.startswith(f"GET /left has left something behind: {what}")


def test_what_ends_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    """A thread that goes on for a moment, a file that is closed, a variable that is set back."""

    def view() -> None:
        leaves_a_thread()
        end.set()
        with open(__file__):
            os.environ["LEFT_BY_A_VIEW"] = "1"
        del os.environ["LEFT_BY_A_VIEW"]

    process = Process()
    for _ in range(4):
        process.ask(view)
        for thread in threading.enumerate():
            if thread.name.startswith("of-a-view"):
                thread.join()
        end.clear()
    assert told(caplog) == []


def test_beside_another_request_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody knows which of the two it was; nor is one that begins beside another watched."""
    runs: list[object] = [1]
    strict = Strict(1, lambda: runs[0])
    standing = strict.begin()
    assert standing is not None
    os.environ["LEFT_BY_A_VIEW"] = "1"
    runs[0] = 2  # another one has come and gone
    strict.end(standing, "GET /left")
    runs[0] = None
    assert strict.begin() is None
    assert told(caplog) == []


def test_one_of_so_many_is_watched() -> None:
    """The first one, then each third; none with 0."""
    strict = Strict(3, lambda: 0)
    assert [strict.begin() is not None for _ in range(7)] == [True, False, False, True, False, False, True]
    assert Strict(0, lambda: 0).begin() is None


def test_receivers_of_django_that_are_gone_do_not_count() -> None:
    """They are cleared away later."""
    requests = DjangoRequests()

    def receiver(**_: Any) -> None: ...

    before = requests.receivers()
    setting_changed.connect(receiver)
    assert requests.receivers() == before + 1
    del receiver
    assert requests.receivers() == before


async def leaves_one_too(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        os.environ["LEFT_BY_A_VIEW"] = scope["path"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def leaves_a_variable(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    os.environ["LEFT_BY_A_VIEW"] = environ["PATH_INFO"]
    start_response("200 OK", [])
    return []


async def test_tasks_that_were_there_are_not_left(caplog: pytest.LogCaptureFixture) -> None:
    """That in which a request begins is no new one at its end, which comes in another; one that goes on behind the
    request is told when the next one has left it too."""
    now = [0.0]
    strict = Strict(1, lambda: 0, clock=lambda: now[0])
    tasks: list[asyncio.Task[Any]] = []

    async def of_the_view() -> None:
        await asyncio.Event().wait()

    async def finish(standing: Any) -> None:
        strict.end(standing, "GET /left")

    for leaves in (False, False, True, True, False):
        standing = strict.begin()
        if leaves:
            tasks.append(asyncio.create_task(of_the_view()))
        await asyncio.create_task(finish(standing))
        now[0] += 2 * GOES_ON_SECONDS
    strict.begin()
    for each in tasks:
        each.cancel()
    [said] = told(caplog)
    assert said.startswith("GET /left has left something behind: a task, ")
    assert said.endswith("of_the_view")


@pytest.mark.parametrize("application", [leaves_one_too, leaves_a_variable])
async def test_hosts_of_both_kinds_tell(application: Any, caplog: pytest.LogCaptureFixture) -> None:
    """With the method and the route, or the path where there is none."""
    host = Host("shop", lambda: application)
    host.open(HostSettings(strict=1, threads="1"))
    app = Application()
    app.mount("/", host, rights=None, hosted=True)
    async with Client(app) as client:
        assert (await client.get("/orders")).status == 200
        async with asyncio.timeout(30):
            while not any("left" in each for each in told(caplog)):  # noqa: ASYNC110 - after its answer
                await asyncio.sleep(0.001)
    [said] = [each for each in told(caplog) if "left" in each]
    assert said.startswith("GET /")
    assert said.endswith(": the variable LEFT_BY_A_VIEW of the environment changed")
