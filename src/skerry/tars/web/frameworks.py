"""Remote files in the settings of a framework, before it is set up and whenever they change.

Which file goes where is said by `SKERRY_TARS = {"django.json": "settings"}`: in Django's settings module, in Flask's
`app.config`; `"environ"` instead of `"settings"` means environment variables. `SKERRY_TARS_FILES=app.json=environ` in
the environment does the same for anything else, before the application is imported. Django is asked after its settings
module has been read and before `django.setup()`: what the module computed from other settings is not computed again.

A file is fetched in a thread with a loop of its own, because applications are imported before there is a loop. Values
are not logged.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from skerry.errors import SettingsError
from skerry.tars.communicator import Communicator
from skerry.tars.platform.config import CONFIG, ConfigUnavailable, Loaded, RemoteFiles
from skerry.tars.platform.configuration import Configuration
from skerry.tars.platform.formats import parse
from skerry.tars.platform.identity import identity_of
from skerry.tars.platform.registry import locator_of
from skerry.tars.platform.services import Services
from skerry.tars.web.merging import merge

log = logging.getLogger("skerry.tars.platform")

DECLARED, FILES = "SKERRY_TARS", "SKERRY_TARS_FILES"
ANSWER_SECONDS, WAIT_SECONDS = 3.0, 45.0


class Frameworks:
    """What frameworks of this process have of remote files. Each file is fetched once, and taken over by `services`
    when the loop runs."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def prepare(self) -> None:
        """Before the application is imported: the environment, and what Django will ask for. Raises SettingsError."""
        wanted = dict(
            pair.partition("=")[::2] for pair in os.environ.get(FILES, "").split(",") if pair.strip()
        )
        self.take({name.strip(): into.strip() for name, into in wanted.items()}, None, FILES)
        if self._services.configuration.config and find_spec("django") is not None:
            _ask_from_django(self.take)

    def configure(self, application: Any) -> None:
        """An application that was imported: Flask's `config`, if it declares files."""
        config = getattr(application, "config", None)
        if isinstance(config, Mapping) and config.get(DECLARED):
            self.take(config[DECLARED], config, f"config[{DECLARED!r}]")

    def take(
        self,
        declared: Mapping[str, str],
        settings: Any,
        where: str,
        live: Callable[[], Any] | None = None,
    ) -> None:
        """Fetch the declared files and merge each into `settings`, or the environment. `where` says who declared them;
        `live` gives what later changes are merged into. Raises SettingsError for a file that is not to be had, cannot
        be read, or has nowhere to go."""
        targets = {"environ": os.environ, **({"settings": settings} if settings is not None else {})}
        for name, into in declared.items():
            if into not in targets:
                raise SettingsError(where, f"{name} goes into {' or '.join(targets)}, not {into!r}")
        for fetched in _fetched(self._services.configuration, list(declared)) if declared else ():
            into = declared[fetched.name]
            loaded = self._merged(fetched, targets[into])

            def again(text: str, name: str = loaded.name, into: str = into) -> None:
                target = targets[into] if into == "environ" or live is None else live()
                merge(target, parse(name, text))

            self._services.files.adopt(loaded, again)

    def _merged(self, loaded: Loaded, target: Any) -> Loaded:
        """Merge the text, or the local copy where the text does not fit; what was taken. Raises SettingsError where
        neither is."""
        files = self._services.files
        try:
            names = merge(target, parse(loaded.name, loaded.text))
        except SettingsError as refused:
            kept = files.kept(loaded)
            if kept is None:
                raise
            log.error("%s was refused: %s; starting with the local copy", loaded.name, refused)
            loaded, names = kept, merge(target, parse(kept.name, kept.text))
        else:
            files.keep(loaded)
        log.info("the remote file %s sets %s", loaded.name, ", ".join(names))
        return loaded


def _fetched(configuration: Configuration, names: list[str]) -> list[Loaded]:
    """The files, fetched in a thread; whatever this thread does."""
    found: list[list[Loaded] | BaseException] = []

    def work() -> None:
        try:
            found.append(asyncio.run(_fetch(configuration, names)))
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=work, name="tars-config", daemon=True)
    thread.start()
    thread.join(WAIT_SECONDS)
    answer = found[0] if found else TimeoutError(f"no answer within {WAIT_SECONDS:g} s")
    match answer:
        case ConfigUnavailable() | TimeoutError():
            raise SettingsError("remote configuration", str(answer)) from answer
        case BaseException():
            raise answer
    return answer


async def _fetch(configuration: Configuration, names: list[str]) -> list[Loaded]:
    locator, identity = locator_of(configuration), identity_of(configuration)
    try:
        async with Communicator(
            locator=locator, timeout_seconds=ANSWER_SECONDS, context=dict(identity.context)
        ) as communicator:
            proxy = None
            if configuration.config and (locator is not None or "@" in configuration.config):
                proxy = communicator.proxy(CONFIG.Config, configuration.config)
            files = RemoteFiles(identity, proxy, configuration.base_path or ".")
            return [await files.fetch(name) for name in names]
    finally:
        if locator is not None:
            await locator.close()


def _ask_from_django(take: Callable[..., None]) -> None:
    """Have Django's settings, when they are read, take what they declare."""
    from django import conf

    class RemoteSettings(conf.Settings):  # type: ignore[misc]
        """Django's settings, with the remote files that they declare."""

        def __init__(self, settings_module: str) -> None:
            super().__init__(settings_module)
            if declared := getattr(self, DECLARED, None):
                take(declared, _DjangoSettings(self), DECLARED, lambda: _DjangoSettings(conf.settings))

    conf.Settings = RemoteSettings


class _DjangoSettings:
    """Attributes of Django's settings: capitals only, and remembered as set by the project."""

    def __init__(self, settings: Any) -> None:
        object.__setattr__(self, "_settings", settings)

    def __getattr__(self, name: str) -> Any:  # of every name, before one is set
        if not name.isupper():
            raise SettingsError(name, "is no setting of Django: their names are in capitals")
        return getattr(self._settings, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._settings, name, value)
        explicit = getattr(self._settings, "_explicit_settings", None)
        if isinstance(explicit, set):
            explicit.add(name)
