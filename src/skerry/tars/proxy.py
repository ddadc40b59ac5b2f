"""Typed proxies: an object of the interface's own type whose functions are remote calls.

A proxy is an instance of the interface class, so that editors and type checkers know its functions; each is replaced
by one that calls. How calls are made (time-out, routing, context) is a frozen `CallOptions`; `configure` gives a
second proxy with other options over the same connections.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, TypeVar, cast

from skerry.errors import DeclarationError
from skerry.tars.call import PING
from skerry.tars.client import ObjectClient, Reply
from skerry.tars.settings import CallOptions
from skerry.tars.wire.interface import Function, interface_of

T = TypeVar("T")
_CLIENT, _OPTIONS = "_tars_client", "_tars_options"  # no IDL name begins with tars


def make_proxy(interface: type[T], client: ObjectClient, options: CallOptions) -> T:
    """A proxy of `interface` over `client`."""
    proxy = object.__new__(_proxy_class(cast(Any, interface)))
    setattr(proxy, _CLIENT, client)
    setattr(proxy, _OPTIONS, options)
    return cast(T, proxy)


def configure(proxy: T, **changes: Any) -> T:
    """The same proxy with other options: any field of `CallOptions`, as `timeout_seconds=1`, `hash=user_id`,
    `context={...}`, `one_way=True`. Connections are shared; the given proxy stays as it is."""
    client, options = _parts(proxy)
    return make_proxy(type(proxy), client, changed(options, changes))


def changed(options: CallOptions, changes: dict[str, Any]) -> CallOptions:
    """`options` with some fields replaced; TypeError names an option that does not exist."""
    known = {field.name for field in dataclasses.fields(CallOptions)}
    if unknown := sorted(set(changes) - known):
        raise TypeError(f"no option {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return dataclasses.replace(options, **changes) if changes else options


async def reply_of(proxy: object, function: str, *arguments: Any, **named: Any) -> Reply:
    """Call a function by its IDL name and get the whole answer: value, context, status, endpoint."""
    client, options = _parts(proxy)
    described = interface_of(proxy).functions.get(function)
    if described is None:
        raise AttributeError(f"{interface_of(proxy).name} has no function {function!r}")
    return await client.invoke_fully(described, described.bind(arguments, named), options)


async def ping(proxy: object) -> None:
    """`tars_ping`: returns when a server answered, raises CallError else. Every servant has it."""
    client, options = _parts(proxy)
    await client.call(PING, b"", dataclasses.replace(options, version=1), options.hash)


def client_of(proxy: object) -> ObjectClient:
    """The client behind a proxy: its endpoints, their health, its counters."""
    return _parts(proxy)[0]


def _parts(proxy: object) -> tuple[ObjectClient, CallOptions]:
    try:
        return getattr(proxy, _CLIENT), getattr(proxy, _OPTIONS)
    except AttributeError:
        raise TypeError(f"{type(proxy).__name__} is no proxy of a communicator") from None


def _remote(function: Function) -> Callable[..., Awaitable[Any]]:
    bind = function.bind

    async def remote(self: Any, *arguments: Any, **named: Any) -> Any:
        return await self._tars_client.invoke(function, bind(arguments, named), self._tars_options)

    remote.__name__ = function.python_name
    remote.__qualname__ = f"{function.interface}.{function.python_name}"
    remote.__doc__ = function.doc
    return remote


@lru_cache(maxsize=1024)
def _proxy_class(interface: type[Any]) -> type[Any]:
    if _CLIENT in interface.__dict__:
        return interface  # already the class of a proxy
    try:
        described = interface_of(interface)
    except TypeError as error:
        raise DeclarationError(f"{interface!r} is no interface of an IDL file") from error

    def shown(self: Any) -> str:
        return f"<proxy of {described.name} at {self._tars_client.address}>"

    body: dict[str, Any] = {
        _CLIENT: None,
        _OPTIONS: None,
        "__repr__": shown,
        "__module__": interface.__module__,
    }
    for function in described.functions.values():
        body[function.python_name] = _remote(function)
    return type(f"{interface.__name__}Proxy", (interface,), body)
