"""Sockets before anybody listens on them: binding with clear errors, private directories for unix sockets.

Everything here returns at once with a non-blocking socket. Not here: accepting (asyncio or the balancer does), and
handing descriptors to another process (descriptors.py).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import socket
import stat
import sys
import tempfile
from pathlib import Path

from skerry.errors import SettingsError

BACKLOG = 2048
"""Connections that the kernel keeps while nobody accepts: they wait there when a balancer has just died."""

_ATTEMPTS = 100
MAX_UNIX_PATH_BYTES = 103
"""The shortest limit of the systems we run on (macOS 104, Linux 108, both with the closing NUL)."""


def address_text(host: str, port: int) -> str:
    """`HOST:PORT` for people, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bound_unsent(listener: socket.socket) -> None:
    """Have the kernel take no more than about 128 KiB for a client that reads slowly, of each connection that is
    accepted from this TCP socket: what waits beyond, up to some MB otherwise, is ours to limit. On Linux and macOS."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", _NOTSENT_LOWAT.get(sys.platform))
    if option is not None and listener.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            listener.setsockopt(socket.IPPROTO_TCP, option, UNSENT_BYTES)


UNSENT_BYTES = 128 * 1024
_NOTSENT_LOWAT = {"linux": 25, "darwin": 0x201}  # Python 3.11 has no name for it on every system


def end_when_silent(sock: socket.socket, seconds: int) -> None:
    """Have the kernel end a TCP connection whose other end acknowledges nothing for about `seconds`: what was sent, and
    probes while nothing is sent. Where a system does not know one of these options it is left out."""
    each = max(1, seconds // 4)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", seconds - 2 * each if seconds > 2 * each else each),
        ("TCP_KEEPINTVL", each),
        ("TCP_KEEPCNT", 2),
        ("TCP_USER_TIMEOUT", seconds * 1000),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, option, value)


def bind_tcp(
    host: str, port: int, *, reuse_port: bool = False, setting: str = "bind", listen: bool = True
) -> socket.socket:
    """A listening (or only bound), non-blocking TCP socket. Port 0 takes a free one (`getsockname` tells which); an
    empty host means all interfaces, of both families where there is IPv6.

    `reuse_port` lets several processes bind the same address and the kernel share connections out between them;
    connections that wait for a process that dies are then lost with it, so the balancer does not use it.
    Raises SettingsError naming `setting`, with what would be right.
    """
    where = address_text(host, port)
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise SettingsError(setting, f"no such host: {host!r} ({error.strerror})") from error
    if not host:
        found.sort(key=lambda entry: entry[0] != socket.AF_INET6)
    family, kind, protocol, _, resolved = found[0]
    try:
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingsError(setting, f"cannot open a socket for {where}: {error.strerror}") from error
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1 if host else 0)
        bound.bind(resolved)
        bound_unsent(bound)
        if listen:
            bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise SettingsError(setting, _why_not_bound(host, where, error)) from error
    return bound


def bind_udp(host: str, port: int, *, setting: str = "bind") -> socket.socket:
    """A bound, non-blocking UDP socket. Raises SettingsError naming `setting`."""
    where = address_text(host, port)
    try:
        family, kind, protocol, _, resolved = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingsError(setting, f"cannot open a socket for {where}: {error.strerror}") from error
    try:
        bound.setblocking(False)
        bound.bind(resolved)
    except OSError as error:
        bound.close()
        raise SettingsError(setting, _why_not_bound(host, where, error)) from error
    return bound


def _why_not_bound(host: str, where: str, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"{where} is in use by another program; stop it or choose another port"
        case errno.EACCES | errno.EPERM:
            return f"no right to bind {where}; ports below 1024 need root or CAP_NET_BIND_SERVICE"
        case errno.EADDRNOTAVAIL:
            return f"{host!r} is not an address of this machine"
        case _:
            return f"cannot bind {where}: {error.strerror}"


def adopt_listener(descriptor: int) -> socket.socket:
    """A listening socket that a parent opened and passed on by number. Raises SettingsError for other descriptors."""
    try:
        adopted = socket.socket(fileno=descriptor)
        listening = adopted.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise SettingsError("listen-fd", f"descriptor {descriptor} is no socket: {error.strerror}") from error
    if not listening:
        adopted.close()
        raise SettingsError("listen-fd", f"descriptor {descriptor} is no listening socket")
    adopted.setblocking(False)
    adopted.set_inheritable(False)
    return adopted


# --- unix sockets


def runtime_root() -> Path:
    """Where this user's short-lived sockets live: `SKERRY_RUNTIME_DIR`, else `XDG_RUNTIME_DIR`, else the
    temporary directory, each with a folder that only this user may enter."""
    given = os.environ.get("SKERRY_RUNTIME_DIR")
    if given:
        return private_directory(Path(given))
    session = os.environ.get("XDG_RUNTIME_DIR")
    if session and os.access(session, os.W_OK | os.X_OK):
        return private_directory(Path(session) / "skerry")
    return private_directory(Path(tempfile.gettempdir()) / f"skerry-{os.getuid()}")


def runtime_roots() -> list[Path]:
    """Every place where a process of this user may have made its `runtime_root`: its surroundings were others, or have
    changed since. Makes nothing."""
    given, user = os.environ.get("SKERRY_RUNTIME_DIR"), os.getuid()
    if given:
        return [Path(given)]
    places = [Path(f"/run/user/{user}/skerry"), Path(tempfile.gettempdir()) / f"skerry-{user}"]
    if session := os.environ.get("XDG_RUNTIME_DIR"):
        places.append(Path(session) / "skerry")
    return [path for path in dict.fromkeys(places) if path.is_dir() and path.stat().st_uid == user]


def private_directory(path: Path, setting: str = "runtime-dir") -> Path:
    """Make `path` a directory of this user that nobody else may enter (0700), and return it.

    Raises SettingsError, of the setting that led there, when somebody else owns it or it is no directory: in a shared
    place like /tmp a stranger may have made it first.
    """
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(FileNotFoundError):  # whoever leaves it removes it, just now
            return _made_private(path, setting)
    raise SettingsError(setting, f"cannot make {path}: it vanishes again and again")


def _made_private(path: Path, setting: str) -> Path:
    with contextlib.suppress(FileExistsError):
        try:
            path.mkdir(mode=0o700, parents=True)
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise
            if error.errno != errno.EEXIST:
                raise SettingsError(setting, f"cannot make {path}: {error.strerror}") from error
    state = path.lstat()
    if not stat.S_ISDIR(state.st_mode):
        raise SettingsError(setting, f"{path} is not a directory")
    if state.st_uid != os.getuid():
        raise SettingsError(setting, f"{path} belongs to another user (uid {state.st_uid})")
    if stat.S_IMODE(state.st_mode) & 0o077:
        path.chmod(0o700)
    return path


def directory_beside(file: Path, names: tuple[str, ...]) -> Path:
    """The private directory for the sockets that belong to `file`: `FILE.sockets` beside it, or, where the paths
    of `names` in it would be too long for a unix socket, one named by a hash of its path under `runtime_root`."""
    whole = file.resolve()
    beside = whole.with_name(whole.name + ".sockets")
    longest = max(len(os.fsencode(beside / name)) for name in names)
    if longest <= MAX_UNIX_PATH_BYTES:
        return beside
    digest = hashlib.blake2b(os.fsencode(whole), digest_size=8).hexdigest()
    return runtime_root() / digest


def listen_unix(path: Path) -> socket.socket:
    """A listening, non-blocking unix socket at `path`, for this user only; a stale file there is replaced.

    Whether the old file is stale is the caller's knowledge (it holds a lock). Raises SettingsError.
    """
    _check_length(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        path.unlink(missing_ok=True)
        listener.bind(os.fspath(path))
        path.chmod(0o600)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError("runtime-dir", f"cannot listen at {path}: {error.strerror}") from error
    return listener


def _check_length(path: Path) -> None:
    size = len(os.fsencode(path))
    if size > MAX_UNIX_PATH_BYTES:
        raise SettingsError(
            "runtime-dir",
            f"{path} is {size} bytes long, a unix socket's path may have {MAX_UNIX_PATH_BYTES}; choose a shorter one",
        )


def peer_is_same_user(connection: socket.socket) -> bool:
    """Whether the other end of a unix socket runs as this user or as root; True where the system cannot tell."""
    if sys.platform != "linux":
        return True
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    uid = int.from_bytes(raw[4:8], sys.byteorder)
    return uid in (os.getuid(), 0)
