"""Where an event is left: which journal, and by which SQL.

In a process of ours its site says so. Elsewhere the environment does (SKERRY_JOURNAL, SKERRY_NAMESPACE), or Django's
settings: `SKERRY = {"JOURNAL": "postgresql://...", "NAMESPACE": "shop"}`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any

from skerry.bridge.site import Site, site
from skerry.errors import SettingsError
from skerry.faces import lazily
from skerry.journal.intake import Door

_DOORS = lazily(
    __name__,
    {
        "postgresql": "skerry.backends.postgres.intake:PostgresDoor",
        "sqlite": "skerry.backends.sqlite.door:SqliteDoor",
    },
)


@dataclass(frozen=True, slots=True)
class Place:
    """`site`: None outside of a process of ours. `strict`: see `Site`."""

    door: Door
    site: Site | None
    strict: bool


def place(database: str) -> Place:
    """Where to leave events by a connection to a `database` ("postgresql" or "sqlite"). Raises SettingsError when no
    journal is named, or one that is elsewhere."""
    found = site()
    if found is not None:
        journal, namespace, strict = found.journal, found.namespace, found.strict
    else:
        journal, namespace = _setting("JOURNAL").partition(":")[0], _setting("NAMESPACE")
        strict = _setting("HOST_STRICT").lower() in ("1", "true", "yes", "on")
    journal = {"postgres": "postgresql", "": database}.get(journal, journal)
    if not namespace:
        raise SettingsError(
            "SKERRY_NAMESPACE", "set it (and SKERRY_JOURNAL): emit has to know whose journal the event is for"
        )
    if journal != database:
        raise SettingsError(
            "SKERRY_JOURNAL",
            f"the journal is {journal}:, and this connection leads to {database}: an event is left in the database "
            "that has the journal",
        )
    return Place(_door(database, namespace), found, strict)


@cache
def _door(database: str, namespace: str) -> Door:
    made: Door = _DOORS(database)(namespace)
    return made


def _setting(name: str) -> str:
    """From the environment, else from Django's settings where Django is used."""
    found = os.environ.get(f"SKERRY_{name}", "")
    if found or "django.conf" not in sys.modules:
        return found
    settings: Any = sys.modules["django.conf"].settings
    declared = getattr(settings, "SKERRY", {}) if settings.configured else {}
    return str(declared.get(name, ""))
