"""`manage.py tars`: the project as a servant of a Tars platform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from skerry.hosting.django.management.passing import PassingCommand
from skerry.hosting.django.project import tars_arguments


class Command(PassingCommand):
    """Without system checks: the node waits for the server, and its settings come from the platform later."""

    help = (
        "Run this project under the Tars platform: --config=FILE [start|stop|restart], as the node calls it (see "
        "skerry tars run --help). SKERRY['TARS'] may name a skerry.tars.Service."
    )
    requires_system_checks: ClassVar[list[str]] = []

    def arguments(self, given: Sequence[str]) -> list[str]:
        return tars_arguments(given)
