"""Binding, private directories, unix listeners."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from skerry.errors import SettingsError
from skerry.loop.sockets import (
    MAX_UNIX_PATH_BYTES,
    adopt_listener,
    bind_tcp,
    directory_beside,
    listen_unix,
    peer_is_same_user,
    private_directory,
    runtime_root,
)


def test_a_free_port_is_bound_without_blocking() -> None:
    """Port 0 takes a free one; the socket listens and does not block."""
    with bind_tcp("127.0.0.1", 0) as bound:
        assert bound.getsockname()[1] > 0
        assert not bound.getblocking()
        with socket.create_connection(bound.getsockname()):
            accepted, _ = bound.accept()
            accepted.close()


def test_a_taken_port_is_a_clear_error() -> None:
    """The line names the setting, the address and what to do."""
    with bind_tcp("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"^bind: 127.0.0.1:{port} is in use by another program"):
            bind_tcp("127.0.0.1", port)


def test_reuse_port_shares_it() -> None:
    """With `reuse_port` on both, two sockets take the same address."""
    first = bind_tcp("127.0.0.1", 0, reuse_port=True)
    with first, bind_tcp("127.0.0.1", first.getsockname()[1], reuse_port=True) as second:
        assert first.getsockname() == second.getsockname()


@pytest.mark.parametrize(
    ("host", "word"), [("203.0.113.7", "not an address of this machine"), ("no.invalid", "no such")]
)
def test_a_host_that_is_not_ours_is_a_clear_error(host: str, word: str) -> None:
    """A foreign address and an unknown name are told apart."""
    with pytest.raises(SettingsError, match=word):
        bind_tcp(host, 0, setting="gateway_bind")


def test_an_inherited_listener_is_adopted() -> None:
    """A listening descriptor works as a socket; anything else is refused with its number."""
    with bind_tcp("127.0.0.1", 0) as bound:
        adopted = adopt_listener(os.dup(bound.fileno()))
        assert adopted.getsockname() == bound.getsockname()
        assert not adopted.get_inheritable()
        adopted.close()
    left, right = socket.socketpair()
    with right, pytest.raises(SettingsError, match="no listening socket"):
        adopt_listener(left.detach())
    reading, writing = os.pipe()
    with pytest.raises(SettingsError, match=f"descriptor {reading} is no socket"):
        adopt_listener(reading)
    os.close(reading)
    os.close(writing)


def test_a_private_directory_is_ours_only(tmp_path: Path) -> None:
    """It is made with 0700, one that is open to others is closed, and a file or link in its place is refused."""
    made = private_directory(tmp_path / "a" / "b")
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    made.chmod(0o755)
    private_directory(made)
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    (tmp_path / "link").symlink_to(made)
    with pytest.raises(SettingsError, match="not a directory"):
        private_directory(tmp_path / "link")


def test_a_private_directory_that_is_just_left_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever leaves it removes it, between our finding it there and our looking at it; one that vanishes for ever is
    an error of its own."""
    leaving, looked_at = [True], Path.lstat

    def lstat(path: Path) -> os.stat_result:
        if path.name == "left" and leaving:
            leaving.pop()
            path.rmdir()
        return looked_at(path)

    monkeypatch.setattr(Path, "lstat", lstat)
    assert private_directory(tmp_path / "left").is_dir()
    leaving += [True] * 1000
    with pytest.raises(SettingsError, match="vanishes"):
        private_directory(tmp_path / "left")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_a_strangers_directory_is_refused(tmp_path: Path) -> None:
    """In a shared place a stranger may have made it first: he must not be trusted with sockets."""
    (tmp_path / "his").mkdir()
    os.chown(tmp_path / "his", 4242, 4242)
    with pytest.raises(SettingsError, match="belongs to another user"):
        private_directory(tmp_path / "his")


def test_a_deep_path_gets_a_short_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the file while that fits a unix socket's path, else under the runtime directory, one for each file."""
    monkeypatch.setenv("SKERRY_RUNTIME_DIR", str(tmp_path / "run"))
    assert runtime_root() == tmp_path / "run"
    assert directory_beside(tmp_path / "kv.db", ("s",)) == tmp_path / "kv.db.sockets"
    deep = tmp_path / ("x" * MAX_UNIX_PATH_BYTES) / "kv.db"
    short = directory_beside(deep, ("s",))
    assert short.parent == tmp_path / "run"
    assert short != directory_beside(deep.with_name("other.db"), ("s",))


def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    """What a killed process left is no obstacle; a path that is too long is a clear error."""
    listen_unix(tmp_path / "s").close()
    with listen_unix(tmp_path / "s") as again:
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "s"))
            accepted, _ = again.accept()
            with accepted:
                assert peer_is_same_user(accepted)
    with pytest.raises(SettingsError, match="choose a shorter one"):
        listen_unix(tmp_path / ("y" * MAX_UNIX_PATH_BYTES))
