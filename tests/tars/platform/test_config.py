"""Remote files: what is kept beside the server, and what happens when the service, the file or the handler says no."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import skerry.tars
from skerry.errors import SettingsError
from skerry.tars.communicator import Communicator
from skerry.tars.platform.config import CONFIG, ConfigRefused, ConfigUnavailable, RemoteFiles
from skerry.tars.platform.identity import Identity
from skerry.testing.tars import TarsPlatform

NAME = "flags.json"


@asynccontextmanager
async def files(platform: TarsPlatform, folder: Path, identity: Identity) -> AsyncIterator[RemoteFiles]:
    async with Communicator(timeout_seconds=30) as communicator:
        proxy = communicator.proxy(CONFIG.Config, platform.address("config"), context=dict(identity.context))
        remote = RemoteFiles(identity, proxy, folder)
        yield remote
        await remote.stop()


def impatient(remote: RemoteFiles) -> None:
    remote._proxy = skerry.tars.configure(remote._proxy, timeout_seconds=0.2)


def put(platform: TarsPlatform, text: str) -> None:
    platform.config.put("Demo", "PyServer", NAME, text)


def texts(folder: Path) -> dict[str, str]:
    return {
        path.name: path.read_bytes().decode() for path in folder.iterdir() if not path.name.startswith(".")
    }


async def test_copies_and_backups_as_tarscpp(
    tars_platform: TarsPlatform, identity: Identity, tmp_path: Path
) -> None:
    """The file, and the five that were before it, newest first; an unchanged one moves nothing."""
    tars_platform.config.limit = None
    async with files(tars_platform, tmp_path / "bin", identity) as remote:
        for number in range(7):
            put(tars_platform, f'{{"n": {number}}}\r\n')
            assert await remote.refresh(NAME) == f"[succ] get remote config:{NAME}"
        await remote.refresh(NAME)
    kept = texts(tmp_path / "bin")
    assert kept == {NAME: '{"n": 6}\r\n'} | {
        f"{NAME}.{back}.bak": f'{{"n": {6 - back}}}\r\n' for back in range(1, 6)
    }


async def test_what_is_missing_replaces_nothing(
    tars_platform: TarsPlatform, identity: Identity, tmp_path: Path
) -> None:
    """A file that is gone is answered with 0 and an empty text; the good copy stays. Without one, the start says so."""
    async with files(tars_platform, tmp_path, identity) as remote:
        with pytest.raises(ConfigUnavailable, match="the service has no such file"):
            await remote.load(NAME)
        put(tars_platform, "{}")
        await remote.refresh(NAME)
        tars_platform.config.remove("Demo", "PyServer", NAME)
        assert "use the local config" in await remote.refresh(NAME)
        assert (await remote.load(NAME)).text == "{}"
    assert texts(tmp_path) == {NAME: "{}"}


async def test_too_often_means_the_local_copy_and_a_later_try(
    tars_platform: TarsPlatform, identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """429: what is here is used; when it is asked again, handlers get what is new."""
    seen: list[str] = []
    async with files(tars_platform, tmp_path, identity) as remote:
        remote.on(NAME, seen.append)
        put(tars_platform, '{"v": 1}')
        await remote.start()
        tars_platform.config.limit = 0
        put(tars_platform, '{"v": 2}')
        monkeypatch.setattr("skerry.tars.platform.config.TOO_OFTEN_SECONDS", 0.05)
        assert "429" in await remote.refresh(NAME)
        assert seen == ['{"v": 1}']
        assert remote.problems == (NAME,)
        tars_platform.config.limit = None
        await tars_platform.until(lambda: len(seen) == 2)
        assert seen[1] == '{"v": 2}'
        await tars_platform.until(lambda: texts(tmp_path)[NAME] == '{"v": 2}')
        assert not remote.problems


async def test_a_first_start_that_is_told_429_waits_for_its_turn_or_a_siblings_copy(
    tars_platform: TarsPlatform, identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a copy there is nothing to start with: the process waits, and ends when nothing comes."""
    put(tars_platform, '{"v": 1}')
    tars_platform.config.limit = 0
    monkeypatch.setattr("skerry.tars.platform.config.COPY_SECONDS", 0.01)
    monkeypatch.setattr("skerry.tars.platform.config.ASK_SECONDS", 0.05)
    async with files(tars_platform, tmp_path / "none", identity) as remote:
        with pytest.raises(ConfigUnavailable, match="429"):
            await remote.fetch(NAME)
    assert tars_platform.config.loads == 4
    monkeypatch.setattr("skerry.tars.platform.config.ASK_SECONDS", 60.0)
    seen: list[str] = []
    async with files(tars_platform, tmp_path, identity) as remote:
        remote.on(NAME, seen.append)
        starting = asyncio.create_task(remote.start())
        await tars_platform.until(lambda: tars_platform.config.loads == 5)
        (tmp_path / NAME).write_text('{"v": 1}', encoding="utf-8")
        await starting
        assert seen == ['{"v": 1}']
        assert remote.problems == (NAME,)


async def test_a_service_that_is_away(
    tars_platform: TarsPlatform, identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server starts with its local copies and has the new text when the service is back."""
    monkeypatch.setattr("skerry.tars.platform.config.AGAIN_SECONDS", 0.05)
    (tmp_path / NAME).write_text('{"v": "old"}', encoding="utf-8")
    put(tars_platform, '{"v": "new"}')
    tars_platform.take_away("config")
    seen: list[str] = []
    async with files(tars_platform, tmp_path, identity) as remote:
        remote.on(NAME, seen.append)
        impatient(remote)
        await remote.start()
        assert seen == ['{"v": "old"}']
        tars_platform.bring_back("config")
        await tars_platform.until(lambda: len(seen) == 2)
    assert seen[1] == '{"v": "new"}'


async def test_a_refused_file_changes_nothing(
    tars_platform: TarsPlatform, identity: Identity, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The handler that raises keeps the old one in force: here, in other handlers, on disk. The log names what differs,
    without values."""
    first: list[str] = []
    second: list[str] = []

    async def careful(text: str) -> None:
        if "bad" in text:
            raise ValueError("no")
        second.append(text)

    put(tars_platform, '{"password": "hunter2"}')
    async with files(tars_platform, tmp_path, identity) as remote:
        remote.on(NAME, first.append)
        remote.on(NAME, careful)
        await remote.start()
        put(tars_platform, '{"password": "hunter3", "bad": 1}')
        with caplog.at_level(logging.INFO, logger="skerry.tars.platform"):
            assert (
                await remote.refresh(NAME)
                == f"[fail] get remote config '{NAME}' error:{NAME} was refused: no"
            )
        good = '{"password": "hunter2"}'
        assert (first[-1], second, texts(tmp_path)) == (good, [good], {NAME: good})
        assert remote.in_force == {NAME: good}
        assert "+bad, ~password" in caplog.text
        assert "hunter" not in caplog.text
        # a sibling's copy can be taken, too
        (tmp_path / NAME).write_text("{}", encoding="utf-8")
        assert await remote.reread(NAME) == f"[succ] reread:{NAME}"
        assert second[-1] == "{}"


async def test_a_start_with_a_refused_file(
    tars_platform: TarsPlatform, identity: Identity, tmp_path: Path
) -> None:
    """The last good copy is used; without one the server does not start."""

    def handler(text: str) -> None:
        if "bad" in text:
            raise ValueError("no")

    put(tars_platform, '{"bad": 1}')
    async with files(tars_platform, tmp_path, identity) as remote:
        remote.on(NAME, handler)
        with pytest.raises(ConfigRefused, match="no"):
            await remote.start()
        await remote.stop()
        (tmp_path / NAME).write_text("{}", encoding="utf-8")
        await remote.start()
        assert remote.in_force == {NAME: "{}"}


async def test_sets_and_nodes(tars_platform: TarsPlatform, tmp_path: Path) -> None:
    """A server in a set asks for its set's file; the node's own text is joined to it."""
    center = tars_platform.config
    center.put("Demo", "PyServer", NAME, "a=1")
    center.put("Demo", "PyServer", NAME, "b=2", host="n1")
    center.put("Demo", "PyServer", NAME, "a=3", set_division="web.north.1")
    async with files(tars_platform, tmp_path, Identity("Demo", "PyServer", "n1")) as remote:
        assert (await remote.fetch(NAME)).text == "a=1\r\n\r\nb=2"
    async with files(tars_platform, tmp_path, Identity("Demo", "PyServer", "n2", "web.north.1")) as remote:
        assert (await remote.fetch(NAME)).text == "a=3"


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", ""])
async def test_names_stay_in_the_base_path(name: str, tmp_path: Path, identity: Identity) -> None:
    """The platform's page cannot have files written elsewhere."""
    remote = RemoteFiles(identity, None, tmp_path)
    with pytest.raises(SettingsError, match="base path"):
        remote.on(name, print)
    assert (await remote.refresh(name)).startswith("[fail]")
