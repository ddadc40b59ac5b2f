"""How much a Tars server takes on: numbers, checked once."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from skerry.errors import SettingsError
from skerry.tars.wire.frame import DEFAULT_MAX_FRAME_BYTES


@dataclass(frozen=True, slots=True)
class AdapterLimits:
    """Bounds of one adapter (one listening endpoint). Times in seconds.

    `connections`: more are accepted and closed at once (maxconns). `concurrency`: functions running at a time;
    further requests wait in the queue. `queue` (queuecap): from four fifths of it on requests are answered
    "overloaded", beyond it they are dropped. `queue_seconds` (queuetimeout): who waited longer is answered
    "queue timeout" instead of being run. `in_flight`: unanswered requests of one connection, beyond which it
    is not read. `frame_bytes`: the largest request that is taken (else the connection is closed) and the largest reply
    that is sent (else "cannot encode"). `empty_connection_seconds`: a connection that never sent anything is closed.
    `cancel_overdue`: cancel a coroutine whose caller has given up (off: it runs on, as in TarsCpp).
    """

    connections: int = 10_000
    concurrency: int = 1_000
    queue: int = 10_000
    queue_seconds: float = 60.0
    in_flight: int = 1_000
    frame_bytes: int = DEFAULT_MAX_FRAME_BYTES
    empty_connection_seconds: float = 5.0
    cancel_overdue: bool = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name != "cancel_overdue" and value <= 0:
                raise SettingsError(f"tars limit {field.name}", f"must be greater than 0, not {value}")
