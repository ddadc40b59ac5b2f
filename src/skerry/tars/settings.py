"""What a client may be told: per communicator and per call. Plain values, checked once."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from skerry.errors import SettingsError
from skerry.tars.account import Account
from skerry.tars.bodies import Bodies
from skerry.tars.endpoint import Endpoint
from skerry.tars.faults import CLASSIC, FaultPolicy
from skerry.tars.trace import Trace
from skerry.tars.wire.packet import DEFAULT_MAX_FRAME_BYTES, ResponsePacket


@dataclass(frozen=True, slots=True)
class Retry:
    """Second chances, off by default.

    `attempts` more tries, each at another endpoint where there is one. Without `idempotent` only when the request
    has certainly not run: no connection, overloaded, queue time-out. With it also after a time-out and a lost
    connection. `attempt_seconds` bounds a single try (None: the whole time-out), else a time-out leaves nothing
    to retry with.
    """

    attempts: int = 0
    idempotent: bool = False
    attempt_seconds: float | None = None


NO_RETRY = Retry()


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How the calls of one proxy are made.

    `hash` routes by key (int, text or bytes): modulo over all endpoints, or on the ring with `consistent`.
    `version` is the body's: 1 TARS, 2 and 3 TUP, 5 JSON. `one_way` calls return None at once and never fail for
    what the server does. `context` and `status` travel with each request.
    """

    timeout_seconds: float = 3.0
    hash: int | str | bytes | None = None
    consistent: bool = False
    context: Mapping[str, str] = field(default_factory=dict)
    status: Mapping[str, str] = field(default_factory=dict)
    one_way: bool = False
    version: int = 1
    retry: Retry = NO_RETRY

    def __post_init__(self) -> None:
        if self.timeout_seconds <= 0:
            raise SettingsError("timeout_seconds", f"must be greater than 0, not {self.timeout_seconds}")
        if self.version not in (1, 2, 3, 5):
            raise SettingsError("version", f"is 1 (TARS), 2 or 3 (TUP) or 5 (JSON), not {self.version}")


class CallObserver(Protocol):
    """Is told of every call when it has ended; statistics and tracing hang here."""

    def called(self, servant: str, function: str, endpoint: str, code: int, seconds: float) -> None:
        """`code` 0 or that of the CallError; `endpoint` is empty when no one was reached."""
        ...


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How a communicator connects. Times in seconds.

    `connections` per endpoint, each carrying many calls; `pending` calls wait at most on each. `frame_bytes` is the
    largest request that is sent (else NotSent) and the largest reply that is taken. `keep_alive_seconds`
    pings an idle connection and drops it when no answer comes (0: never). `refresh_seconds` is how often the
    locator is asked again. `push` gets packets that the server sends on its own. `observer` hears of every call.
    `accounts`, by object name, are for endpoints with `-e 1`. `traced(trace, servant, function, code, seconds,
    bodies)` is told of every call that belongs to a chain (`Call.trace`); its bodies are None where nobody can read
    them.
    """

    connect_seconds: float = 1.5
    connections: int = 1
    pending: int = 100_000
    frame_bytes: int = DEFAULT_MAX_FRAME_BYTES
    faults: FaultPolicy = CLASSIC
    tls: ssl.SSLContext | None = None
    keep_alive_seconds: float = 0.0
    refresh_seconds: float = 60.0
    push: Callable[[Endpoint, ResponsePacket], None] | None = None
    observer: CallObserver | None = None
    accounts: Mapping[str, Account] = field(default_factory=dict)
    traced: Callable[[Trace, str, str, int, float, Bodies | None], None] | None = None

    def __post_init__(self) -> None:
        for name in ("connect_seconds", "connections", "pending", "frame_bytes", "refresh_seconds"):
            if getattr(self, name) <= 0:
                raise SettingsError(name, f"must be greater than 0, not {getattr(self, name)}")
