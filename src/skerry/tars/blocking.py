"""Tars for synchronous code: the same communicator with its own loop in a thread.

For scripts, WSGI applications and plain servant functions. Calls block the thread that makes them and may be made
from many threads at once; they share connections. In asyncio code use `Communicator`: a blocking call there
would stop the loop, so it is refused.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

from skerry.errors import LifecycleError
from skerry.tars.communicator import Communicator
from skerry.tars.locator import Locator
from skerry.tars.proxy import client_of, configure, ping, reply_of
from skerry.tars.settings import ClientSettings
from skerry.tars.wire.interface import interface_of

R = TypeVar("R")


class BlockingCommunicator:
    """A `Communicator` for threads; `with BlockingCommunicator() as c: c.proxy(...)`."""

    def __init__(
        self, *, locator: Locator | None = None, settings: ClientSettings | None = None, **options: Any
    ) -> None:
        self._communicator = Communicator(locator=locator, settings=settings, **options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tars-client", daemon=True)
        self._thread.start()
        self._closed = False

    def proxy(self, interface: type[Any], address: str, **options: Any) -> BlockingProxy:
        """A proxy whose functions return results instead of awaitables."""

        async def make() -> Any:
            return self._communicator.proxy(interface, address, **options)

        return BlockingProxy(self, self.wait(make()))

    def wait(self, work: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine in the communicator's loop and wait for its end.

        The context of the calling thread comes along: inside a servant's function the deadline of the call that
        it serves counts here too.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            work.close()
            raise LifecycleError(
                "block", "an event loop is running in this thread", ("use Communicator and await",)
            )
        if self._closed:
            work.close()
            raise LifecycleError("call", "closed", ())
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return running.result()
        except BaseException:
            running.cancel()  # Ctrl-C: nobody waits any more
            raise

    def close(self) -> None:
        """Close the connections and end the thread. May be called twice."""
        if self._closed:
            return
        self.wait(self._communicator.close())
        self._closed = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> BlockingCommunicator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class BlockingProxy:
    """A remote object; every function of its interface is a method that blocks until the reply is there."""

    def __init__(self, communicator: BlockingCommunicator, proxy: Any) -> None:
        self._communicator, self._proxy = communicator, proxy
        for function in interface_of(proxy).functions.values():
            setattr(self, function.python_name, self._blocking(getattr(proxy, function.python_name)))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{interface_of(self._proxy).name} has no function {name!r}")

    def __repr__(self) -> str:
        return f"<blocking {repr(self._proxy)[1:]}"

    def tars_configure(self, **changes: Any) -> BlockingProxy:
        """The same with other `CallOptions`."""
        return BlockingProxy(self._communicator, configure(self._proxy, **changes))

    def tars_reply_of(self, function: str, *arguments: Any, **named: Any) -> Any:
        """The whole answer, as `reply_of`."""
        return self._communicator.wait(reply_of(self._proxy, function, *arguments, **named))

    def tars_ping(self) -> None:
        """Return when a server answered."""
        self._communicator.wait(ping(self._proxy))

    def tars_client(self) -> Any:
        """Endpoints and counters."""
        return client_of(self._proxy)

    def _blocking(self, call: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        def blocking(*arguments: Any, **named: Any) -> Any:
            return self._communicator.wait(call(*arguments, **named))

        blocking.__name__, blocking.__doc__ = call.__name__, call.__doc__
        return blocking
