"""How a call can fail, on either side of the wire, as exceptions with a return code.

TarsError
├── ServantError         raise it in a servant: the caller gets this code and text, nothing is logged
└── CallError            a call of ours failed; `code` is one of `ReturnCode` or the servant's own
    ├── RemoteError      they said so: the reply carries a code other than 0
    │   ├── ServerCannotDecode (-1), ServerCannotEncode (-2), NoSuchFunction (-3), NoSuchServant (-4),
    │   └── ServerQueueTimeout (-6), ServerOverloaded (-9), WrongSet (-11), ServantFailed (-99)
    ├── CallTimeout (-7)        no reply in time; whether the servant ran is not known
    ├── ConnectFailed (-8)      no connection could be made: the request was not sent
    ├── NoEndpoint (-10)        the object has no address
    ├── BadReply (-12)          the reply is no valid message of that function
    ├── NotSent (-13)           too much is waiting already: the request was not sent
    └── ConnectionLost (-13)    the connection broke after the request was sent; outcome unknown

Tars peers disagree about the code of an exception that nobody expected (TarsCpp -99, Tars.js -1, TarsGo 1): catch
`RemoteError`, do not branch on the exact negative number. Source: reference of return codes in TarsCpp `BaseF.tars`.
"""

from __future__ import annotations

from skerry.tars.errors import TarsError


class ServantError(TarsError):
    """A servant's own answer with a return code. `code` is any int but 0; `description` travels with it."""

    def __init__(self, code: int, description: str = "") -> None:
        if code == 0:
            raise ValueError("return code 0 means success")
        super().__init__(description or f"return code {code}")
        self.code, self.description = code, description


class CallError(TarsError):
    """A call failed. `function` is `App.Server.Obj.name`, `endpoint` its target (empty: not sent)."""

    code = 0

    def __init__(self, function: str, endpoint: str, description: str, code: int | None = None) -> None:
        self.function, self.endpoint, self.description = function, endpoint, description
        if code is not None:
            self.code = code
        place = f" at {endpoint}" if endpoint else ""
        super().__init__(f"{function}{place}: {description or 'no description'} (code {self.code})")


class RemoteError(CallError):
    """The server answered with a return code other than 0."""


class ServerCannotDecode(RemoteError):
    """The server could not read the parameters (Tars.js also says this for any exception)."""

    code = -1


class ServerCannotEncode(RemoteError):
    """The server could not write the result."""

    code = -2


class NoSuchFunction(RemoteError):
    """The servant has no function of that name."""

    code = -3


class NoSuchServant(RemoteError):
    """No servant of that name listens there."""

    code = -4


class ServerQueueTimeout(RemoteError):
    """The request waited too long in the server's queue; the servant was not called."""

    code = -6


class ServerOverloaded(RemoteError):
    """The server's queue is nearly full; the servant was not called."""

    code = -9


class WrongSet(RemoteError):
    """The server belongs to another set."""

    code = -11


class ServantFailed(RemoteError):
    """The servant raised an exception."""

    code = -99


class CallTimeout(CallError):
    """No reply in time. The servant may have run, may be running, or may never run."""

    code = -7


class ConnectFailed(CallError):
    """No connection could be made; the request was not sent."""

    code = -8


class NoEndpoint(CallError):
    """There is no address for the object."""

    code = -10


class BadReply(CallError):
    """The reply does not fit the function."""

    code = -12


class NotSent(CallError):
    """Too many requests are waiting on this connection, or it does not fit the protocol: not sent."""

    code = -13


class ConnectionLost(CallError):
    """The connection broke while the reply was awaited. The servant may have run."""

    code = -13


_BY_CODE: dict[int, type[RemoteError]] = {
    kind.code: kind
    for kind in (
        ServerCannotDecode,
        ServerCannotEncode,
        NoSuchFunction,
        NoSuchServant,
        ServerQueueTimeout,
        ServerOverloaded,
        WrongSet,
        ServantFailed,
    )
}


def remote_error(code: int, function: str, endpoint: str, description: str) -> RemoteError:
    """The exception for a reply with this return code."""
    return _BY_CODE.get(code, RemoteError)(function, endpoint, description, code)
