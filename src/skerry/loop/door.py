"""How servers reach the balancer of their machine without a path: a pair of sockets that the runner holds.

Every balancer inherits the inner end, every server the outer one. A server that wants to join makes a link of its own
(a connected pair), keeps one end and passes the other one in; what was passed in waits in the kernel while there is
no balancer. Nothing of this has a name in a directory that somebody might clear away.
Not here: what is said over a link (handover.py).
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

from skerry.errors import SettingsError

_KNOCK = b"J"
_AT_ONCE = 16


class Door:
    """One end of it."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        end.setblocking(False)

    @classmethod
    def pair(cls) -> tuple[socket.socket, socket.socket]:
        """The inner and the outer end, for processes to inherit."""
        # Datagrams: each knock is whole, whichever of several readers takes it.
        inner, outer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        return inner, outer

    @classmethod
    def inherited(cls, descriptor: int) -> Door:
        """The end that a parent passed on by number. Raises SettingsError when it is no such end."""
        try:
            end = socket.socket(fileno=descriptor)
        except OSError as error:
            raise SettingsError(
                "door-fd", f"descriptor {descriptor} is no socket: {error.strerror}"
            ) from error
        end.set_inheritable(False)
        return cls(end)

    def knock(self) -> socket.socket:
        """A new link to the reader of the inner end, now or later; non-blocking. Raises OSError when too many others
        wait there already."""
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            socket.send_fds(self._end, [_KNOCK], [theirs.fileno()])
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    def open(self, take: Callable[[socket.socket], None]) -> None:
        """Give each link that comes in, non-blocking, to `take`, which owns it, until `shut`."""
        asyncio.get_running_loop().add_reader(self._end, self._on_knock, take)

    def shut(self) -> None:
        """Take no more; a server that connects waits for the next one that opens."""
        asyncio.get_running_loop().remove_reader(self._end)

    def close(self) -> None:
        self._end.close()

    def _on_knock(self, take: Callable[[socket.socket], None]) -> None:
        for _ in range(_AT_ONCE):
            try:
                _, numbers, _, _ = socket.recv_fds(self._end, len(_KNOCK), 1)
            except OSError:  # nothing more, or somebody else took it
                return
            for (
                number
            ) in numbers:  # none when there are no descriptors left: that link ends, and knocks again
                try:
                    link = socket.socket(fileno=number)
                except OSError:
                    os.close(number)
                    continue
                link.setblocking(False)
                link.set_inheritable(False)
                take(link)
