"""Proxies are of the interface's type, carry options, and say what they are."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from skerry.errors import DeclarationError, LifecycleError, SettingsError
from skerry.tars.communicator import Communicator
from skerry.tars.endpoint import EndpointError
from skerry.tars.proxy import client_of, configure, ping, reply_of

ADDRESS = "A.B.C@tcp -h 127.0.0.1 -p 1"


async def test_a_proxy_is_one_of_the_interface(probe: Any) -> None:
    """isinstance holds, functions are coroutine functions with the IDL's words, repr says where it points."""
    async with Communicator() as c:
        proxy = c.proxy(probe, ADDRESS)
        assert isinstance(proxy, probe)
        assert inspect.iscoroutinefunction(proxy.echo)
        assert proxy.echo.__doc__ == probe.echo.__doc__
        assert "Test.Probe" in repr(proxy)
        assert "127.0.0.1" in repr(proxy)


async def test_proxies_of_one_address_share_a_client(probe: Any) -> None:
    """Same text, same connections; `#n` is another; `configure` keeps both client and type."""
    async with Communicator() as c:
        one, two = c.proxy(probe, ADDRESS), c.proxy(probe, ADDRESS)
        assert client_of(one) is client_of(two)
        assert client_of(c.proxy(probe, ADDRESS.replace("@", "#1@"))) is not client_of(one)
        other = configure(one, timeout_seconds=1, context={"a": "b"})
        assert client_of(other) is client_of(one)
        assert type(other) is type(one)
        assert c.clients == (client_of(one), client_of(c.proxy(probe, ADDRESS.replace("@", "#1@"))))


async def test_what_is_wrong_is_said_at_once(probe: Any) -> None:
    """Bad address, something that is no interface, unknown or impossible options, wrong arguments."""
    async with Communicator() as c:
        with pytest.raises(EndpointError):
            c.proxy(probe, "A.B.C@nowhere")
        with pytest.raises(DeclarationError, match="no interface"):
            c.proxy(int, ADDRESS)
        proxy = c.proxy(probe, ADDRESS)
        with pytest.raises(TypeError, match="no option timeout"):
            configure(proxy, timeout=1)
        with pytest.raises(SettingsError, match="timeout_seconds"):
            configure(proxy, timeout_seconds=0)
        with pytest.raises(SettingsError, match="version"):
            configure(proxy, version=4)
        with pytest.raises(TypeError, match="echo"):
            await proxy.echo()
        with pytest.raises(AttributeError, match="no function 'nosuch'"):
            await reply_of(proxy, "nosuch")
        with pytest.raises(TypeError, match="no proxy"):
            await ping(object())
    with pytest.raises(LifecycleError):
        c.proxy(probe, ADDRESS)
