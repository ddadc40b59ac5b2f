"""What the state machines (`http1`, `ws13`) ask of the owner of the transport. Executed in order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


@dataclass(frozen=True, slots=True)
class Send:
    """Write these bytes."""

    data: bytes


class Signal(Enum):
    """What the connection shall do, or tell what answers the present turn."""

    PAUSE = auto()
    """Read nothing more."""
    RESUME = auto()
    """Read on."""
    REST = auto()
    """Call `rested` in the next turn of the loop."""
    READABLE = auto()
    """Tell the answerer: more of its request's body has come, or it is complete, or broken."""
    GONE = auto()
    """Tell the answerer: the client says no more."""
    DROP = auto()
    """Tell the answerer that nothing it says is sent any more; another turn takes its place."""
    LATE = auto()
    """Count it: the client was too slow."""
    LINGER = auto()
    """Say that nothing more is sent, and read away what still comes."""
    CLOSE = auto()
    """Close, after what was written."""
    ABORT = auto()
    """Cut the connection."""
