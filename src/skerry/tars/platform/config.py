"""Remote files: fetched from `tars.tarsconfig.ConfigObj`, kept beside the server, given to their handlers.

A file is in force when its handlers have taken it: one that raises refuses it, and the old text stays, in memory and on
disk. When the configuration service is away, does not have the file, or has been asked too often (429), the local copy
is used, and it is asked again later. What a file means is not known here (`formats`, `tars/web`).

Source: TarsCpp `RemoteConfig`: two tries, `FILE` under the base path, `FILE.1.bak` (newest) to `FILE.5.bak`, the texts
of its replies. A file that does not exist is answered with return code 0 and an empty text: that replaces nothing.
"""

from __future__ import annotations

import asyncio
import fcntl
import inspect
import logging
import os
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skerry.errors import SettingsError
from skerry.tars.call_errors import CallError
from skerry.tars.errors import TarsError
from skerry.tars.platform.formats import differences
from skerry.tars.platform.identity import Identity
from skerry.tars.platform.interfaces import interfaces

log = logging.getLogger("skerry.tars.platform")

CONFIG: Any = interfaces("ConfigF")
TRIES, BACKUPS = 2, 5
TOO_OFTEN = 429
AGAIN_SECONDS, TOO_OFTEN_SECONDS = 30.0, 65.0
COPY_SECONDS, ASK_SECONDS, ASKS = 0.5, 10.0, 4
"""A server that starts, has no copy, and was told 429: how often it looks whether a sibling has made one, how long it
waits before it asks again, and how often it asks in all."""

Handler = Callable[[str], Awaitable[None] | None]


class ConfigUnavailable(TarsError):
    """A remote file is neither at the configuration service nor here. The text says why."""


class ConfigRefused(TarsError):
    """A handler did not take a file; its exception is the cause."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A text and where it came from. `problem`: why it is the local copy, empty when it came from the service."""

    name: str
    text: str
    problem: str = ""


class RemoteFiles:
    """The remote files of a server. `proxy` is one of Config, None for a server without the service; `folder` is the
    base path, where copies are kept."""

    def __init__(self, identity: Identity, proxy: Any, folder: str | Path) -> None:
        self._identity, self._proxy, self._folder = identity, proxy, Path(folder)
        self._handlers: dict[str, list[Handler]] = {}
        self._in_force: dict[str, str] = {}
        self._waiting: dict[str, float] = {}
        self._wake, self._changing = asyncio.Event(), asyncio.Lock()
        self._later: asyncio.Task[None] | None = None

    @property
    def in_force(self) -> dict[str, str]:
        """The texts that handlers took, by name."""
        return dict(self._in_force)

    @property
    def problems(self) -> tuple[str, ...]:
        """Names of files that are to be asked for again."""
        return tuple(self._waiting)

    def on(self, name: str, handler: Handler) -> None:
        """Have `handler` called with the text of `name`: when the server starts and whenever the platform says so.
        SettingsError for a name that leads out of the base path."""
        _checked(name)
        self._handlers.setdefault(name, []).append(handler)

    def adopt(self, loaded: Loaded, handler: Handler) -> None:
        """As `on`, for a file that has been fetched and handed over before the loop ran."""
        self.on(loaded.name, handler)
        self._in_force[loaded.name] = loaded.text
        if loaded.problem:
            self._ask_again(loaded.name, AGAIN_SECONDS)

    async def start(self) -> None:
        """Load every file that has a handler. Raises ConfigUnavailable and ConfigRefused: a server that cannot have its
        configuration does not start."""
        self._later = asyncio.get_running_loop().create_task(self._again())
        for name in [name for name in self._handlers if name not in self._in_force]:
            loaded = await self._load_patiently(name)
            try:
                await self._hand(name, loaded.text)
            except ConfigRefused as refused:
                kept = self.kept(loaded)
                if kept is None:
                    raise
                log.error("%s; starting with the local copy", refused, exc_info=refused.__cause__)
                await self._hand(name, kept.text)
            else:
                self.keep(loaded)

    async def stop(self) -> None:
        """Ask no more."""
        if self._later is not None:
            self._later.cancel()
            await asyncio.gather(self._later, return_exceptions=True)
            self._later = None

    async def load(self, name: str) -> Loaded:
        """The text of a file, from the service, else from the local copy; nothing is stored. ConfigUnavailable when
        there is neither."""
        _checked(name)
        try:
            text = await self._fetch(name)
        except _Unfetched as problem:
            local = self._local(name)
            if local is None:
                raise ConfigUnavailable(
                    f"there is no remote file {name} ({problem}) and no copy in {self._folder}"
                ) from problem
            log.warning("%s: using the local copy, %s", name, problem)
            self._ask_again(name, problem.seconds)
            return Loaded(name, local, str(problem))
        self._waiting.pop(name, None)
        return Loaded(name, text)

    async def fetch(self, name: str) -> Loaded:
        """As `load`, for files without handlers: a server that starts waits a while for its turn. `keep` is
        called once the text was taken."""
        return await self._load_patiently(name)

    def keep(self, loaded: Loaded) -> None:
        """The text was taken: it is the local copy from now on."""
        if not loaded.problem:
            self._store(loaded.name, loaded.text)

    def kept(self, loaded: Loaded) -> Loaded | None:
        """The local copy in the place of a text that was refused; None where there is no other."""
        local = self._local(loaded.name)
        return None if loaded.problem or not local or local == loaded.text else Loaded(loaded.name, local)

    async def _load_patiently(self, name: str) -> Loaded:
        """As `load`. Many processes that start at once ask too often: those that have no copy wait for the first
        one's, or for their turn."""
        for left in reversed(range(ASKS)):
            try:
                return await self.load(name)
            except ConfigUnavailable as error:
                cause = error.__cause__
                if not left or not isinstance(cause, _Unfetched) or not cause.too_often:
                    raise
            for _ in range(int(ASK_SECONDS / COPY_SECONDS)):
                await asyncio.sleep(COPY_SECONDS)
                if (local := self._local(name)) is not None:
                    self._ask_again(name, TOO_OFTEN_SECONDS)
                    return Loaded(name, local, "it was asked for too often (429)")
        raise AssertionError("the last question returns or raises")

    async def refresh(self, name: str) -> str:
        """The command `tars.loadconfig NAME`: fetch it, hand it to its handlers, keep it when they take it. Returns
        what the platform's page shows, `[succ] ...` or `[fail] ...`."""
        try:
            loaded = await self.load(name)
            if loaded.problem:
                if self._handlers.get(name) and loaded.text != self._in_force.get(name):
                    await self._hand(name, loaded.text)  # a sibling has fetched it, perhaps
                local = f"use the local config: {self._folder / name}"
                return f"[fail] get remote config:{name} fail ({loaded.problem}), {local}"
            await self._change(name, loaded.text)
        except (TarsError, SettingsError, OSError) as error:
            return f"[fail] get remote config '{name}' error:{error}"
        return f"[succ] get remote config:{name}"

    async def reread(self, name: str) -> str:
        """The local copy is in force, if its handlers take it: for a process whose sibling has fetched it."""
        try:
            text = self._local(_checked(name))
            if text is None:
                raise ConfigUnavailable(f"there is no {self._folder / name}")
            await self._hand(name, text)
        except (TarsError, SettingsError) as error:
            return f"[fail] reread '{name}' error:{error}"
        return f"[succ] reread:{name}"

    async def _change(self, name: str, text: str) -> None:
        async with self._changing:
            old = self._in_force.get(name, self._local(name) or "")
            changes = _listed(differences(name, old, text))
            try:
                await self._hand(name, text)
            except ConfigRefused as refused:
                told = "%s; the old one stays in force. The new one differs in: %s"
                log.error(told, refused, changes, exc_info=refused.__cause__)
                raise
            self._store(name, text)
            log.info("the remote file %s is in force, changed: %s", name, changes)

    async def _hand(self, name: str, text: str) -> None:
        """Every handler, in order. When one raises, those before it get the old text again."""
        old = self._in_force.get(name)
        taken: list[Handler] = []
        for handler in self._handlers.get(name, ()):
            try:
                await _call(handler, text)
            except Exception as error:
                if old is not None:
                    await self._give_back(name, taken, old)
                raise ConfigRefused(f"{name} was refused: {error}") from error
            taken.append(handler)
        self._in_force[name] = text

    async def _give_back(self, name: str, handlers: list[Handler], old: str) -> None:
        for handler in handlers:
            try:
                await _call(handler, old)
            except Exception:
                log.exception("a handler of %s does not take back what it had", name)

    async def _fetch(self, name: str) -> str:
        """The text at the service; _Unfetched says why there is none."""
        if self._proxy is None:
            raise _Unfetched("the server's file names no configuration service", None)
        for left in reversed(range(TRIES)):
            try:
                code, text = await self._ask(name)
                break
            except CallError as error:
                if not left:
                    raise _Unfetched(str(error), AGAIN_SECONDS) from error
        if code == TOO_OFTEN:
            raise _Unfetched("it was asked for too often (429)", TOO_OFTEN_SECONDS, too_often=True)
        if code != 0:
            raise _Unfetched(f"the service answered {code}", AGAIN_SECONDS)
        if not text:
            raise _Unfetched("the service has no such file", None)
        return text

    async def _ask(self, name: str) -> tuple[int, str]:
        me = self._identity
        if me.set_division:
            info = CONFIG.ConfigInfo(
                appname=me.app,
                servername=me.server,
                filename=name,
                bAppOnly=False,
                host=me.node,
                setdivision=me.set_division,
            )
            result = await self._proxy.loadConfigByInfo(info)
        else:
            result = await self._proxy.loadConfig(me.app, me.server, name)
        return result.ret, result.config

    def _local(self, name: str) -> str | None:
        try:
            return (self._folder / name).read_bytes().decode("utf-8", "surrogateescape") or None
        except OSError:
            return None

    def _store(self, name: str, text: str) -> None:
        """Replace the local copy if it differs; the old one becomes the newest backup. One process at a time."""
        path = self._folder / name
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(self._folder / f".{name}.lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._local(name) == text:
                return
            new = self._folder / f"{name}.{int(time.time())}"
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "wb") as file:
                file.write(text.encode("utf-8", "surrogateescape"))
            for number in range(BACKUPS - 1, 0, -1):
                if (backup := self._folder / f"{name}.{number}.bak").exists():
                    backup.replace(self._folder / f"{name}.{number + 1}.bak")
            if path.exists():
                path.replace(self._folder / f"{name}.1.bak")
            new.replace(path)

    def _ask_again(self, name: str, seconds: float | None) -> None:
        if seconds is not None:
            self._waiting[name] = time.monotonic() + seconds * random.uniform(1.0, 1.5)
            self._wake.set()

    async def _again(self) -> None:
        """Ask for what was not to be had, when its time has come; handlers hear of what is new."""
        while True:
            self._wake.clear()
            due = min(self._waiting.values(), default=None)
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - time.monotonic())):
                    await self._wake.wait()
                    continue
            except TimeoutError:
                pass
            for name in [name for name, at in self._waiting.items() if at <= time.monotonic()]:
                del self._waiting[name]
                try:
                    loaded = await self.load(name)
                    if not loaded.problem and loaded.text != self._in_force.get(name):
                        await self._change(name, loaded.text)
                except (TarsError, OSError) as error:
                    log.warning("%s: %s", name, error)


class _Unfetched(TarsError):
    """Why there is no remote text; `seconds` until it makes sense to ask again, None: never."""

    def __init__(self, problem: str, seconds: float | None, *, too_often: bool = False) -> None:
        super().__init__(problem)
        self.seconds, self.too_often = seconds, too_often


async def _call(handler: Handler, text: str) -> None:
    answer = handler(text)
    if inspect.isawaitable(answer):
        await answer


def _checked(name: str) -> str:
    if not name or name != os.path.basename(name) or name.startswith("."):
        raise SettingsError("a remote file", f"is named as a file in the base path, not {name!r}")
    return name


def _listed(changes: tuple[str, ...]) -> str:
    shown = ", ".join(changes[:20])
    return f"{shown} and {len(changes) - 20} more" if len(changes) > 20 else shown or "nothing"
