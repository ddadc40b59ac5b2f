"""A switch between hosts that are network namespaces of this machine: `python -m skerry.testing.switch NAME ...`.

Each host has a namespace of its own with one interface, whose packets come here and are passed on, late, or not at all.
The kernel needs nothing but TUN devices; it takes root. Its first line on standard output is JSON: the address of each
host, and the descriptor by which its namespace is found in /proc. It reads rules as lines of JSON, answers each with
an empty line, and ends with its standard input, and all namespaces with it. Not here: who uses it (network.py).
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import json
import os
import random
import selectors
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_MOST_BYTES = 65_535
_MOST_WAITING = 20_000
"""Packets that are late; more are lost, as in a switch."""


@dataclass(slots=True)
class Way:
    """From one host to another: whether anything passes, how late, and what share is lost."""

    cut: bool = False
    delay: float = 0.0
    loss: float = 0.0


def new_host(address: str) -> tuple[int, int]:
    """Make a namespace with this address; descriptors of its interface and of itself. This process is in it then."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "no network namespace")
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH", b"eth0", _IFF_TUN | _IFF_NO_PI))
    for command in (
        "ip link set lo up",
        f"ip address add {address}/24 dev eth0",
        "ip link set eth0 mtu 9000 up",
    ):
        subprocess.run(command.split(), check=True, stdout=subprocess.DEVNULL)
    return tun, os.open("/proc/self/ns/net", os.O_RDONLY)


def serve(names: Sequence[str]) -> None:
    """Pass packets on until standard input ends."""
    addresses = {name: f"10.77.0.{number}" for number, name in enumerate(names, 1)}
    interfaces, spaces = dict[str, int](), dict[str, int]()
    for name, address in addresses.items():
        interfaces[name], spaces[name] = new_host(address)
    names_of = {bytes(map(int, address.split("."))): name for name, address in addresses.items()}
    ways = {(one, other): Way() for one in names for other in names}
    told = {name: {"address": addresses[name], "space": spaces[name]} for name in names}
    print(json.dumps(told), flush=True)
    chance = random.Random(1)
    late: list[tuple[float, int, int, bytes]] = []
    count = 0
    with selectors.DefaultSelector() as selector:
        for name in names:
            selector.register(interfaces[name], selectors.EVENT_READ, name)
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ, "")
        while True:
            pause = max(0.0, late[0][0] - time.monotonic()) if late else None
            for key, _ in selector.select(pause):
                if not key.data:
                    line = sys.stdin.readline()
                    if not line:
                        return
                    for rule in json.loads(line):
                        ways[rule["from"], rule["to"]] = Way(rule["cut"], rule["delay"], rule["loss"])
                    print(flush=True)
                    continue
                packet = os.read(key.fd, _MOST_BYTES)
                target = names_of.get(packet[16:20]) if packet[0] >> 4 == 4 else None
                if target is None:
                    continue
                way = ways[key.data, target]
                if way.cut or (way.loss and chance.random() < way.loss) or len(late) >= _MOST_WAITING:
                    continue
                count += 1
                if way.delay:
                    due = time.monotonic() + way.delay
                    heapq.heappush(late, (due, count, interfaces[target], packet))
                else:
                    _put(interfaces[target], packet)
            now = time.monotonic()
            while late and late[0][0] <= now:
                _, _, interface, packet = heapq.heappop(late)
                _put(interface, packet)


def _put(interface: int, packet: bytes) -> None:
    try:
        os.write(interface, packet)
    except OSError:
        pass  # its queue is full: the packet is lost


if __name__ == "__main__":
    serve(sys.argv[1:])
