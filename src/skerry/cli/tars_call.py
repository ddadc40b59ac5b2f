"""`skerry tars call`, `ping` and `admin`: one request from the shell, and its answer.

Arguments and results are JSON, by the names that the IDL has. Not for programs: those use a `Communicator`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from skerry.errors import SettingsError
from skerry.tars.call_errors import CallError
from skerry.tars.communicator import Communicator
from skerry.tars.endpoint import Endpoint, ObjectAddress
from skerry.tars.errors import TarsError
from skerry.tars.idl.loader import load
from skerry.tars.platform.configuration import ADMIN_OBJECT, Configuration
from skerry.tars.platform.identity import identity_of
from skerry.tars.platform.interfaces import interfaces
from skerry.tars.platform.registry import RegistryLocator
from skerry.tars.proxy import ping as ping_proxy
from skerry.tars.wire.interface import Function, Interface, interface_of

R = TypeVar("R")
JSON_VERSION = 5
_CONFIG = click.option(
    "--config",
    default="",
    metavar="FILE",
    help="the node's file of a server: for its own objects, or its locator",
)
_LOCATOR = click.option(
    "--locator", default="", metavar="ADDRESS", help="tars.tarsregistry.QueryObj@tcp -h HOST -p 17890"
)
_TIMEOUT = click.option("--timeout", default=3.0, show_default=True, metavar="SECONDS")


@click.command("call")
@click.argument("address", metavar="OBJECT")
@click.argument("function")
@click.argument("arguments", metavar="[JSON]", default="{}")
@click.option("--idl", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--include", multiple=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--interface", "wanted", default="", help="which one, when several have the function")
@click.option("--context", multiple=True, metavar="KEY=VALUE", help="travels with the request; repeatable")
@_LOCATOR
@_CONFIG
@_TIMEOUT
def call(
    address: str,
    function: str,
    arguments: str,
    idl: Path,
    include: tuple[Path, ...],
    wanted: str,
    context: tuple[str, ...],
    locator: str,
    config: str,
    timeout: float,
) -> None:
    """Call FUNCTION of OBJECT and print its result.

    OBJECT is App.Server.Obj@tcp -h HOST -p PORT, or a bare name with --locator or --config. JSON is an object of
    arguments by name, or a list of them in order; - reads it from the standard input. The result is printed as JSON:
    tars_ret is the return value, out parameters stand beside it.
    """

    async def work() -> str:
        parsed = ObjectAddress.parse(address)
        interface, found = _function(idl, include, function, wanted)
        given = _arguments(found, sys.stdin.read() if arguments == "-" else arguments)
        pairs = dict(pair.partition("=")[::2] for pair in context)
        async with _communicator(locator, config, timeout) as (communicator, _):
            endpoints = parsed.endpoints or _own_endpoints(config, parsed.name)
            proxy = communicator.proxy(
                interface, str(ObjectAddress(parsed.name, endpoints)) if endpoints else address, context=pairs
            )
            result = await getattr(proxy, found.python_name)(*given)
        text = found.encode_result(result, JSON_VERSION).decode("utf-8", "replace")
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)

    click.echo(_run(work()))


@click.command("ping")
@click.argument("address", metavar="OBJECT")
@_LOCATOR
@_CONFIG
@_TIMEOUT
def ping(address: str, locator: str, config: str, timeout: float) -> None:
    """Ping every endpoint of OBJECT. Exit code 1 when one does not answer, or there is none."""

    async def work() -> bool:
        parsed = ObjectAddress.parse(address)
        async with _communicator(locator, config, timeout) as (communicator, registry):
            endpoints = parsed.endpoints or _own_endpoints(config, parsed.name)
            if not endpoints and registry is not None:
                endpoints = (await registry.find(parsed.name)).active
            if not endpoints:
                raise click.ClickException(
                    f"{parsed.name} has no endpoint; give one, or --locator or --config"
                )
            alive = True
            for endpoint in endpoints:
                proxy = communicator.proxy(interfaces("AdminF").AdminF, f"{parsed.name}@{endpoint}")
                began = time.perf_counter()
                try:
                    await ping_proxy(proxy)
                except CallError as error:
                    alive = False
                    click.echo(f"{endpoint}: {error}")
                else:
                    click.echo(f"{endpoint}: {1000 * (time.perf_counter() - began):.1f} ms")
            return alive

    if not _run(work()):
        raise SystemExit(1)


@click.command("admin")
@click.argument("command", nargs=-1, required=True)
@click.option("--config", required=True, metavar="FILE", help="the node's file of the server")
@click.option("--timeout", default=10.0, show_default=True, metavar="SECONDS")
def admin(command: tuple[str, ...], config: str, timeout: float) -> None:
    """Send COMMAND to a running server on this machine, as the platform's web page does: tars.help lists them."""

    async def work() -> str:
        configuration = Configuration.read(config)
        if configuration.local is None:
            raise SettingsError("--config", f"{config} has no local=: the server has no admin port")
        async with Communicator(timeout_seconds=timeout) as communicator:
            proxy: Any = communicator.proxy(
                interfaces("AdminF").AdminF, f"{ADMIN_OBJECT}@{configuration.local}"
            )
            return str(await proxy.notify(" ".join(command)))

    click.echo(_run(work()).rstrip("\n"))


@asynccontextmanager
async def _communicator(
    locator: str, config: str, timeout: float
) -> AsyncIterator[tuple[Communicator, RegistryLocator | None]]:
    configuration = Configuration.read(config) if config else None
    address = locator or (configuration.client.locator if configuration is not None else "")
    found = None
    if address:
        identity = identity_of(configuration) if configuration is not None else None
        found = RegistryLocator(address, identity, timeout_seconds=timeout)
    try:
        async with Communicator(locator=found, timeout_seconds=timeout) as communicator:
            yield communicator, found
    finally:
        if found is not None:
            await found.close()


def _own_endpoints(config: str, name: str) -> tuple[Endpoint, ...]:
    """Where the server of a file has an object itself; nothing for those of others."""
    adapters = Configuration.read(config).adapters if config else ()
    return tuple(each.endpoint for each in adapters if each.servant == name)


def _run(work: Coroutine[Any, Any, R]) -> R:
    try:
        return asyncio.run(work)
    except CallError as error:
        raise click.ClickException(str(error)) from None
    except SettingsError as error:
        click.echo(f"skerry: {error}", err=True)
        raise SystemExit(2) from None
    except TarsError as error:
        raise click.ClickException(str(error)) from None


def _function(file: Path, include: tuple[Path, ...], name: str, wanted: str) -> tuple[type[Any], Function]:
    """The interface class that has the function, and the function."""
    found: list[tuple[type[Any], Interface]] = []
    known: list[str] = []
    for module in vars(load(file, include)).values():
        for cls in vars(module).values() if hasattr(module, "__dict__") else ():
            try:
                interface = interface_of(cls) if isinstance(cls, type) else None
            except TypeError:
                continue
            if interface is None or wanted not in ("", interface.name, interface.name.rpartition(".")[2]):
                continue
            known += interface.functions
            if name in interface.functions and all(other is not interface for _, other in found):
                found.append((cls, interface))
    if not found:
        listed = ", ".join(sorted(set(known))) or "none"
        raise click.ClickException(
            f"{file} has no function {name}{' in ' + wanted if wanted else ''}; it has {listed}"
        )
    if len(found) > 1:
        names = ", ".join(interface.name for _, interface in found)
        raise click.ClickException(f"{name} is in {names}: say which with --interface")
    [(cls, interface)] = found
    return cls, interface.functions[name]


def _arguments(function: Function, text: str) -> tuple[Any, ...]:
    """JSON as the values of the in-parameters."""
    names = [parameter.name for parameter in function.inputs]
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        raise click.ClickException(f"the arguments are no JSON: {error}") from None
    if isinstance(given, list):
        if len(given) != len(names):
            raise click.ClickException(
                f"{function.name} takes {len(names)} ({', '.join(names)}), not {len(given)}"
            )
        given = dict(zip(names, given, strict=True))
    if not isinstance(given, dict):
        raise click.ClickException("the arguments are a JSON object by name, or a list in order")
    if unknown := sorted(set(given) - set(names)):
        raise click.ClickException(
            f"{function.name} has no {', '.join(unknown)}; it takes {', '.join(names) or 'nothing'}"
        )
    return function.decode_args(json.dumps(given).encode(), JSON_VERSION)
