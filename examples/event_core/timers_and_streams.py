"""Ticks, a periodic timer, a socket and a signal on one loop. Run: `python examples/event_core/timers_and_streams.py`.

Expected output:

    before
    tick
    after
    received b'hello'
    signal 10
    beat 1
    beat 2
    beat 3
    nothing left to do
"""

from __future__ import annotations

import signal
import socket
from itertools import count

from skerry import Loop


def main() -> None:
    loop = Loop()
    here, there = socket.socketpair()
    here.setblocking(False)

    def send() -> None:
        print("after")
        there.sendall(b"hello")

    def read(sock: socket.socket) -> None:
        print(f"received {sock.recv(100)!r}")
        loop.remove_read_stream(sock)
        signal.raise_signal(signal.SIGUSR1)

    def signalled(number: int) -> None:
        print(f"signal {number:d}")
        loop.remove_signal(number)
        beats = count(1)

        def beat() -> None:
            beaten = next(beats)
            print(f"beat {beaten}")
            if beaten == 3:
                timer.cancel()

        timer = loop.add_periodic_timer(0.02, beat)

    with here, there:
        loop.on_after_tick(send)
        loop.on_tick(lambda: print("tick"))
        loop.on_before_tick(lambda: print("before"))
        loop.add_read_stream(here, read)
        loop.add_signal(signal.SIGUSR1, signalled)
        loop.run(until_idle=True)
    print("nothing left to do")


if __name__ == "__main__":
    main()
