"""Click options made from the one list of settings, and errors as one clear line."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from skerry.errors import DeclarationError, SettingsError, SkerryError
from skerry.kernel.importing import load_target
from skerry.kernel.settings import Settings, load_settings, options
from skerry.options import options_of

if TYPE_CHECKING:  # a command imports what it uses: the runner of `skerry up` needs no application
    from skerry.app import App
    from skerry.roles.admin import Admin

F = TypeVar("F", bound=Callable[..., Any])


def with_settings(*names: str, group: str = "", but: Sequence[str] = ()) -> Callable[[F], F]:
    """Add the named settings as options (when none is named: all `but` those, and those of `group`); the command gets
    them as keyword arguments, None where the user gave nothing, and hands them to `settings_of`."""

    def decorate(function: F) -> F:
        # Variables and files are read by `load_settings`, for commands and programs alike.
        option_of = partial(click.option, default=None, allow_from_autoenv=False)
        for option in reversed(options()):
            if (names and option.name not in names) or option.name in but or option.group not in ("", group):
                continue
            help = f"{option.help}{_default(option.default)} (${option.variable})"
            if option.multiple:
                function = option_of(
                    option.flag,
                    option.name,
                    multiple=True,
                    metavar=option.name.upper(),
                    help=help,
                    callback=_joined,
                )(function)
            elif option.kind is bool:
                flags = (f"{option.flag}/--no-{option.flag.removeprefix('--')}",)
                function = option_of(*flags, option.name, help=help)(function)
            else:
                metavar = option.name.upper() if option.kind is str else option.kind.__name__.upper()
                function = option_of(option.flag, option.name, metavar=metavar, help=help)(function)
        return option_of(
            "--set",
            "parts",
            multiple=True,
            metavar="NAME=VALUE",
            expose_value=False,
            callback=_part,
            help="a setting of a part, as hub.ping_seconds=10; may be repeated (skerry settings lists them)",
        )(function)

    return decorate


class PartOption(click.Option):
    """A flag of a command for a setting of a part: the command gets it under the setting's own name."""

    def __init__(self, declarations: Sequence[str], *, key: str, **more: Any) -> None:
        super().__init__(declarations, **more)
        self.name = key


def with_part(section: str, record: type, flags: Mapping[str, str]) -> Callable[[F], F]:
    """Add settings of a part as options of their own: field -> flag."""

    def decorate(function: F) -> F:
        known = {option.name: option for option in options_of(record, section)}
        for name, flag in reversed(list(flags.items())):
            option = known[name]
            function = click.option(
                flag, cls=PartOption, key=option.key, default=None, allow_from_autoenv=False,
                metavar="|".join(option.choices) or option.kind.__name__.upper(),
                help=f"{option.help}{_default(option.default)} (${option.variable})",
                **({"multiple": True, "callback": _joined} if option.multiple else {}),
            )(function)  # fmt: skip
        return function

    return decorate


def _default(value: Any) -> str:
    return "" if value in ("", None) else f" [default: {str(value).lower()}]"


def _part(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> None:
    """Settings of parts, among the arguments of the command under their own names."""
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or "." not in name:
            raise click.BadParameter(
                f"{text!r} is not NAME=VALUE, as in hub.ping_seconds=10", context, parameter
            )
        context.params[name.strip().replace("-", "_")] = value


def _joined(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> str | None:
    """A flag that may be repeated, as the setting has it."""
    return ",".join(given) or None


def settings_of(given: dict[str, Any], app: App | None = None) -> Settings:
    """The merged settings, with those that the application declares. Ends the command with exit code 2 and one line
    for a wrong one."""
    try:
        settings = load_settings(given, declared=app.declaration.settings if app else ())
    except SettingsError as error:
        fail(error)
    if app is not None and settings.tokens:
        from skerry.kernel.sessions import declare_sessions

        declare_sessions(app.declaration)  # part of what it keeps
    return settings


def load_app(target: str) -> App:
    """The application that TARGET names. Raises SettingsError, DeclarationError."""
    from skerry.app import App

    found = load_target(target)
    if not isinstance(found, App):
        raise SettingsError("TARGET", f"{target} is a {type(found).__name__}, not a skerry.App")
    return found


def app_of(target: str) -> App:
    """The application that TARGET names. Prints the error and ends with exit code 2 if it cannot be loaded."""
    try:
        return load_app(target)
    except (SettingsError, DeclarationError) as error:
        fail(error)


def fail(error: Exception) -> NoReturn:
    """Say what is wrong in one line, and end with exit code 2."""
    click.echo(f"skerry: {error}", err=True)
    sys.exit(2)


def namespace_of(target: str | None, settings: Settings) -> str:
    """Whose queues and tables. Ends the command with exit code 2 when nobody says."""
    if settings.namespace:
        return settings.namespace
    if target is None:
        fail(SettingsError("namespace", "say whose: TARGET (as in livekv:app) or --namespace"))
    return app_of(target).declaration.namespace


def administer(target: str | None, given: dict[str, Any], work: Callable[[Admin], Awaitable[None]]) -> None:
    """Open the journal that TARGET or the settings name, and do `work` with it. One line and exit code 2 for wrong
    settings, 1 for anything that keeps it from being done."""
    from skerry.roles.admin import open_admin
    from skerry.roles.wiring import plan

    settings = settings_of(given)
    namespace = namespace_of(target, settings)

    async def run() -> None:
        chosen = plan(settings, namespace, one_process=True)
        async with open_admin(settings, chosen, namespace) as admin:
            await work(admin)

    try:
        asyncio.run(run())
    except SettingsError as error:
        fail(error)
    except SkerryError as error:
        click.echo(f"skerry: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
