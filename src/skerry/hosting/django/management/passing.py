"""A command of `manage.py` that becomes one of `skerry`: options that Django knows are its own, all others are passed
on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError, handle_default_options
from django.db import connections

from skerry.errors import SettingsError
from skerry.hosting.program import become_skerry


class PassingCommand(BaseCommand):  # type: ignore[misc]
    """`arguments` says what `skerry` is called with."""

    missing_args_message = ""

    def arguments(self, given: Sequence[str]) -> list[str]:
        """Raises SettingsError."""
        raise NotImplementedError

    def run_from_argv(self, argv: list[str]) -> None:
        self._called_from_command_line = True
        parser = self.create_parser(argv[0], argv[1], allow_abbrev=False)
        options, given = parser.parse_known_args(argv[2:])
        handle_default_options(options)
        try:
            self.execute(given=given, **vars(options))
        except (CommandError, SettingsError) as error:
            if options.traceback:
                raise
            self.stderr.write(f"{type(error).__name__}: {error}")
            sys.exit(getattr(error, "returncode", 2))

    def handle(self, *args: str, given: Sequence[str] = (), **options: Any) -> NoReturn:
        arguments = self.arguments([*args, *given])
        connections.close_all()
        become_skerry(arguments)
