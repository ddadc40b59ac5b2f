"""Hands open sockets to another process, without waiting.

A link is one end of a connected unix stream socket in non-blocking mode. Descriptors travel by SCM_RIGHTS beside
one byte each, so that the stream stays in step with them. Plain bytes may travel on the same socket in the other
direction. Not here: which process gets which socket (`skerry.roles.balancer`).
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Sequence

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

MAX_AT_ONCE = 64
"""Descriptors in one message: well below the system's limit (253), a burst of accepts still goes in a few."""

MARK = b"\x01"

_NOSIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)
_NO_ROOM = frozenset({errno.ENOBUFS, errno.ETOOMANYREFS})


def most_descriptors() -> int:
    """How many files this process may have open, by its soft limit."""
    if resource is None:
        return sys.maxsize
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


class LinkClosed(ConnectionError):
    """The other end is gone (or refuses to read): what was not acknowledged is still ours."""


def pass_descriptors(link: socket.socket, descriptors: Sequence[int], marks: bytes = b"") -> bool:
    """Send up to MAX_AT_ONCE descriptors; all go or none. False when the link is full just now. `marks`: the byte that
    travels beside each, MARK unless given.

    The receiver gets its own copies: the caller still has to close its own. Raises LinkClosed.
    """
    if not 0 < len(descriptors) <= MAX_AT_ONCE:
        raise ValueError(f"1 to {MAX_AT_ONCE} descriptors at once, not {len(descriptors)}")
    try:
        sent = socket.send_fds(link, [marks or MARK * len(descriptors)], list(descriptors), _NOSIGNAL)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_ROOM:
            return False
        raise LinkClosed(*error.args) from error
    # The descriptors ride on the first byte: they are there even when the kernel took fewer bytes (it does not,
    # for so few), and the receiver counts descriptors, not bytes.
    assert sent == len(descriptors)
    return True
