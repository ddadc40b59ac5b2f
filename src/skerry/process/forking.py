"""A process that has imported an application and forks copies of itself: the fork server's own side.

It has no loop and no thread: it waits for the next request of its runner, and does nothing else. A copy is forked
twice, so that its parent ends at once and it becomes the runner's own child (reaping.py); it goes on when it is. When
the runner is gone, or closes the line, the process ends.
"""

from __future__ import annotations

import array
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable

import msgspec

from skerry.process.fitness import why_not_forked
from skerry.process.freshness import Freshness
from skerry.process.looking import LOOKED
from skerry.process.seeds import Seeds
from skerry.process.title import set_title
from skerry.process.worker import CONTROL, MARK, PARENT, exit_with_parent

FORKS = "SKERRY_FORK_FD"
"""Tells the descriptor of the line to the runner."""
LENGTH_BYTES = 8
MAX_DESCRIPTORS = 64


class Fork(msgspec.Struct, frozen=True):
    """The runner asks for a copy. `variables`: which environment variables tell the numbers of the descriptors that
    come with it; the first descriptor, which has none, is the output."""

    arguments: list[str]
    environment: dict[str, str]
    variables: list[str]


class Answer(msgspec.Struct, frozen=True, tag_field="answer"):
    """Anything that is answered."""


class Fit(Answer, frozen=True, tag="fit"):
    """The application was imported, and copies can be made."""


class Unfit(Answer, frozen=True, tag="unfit"):
    """No copies can be made, and why; nothing is said of an application that cannot be imported, as each process that
    tries says it itself."""

    reason: str


class Forked(Answer, frozen=True, tag="forked"):
    """It was made."""

    pid: int


class Changed(Answer, frozen=True, tag="changed"):
    """Files are not as they were any more: a copy would run what was."""

    files: list[str]


class Refused(Answer, frozen=True, tag="refused"):
    """The system makes no more processes (`errno`)."""

    number: int


AnyAnswer = Fit | Unfit | Forked | Changed | Refused
answers: msgspec.json.Decoder[AnyAnswer] = msgspec.json.Decoder(AnyAnswer)
_requests: msgspec.json.Decoder[Fork] = msgspec.json.Decoder(Fork)


class Forking:
    """`line`: to the runner, whose process is `runner`. Made first thing in the process."""

    def __init__(self, line: socket.socket, runner: int) -> None:
        self._line, self._runner = line, runner
        self._seeds = Seeds()

    @classmethod
    def inherited(cls) -> Forking:
        """The line that a runner left. Raises KeyError when nobody did."""
        line = socket.socket(fileno=int(os.environ.pop(FORKS)))
        line.setblocking(True)
        line.set_inheritable(False)
        runner = int(os.environ.pop(PARENT))
        for unused in (CONTROL, LOOKED):  # it has no loop
            os.close(int(os.environ.pop(unused)))
        os.environ.pop(MARK, None)
        exit_with_parent(runner)
        return cls(line, runner)

    def serve(self, load: Callable[[], None], freshness: Freshness) -> list[str]:
        """Import with `load` (what it raises is for those who try it themselves), and make copies until the runner is
        gone. Returns in a copy only, with its arguments."""
        gc.disable()
        try:
            with self._seeds.noting():
                load()
        except Exception:
            self._answer(Unfit(""))
            os._exit(0)
        freshness.imported()
        gc.collect()
        gc.freeze()  # a collection in a copy touches nothing of this, so that its pages stay shared
        if why := why_not_forked({0, 1, 2, self._line.fileno()}):
            self._answer(Unfit(why))
            os._exit(0)
        self._answer(Fit())
        while (asked := self._next()) is not None:
            request, descriptors = asked
            if files := freshness.changed():
                self._answer(Changed(files))
            elif (forked := self._fork()) is None:
                return self._become(request, descriptors)
            else:
                self._answer(forked)
            for descriptor in descriptors:
                os.close(descriptor)
        os._exit(0)

    # --- the line

    def _answer(self, answer: Answer) -> None:
        try:
            self._line.sendall(msgspec.json.encode(answer) + b"\n")
        except OSError:
            os._exit(0)  # the runner is gone

    def _next(self) -> tuple[Fork, list[int]] | None:
        """The next request, with its descriptors; None at the end of the line."""
        try:
            length, descriptors = self._head()
            if len(length) < LENGTH_BYTES:
                return None
            body = self._exactly(int.from_bytes(length, "big"))
        except OSError:
            return None
        return (_requests.decode(body), descriptors) if body is not None else None

    def _head(self) -> tuple[bytes, list[int]]:
        room = MAX_DESCRIPTORS * array.array("i").itemsize
        data, ancillary, _, _ = self._line.recvmsg(
            LENGTH_BYTES, socket.CMSG_SPACE(room), getattr(socket, "MSG_CMSG_CLOEXEC", 0)
        )
        found = array.array("i")
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                found.frombytes(content[: len(content) - len(content) % found.itemsize])
        return data, found.tolist()

    def _exactly(self, count: int) -> bytes | None:
        """So many bytes; None when the line ends before."""
        got = b""
        while len(got) < count:
            data = self._line.recv(count - len(got))
            if not data:
                return None
            got += data
        return got

    # --- a copy

    def _fork(self) -> Forked | Refused | None:
        """None in the copy, which is the runner's child by then."""
        told, tell = os.pipe()
        go, begin = os.pipe()
        try:
            between = os.fork()
        except OSError as error:
            for each in (told, tell, go, begin):
                os.close(each)
            return Refused(error.errno or 0)
        if between == 0:
            try:
                copy = os.fork()
            except OSError as error:
                os.write(tell, f"-{error.errno}".encode())
                os._exit(0)
            if copy:
                with contextlib.suppress(OSError):  # before anybody knows its number, it leads its own group
                    os.setpgid(copy, copy)
                os.write(tell, str(copy).encode())
                os._exit(0)
            for each in (told, tell, begin):
                os.close(each)
            with contextlib.suppress(OSError):
                os.setpgid(0, 0)
            if not os.read(go, 1) or os.getppid() != self._runner:
                os._exit(1)
            os.close(go)
            return None
        os.waitpid(between, 0)
        number = int(os.read(told, 32) or b"-1")
        os.write(begin, b"1")
        for each in (told, tell, go, begin):
            os.close(each)
        return Forked(number) if number > 0 else Refused(-number)

    def _become(self, request: Fork, descriptors: list[int]) -> list[str]:
        """Be the process that was asked for."""
        self._line.close()
        output, *inherited = descriptors
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        given = zip(request.variables, map(str, inherited), strict=True)
        os.environ.clear()
        os.environ.update({**request.environment, **dict(given)})
        set_title([sys.executable, "-m", "skerry", *request.arguments])
        self._seeds.anew()
        gc.enable()
        return request.arguments


def ignore_terminal() -> None:
    """Ctrl-C and the end of a terminal are the runner's business, which started this process with SIGINT blocked."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
