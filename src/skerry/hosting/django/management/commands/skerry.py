"""`manage.py skerry`: the project under `skerry host`, or under `skerry up` beside an App."""

from __future__ import annotations

from collections.abc import Sequence

from skerry.hosting.django.checks import exposed
from skerry.hosting.django.management.passing import PassingCommand
from skerry.hosting.django.project import KEPT, host_arguments, kept_arguments, tell_journal


class Command(PassingCommand):
    """See the module."""

    help = (
        "Serve this project. [HOST:]PORT as for runserver, then any option of `skerry host` (see skerry host --help); "
        "those of `skerry up` where SKERRY['APP'] names an App. infra, journal and dead are commands of `skerry` about "
        "that App: `manage.py skerry infra create`."
    )
    requires_system_checks = "__all__"
    requires_migrations_checks = True

    def arguments(self, given: Sequence[str]) -> list[str]:
        if given and given[0] in KEPT:
            tell_journal()
            return kept_arguments(given)
        arguments = host_arguments(given)
        if warning := exposed(arguments):
            self.stderr.write(self.style.WARNING(f"WARNING: {warning.msg} {warning.hint}"))
        tell_journal()
        return arguments
