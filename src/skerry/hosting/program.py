"""The `skerry` program in the place of this one: for the commands that frameworks have (`manage.py skerry`, `flask
skerry`). The process id stays, so a parent that started the one watches the other."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import NoReturn


def become_skerry(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by `skerry ARGUMENTS`: same interpreter, same environment, same path of modules."""
    keep_path(os.environ, sys.path[0], str(Path.cwd()))
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "skerry", *arguments])


def host_arguments(
    target: str,
    given: Sequence[str],
    *,
    app: str = "",
    debug: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> list[str]:
    """`skerry host TARGET` with the arguments that a framework's command was given, or `skerry up APP`. A first one
    without a dash is an address, [HOST:]PORT. With `debug`, and unless the user says otherwise, one process is replaced
    when a file changes."""
    arguments = list(given)
    if arguments and not arguments[0].startswith("-"):
        first = arguments[0]
        arguments[:1] = ["--bind", f"127.0.0.1:{first}" if first.isdecimal() else first]
    if debug and not says(arguments, ("--reload", "--no-reload"), environ, "SKERRY_RELOAD"):
        arguments.append("--reload")
    if app:
        return ["up", app, *arguments]
    if debug and not says(arguments, ("--hosts",), environ, "SKERRY_HOST_PROCESSES"):
        arguments += ["--hosts", "1"]
    return ["host", target, *arguments]


def keep_path(environ: MutableMapping[str, str], first: str, here: str) -> None:
    """Have modules found where this process finds them first, which may be where its script lies and not `here`."""
    known = environ.get("PYTHONPATH", "").split(os.pathsep) if environ.get("PYTHONPATH") else []
    if first and first != here and first not in known:
        environ["PYTHONPATH"] = os.pathsep.join([first, *known])


def says(arguments: Sequence[str], flags: Sequence[str], environ: Mapping[str, str], variable: str) -> bool:
    """Whether the user has said something about an option: by one of its flags, or by its variable."""
    return variable in environ or any(each.partition("=")[0] in flags for each in arguments)
