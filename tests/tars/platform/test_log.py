"""Remote logs: what arrives, what waits, what is dropped and where it goes when the service is away."""

from __future__ import annotations

import asyncio
import logging
import logging.config
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import skerry.tars
from skerry.errors import SettingsError
from skerry.tars.call import Call, serving
from skerry.tars.communicator import Communicator
from skerry.tars.platform import log as remote_log
from skerry.tars.platform.identity import Identity
from skerry.tars.platform.log import LOG, LogSettings, RemoteLog, RemoteLogHandler, Target
from skerry.tars.wire.packet import STATUS_DYED_KEY, RequestPacket
from skerry.testing.tars import TarsPlatform

MAIN = Target()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No gathering pause; the root logger and the process's log are as they were, afterwards."""
    monkeypatch.setattr(remote_log, "GATHER_SECONDS", 0.01)
    monkeypatch.setattr(remote_log, "REST_SECONDS", 0.01)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("skerry.tars.client").setLevel(logging.NOTSET)
    for known in list(logging.Logger.manager.loggerDict.values()):
        if isinstance(known, logging.Logger):
            known.disabled = False  # Django's LOGGING in a test here disables all that exist
    remote_log.install(None)


@asynccontextmanager
async def logging_to(
    platform: TarsPlatform, identity: Identity, folder: Path, last: float = 30.0
) -> AsyncIterator[RemoteLog]:
    async with Communicator(timeout_seconds=30) as communicator:
        proxy = communicator.proxy(LOG.Log, platform.address("log"), context=dict(identity.context))
        remote = RemoteLog(identity, proxy, folder)
        remote_log.install(remote)
        yield remote
        await remote.stop(last)


def logger(name: str, *handlers: logging.Handler) -> logging.Logger:
    made = logging.getLogger(f"tests.remote.{name}")
    made.handlers, made.propagate = list(handlers), False
    made.setLevel(logging.DEBUG)
    return made


async def test_lines_by_file_and_rhythm(
    tars_platform: TarsPlatform, identity: Identity, tmp_path: Path
) -> None:
    """Each handler has a log and a rhythm of its own; order holds within each; what was logged before the loop ran is
    not lost; a traceback belongs to its line."""
    async with logging_to(tars_platform, identity, tmp_path) as remote:
        main = logger("main", RemoteLogHandler())
        orders = logger("orders", RemoteLogHandler("orders", "hour"))
        for number in range(5):
            main.info("main %d", number)
            orders.warning("order %d", number)
        remote.start()
        await tars_platform.until(lambda: remote.sent == 10)
        try:
            raise ValueError("boom")
        except ValueError:
            main.exception("failed")
        await tars_platform.until(lambda: remote.sent == 11)
    text = tars_platform.log.text("", "Demo.PyServer")
    assert [line.rpartition("|")[2] for line in text.splitlines()[:5]] == [
        f"main {number}" for number in range(5)
    ]
    assert "|ERROR|test_log.py:" in text
    assert text.endswith("ValueError: boom\n")
    assert tars_platform.log.text("orders").count("|WARN|") == 5
    kinds = {(each.file, each.format, each.kind) for each in tars_platform.log.batches}
    assert kinds == {("", "%Y%m%d", "day"), ("orders", "%Y%m%d%H", "1hour")}
    assert len(tars_platform.log.batches) == 3
    with pytest.raises(SettingsError, match="day, hour, 10minute"):
        RemoteLogHandler(rhythm="week")


async def test_threads_and_batches(tars_platform: TarsPlatform, identity: Identity, tmp_path: Path) -> None:
    """Any thread may log; no call carries more than 2,000 lines; nothing is lost."""
    async with logging_to(tars_platform, identity, tmp_path) as remote:
        remote.start()

        def work(name: int) -> None:
            for number in range(1500):
                remote.put(MAIN, f"{name} {number}\n")

        threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        await tars_platform.until(lambda: remote.sent == 6000)
        for thread in threads:
            thread.join()
    batches = tars_platform.log.batches
    assert max(len(each.lines) for each in batches) <= 2000
    lines = tars_platform.log.text().splitlines()
    assert [line for line in lines if line.startswith("2 ")] == [f"2 {number}" for number in range(1500)]


def test_the_queue_is_bounded(identity: Identity, tmp_path: Path) -> None:
    """Beyond lines or bytes the oldest go, counted."""
    remote = RemoteLog(identity, None, tmp_path, LogSettings(lines=10, bytes=100))
    for number in range(15):
        remote.put(MAIN, f"{number}\n")
    assert (remote.waiting, remote.dropped) == (10, 5)
    remote.put(MAIN, "x" * 200)
    assert (remote.waiting, remote.dropped) == (1, 15)


async def test_a_log_that_is_away_costs_nothing_else(
    tars_platform: TarsPlatform, identity: Identity, tmp_path: Path
) -> None:
    """Lines go to the local file meanwhile; records about sending go there too, never to the service; later lines
    arrive."""
    async with logging_to(tars_platform, identity, tmp_path) as remote:
        remote_log.attach()
        logging.getLogger("skerry.tars.client").setLevel(logging.DEBUG)
        remote._proxy = skerry.tars.configure(remote._proxy, timeout_seconds=0.1)
        tars_platform.take_away("log")
        remote.start()
        remote.put(MAIN, "while away\n")
        await tars_platform.until(lambda: remote.failed)
        await tars_platform.until(lambda: "1 lines are here" in spooled(tmp_path))
        assert spooled(tmp_path).startswith("while away\n")
        assert remote.problem
        tars_platform.bring_back("log")
        remote._proxy = skerry.tars.configure(remote._proxy, timeout_seconds=30)

        async def again() -> None:
            while not remote.sent:
                remote.put(MAIN, "back\n")
                await asyncio.sleep(0.02)

        await asyncio.wait_for(again(), 60)
        assert remote.problem == ""
    assert "back\n" in tars_platform.log.text()
    assert "while away" not in tars_platform.log.text()


def spooled(folder: Path) -> str:
    """The lines in the local file."""
    files = folder.glob("Demo/PyServer/Demo.PyServer.remote.error_*.log")
    return "".join(path.read_text(encoding="utf-8") for path in files)


async def test_what_is_left_at_the_end_is_kept(
    tars_platform: TarsPlatform, identity: Identity, tmp_path: Path
) -> None:
    """Stopping sends the rest; without the service the rest is in the local file."""
    async with logging_to(tars_platform, identity, tmp_path) as remote:
        remote.start()
        remote.put(MAIN, "the last line\n")
    assert tars_platform.log.text() == "the last line\n"
    tars_platform.take_away("log")
    async with logging_to(tars_platform, identity, tmp_path, last=0.1) as remote:
        remote.start()
        remote.put(MAIN, "nobody takes this\n")
    assert "nobody takes this\n" in spooled(tmp_path)


async def test_dyed_requests(tars_platform: TarsPlatform, identity: Identity, tmp_path: Path) -> None:
    """What is logged while a dyed call is served is in the dyeing log too, at the service and here."""
    async with logging_to(tars_platform, identity, tmp_path) as remote:
        remote.start()
        main = logger("dyed", RemoteLogHandler("orders"))
        packet = RequestPacket(message_type=4, status={STATUS_DYED_KEY: "user 17"})
        token = serving.set(Call(packet, ("1.2.3.4", 1), 0.0))
        main.info("inside")
        serving.reset(token)
        main.info("outside")
        await tars_platform.until(lambda: remote.sent == 3)
    dyed = [each for each in tars_platform.log.batches if each.app == "tars_dyeing"]
    assert [(each.server, each.file, len(each.lines)) for each in dyed] == [("dyeing", "roll", 1)]
    assert dyed[0].lines[0].startswith("Demo.PyServer|user 17|")
    assert (tmp_path / "tars_dyeing" / "dyeing.log").read_text(encoding="utf-8") == dyed[0].lines[0]
    assert len(tars_platform.log.text("orders").splitlines()) == 2


DJANGO: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": True,
    "formatters": {"short": {"format": "%(name)s: %(message)s"}},
    "handlers": {
        "tars": {
            "class": "skerry.tars.RemoteLogHandler",
            "file": "orders",
            "rhythm": "hour",
            "formatter": "short",
        },
        "console": {"class": "logging.NullHandler"},
    },
    "loggers": {"tests.remote.shop": {"handlers": ["tars"], "level": "DEBUG", "propagate": False}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}


async def test_with_djangos_logging(tars_platform: TarsPlatform, identity: Identity, tmp_path: Path) -> None:
    """A LOGGING dictionary may name the handler, and may replace the root's: attaching again brings ours back, once."""
    async with logging_to(tars_platform, identity, tmp_path) as remote:
        remote_log.attach("INFO")
        logging.config.dictConfig(DJANGO)
        assert not any(isinstance(each, RemoteLogHandler) for each in logging.getLogger().handlers)
        remote_log.attach("INFO")
        remote_log.attach("INFO")
        logging.getLogger("tests.remote.shop").debug("sold")
        logging.getLogger("tests.remote.other").info("through the root")
        logging.getLogger("tests.remote.other").debug("not asked for")
        remote.start()
        await tars_platform.until(lambda: remote.sent == 2)
    assert tars_platform.log.text("orders") == "tests.remote.shop: sold\n"
    assert tars_platform.log.text().endswith("|through the root\n")


def test_levels(identity: Identity, tmp_path: Path) -> None:
    """The platform's names; NONE is silence; another is told."""
    remote = RemoteLog(identity, None, tmp_path)
    remote_log.install(remote)
    remote_log.attach("NONE")
    logging.getLogger("tests.remote.level").critical("nobody reads this")
    assert remote.waiting == 0
    remote_log.attach("warn")
    logging.getLogger("tests.remote.level").warning("x")
    assert remote.waiting == 1
    with pytest.raises(SettingsError, match="NONE, ERROR, WARN, INFO, DEBUG, not 'loud'"):
        remote_log.attach("loud")
