"""Writes and positions over HTTP: what a view does with a command, the same in every application.

A view takes `HttpWrites` and returns what `send` gives; a plain `def` view stays on the lane, since nothing here
needs a task. `Idempotency-Key`, `Prefer`, the three levels of answer and their headers are decided here.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from skerry.bus.bus import CommandBus, command_id_for
from skerry.bus.outcomes import Level, Receipt
from skerry.bus.transport import Transport
from skerry.errors import OutcomeUnknown, Unavailable
from skerry.http.caching import OPEN, PRIVATE
from skerry.http.conditional import Preconditions
from skerry.http.prefer import Prefer
from skerry.http.problems import Problem, problem_of
from skerry.http.reply import JSON, NO_CACHE, Fields, Response, response_of
from skerry.http.request import Request
from skerry.journal.journal import Status
from skerry.journal.projector import Projector
from skerry.kernel.described import READS, WRITES
from skerry.kernel.visibility import served_as_of
from skerry.messages.message import Command
from skerry.position import Position

LONGEST_WAIT_SECONDS = 30.0
READ_WAIT_SECONDS = 2.0
COMMAND_HEADER = "Skerry-Command"
POSITION_HEADER = "Skerry-Position"
NOT_VISIBLE = "committed, not visible here: a projection of this server has stopped"

R = TypeVar("R")
Answer = Callable[[Receipt[R]], Any]
"""What a view may return: a Response, or what becomes JSON."""


class HttpWrites:
    """Sends a request's command and answers when its effect is visible here."""

    openapi = WRITES
    must_return = ("send",)
    """What a view calls here is its answer: one that returns nothing is refused at start."""

    def __init__(
        self, commands: CommandBus, transport: Transport, wait_seconds: float, pending: Callable[[str], None]
    ) -> None:
        self._commands, self._transport = commands, transport
        self._wait_seconds, self._pending = wait_seconds, pending
        self.states = "/commands/"
        """Where the state of a command is asked for."""
        self.observe: Callable[[float], None] = lambda seconds: None
        """Told how long each write took until it was visible here, in seconds."""

    def send(
        self,
        request: Request,
        command: Command[R],
        answer: Answer[R],
        accepted: Mapping[str, Any] | None = None,
    ) -> asyncio.Future[Response]:
        """The answer to a write.

        `answer(receipt)` builds the 200 once the command is applied and visible; `Skerry-Position` and
        `Skerry-Command` are added. 202 with `accepted` and "message": "Accepted" when it is durable but not decided
        in time, or committed but not visible here because a projection that would show it has stopped; 409 for a
        rule, 412 for a precondition, 422 for an idempotency key used twice, 503 with `Retry-After` and
        `Skerry-Command` otherwise. Raises Problem 400 for a malformed Idempotency-Key.
        """
        prefer = Prefer.of(request.headers)
        wait = prefer.wait(self._wait_seconds, LONGEST_WAIT_SECONDS)
        level = Level.ACCEPTED if prefer.respond_async and self._transport.accepts_early else Level.VISIBLE
        command_id, request_hash = self._identify(request)
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Response] = loop.create_future()
        request.sent = result
        began = loop.time()
        states = request.url_path(self.states)

        def done(receipt: asyncio.Future[Receipt[R]]) -> None:
            if result.done():
                return
            try:
                outcome = receipt.result()
                if outcome.status is Status.APPLIED and outcome.visible and level is Level.VISIBLE:
                    self.observe(loop.time() - began)
                result.set_result(self._conclude(outcome, answer, accepted, states))
            except Unavailable as error:
                result.set_result(_unavailable(error))
            except Exception as error:
                result.set_exception(error)

        self._commands.submit(
            command,
            id=command_id,
            request_hash=request_hash,
            level=level,
            wait_seconds=wait,
            headers=request.provenance,
        ).add_done_callback(done)
        return result

    def _identify(self, request: Request) -> tuple[str | None, str]:
        key = request.headers.get("idempotency-key")
        if key is None:
            return None, ""
        if not 0 < len(key) <= 255 or not key.isprintable():
            raise Problem(400, "Idempotency-Key: 1 to 255 printable characters")
        who = request.identity.scope if request.identity is not None else ""
        conditions = Preconditions.of(request.headers)
        digest = hashlib.blake2b(request.body, digest_size=16)
        digest.update(repr((conditions.if_match, conditions.if_none_match)).encode())
        return command_id_for(who, request.method, request.target.decode("latin-1"), key), digest.hexdigest()

    def _conclude(
        self, receipt: Receipt[R], answer: Answer[R], accepted: Mapping[str, Any] | None, states: str
    ) -> Response:
        """`states`: what stands before the command's id in the path of its state."""
        match receipt.status:
            case Status.APPLIED if not receipt.visible:
                body = {**(accepted or {}), "message": "Accepted", "detail": NOT_VISIBLE}
                response = Response.json(body, 202)
                response.with_header("Location", f"{states}{receipt.id}")
                response.with_header(POSITION_HEADER, str(receipt.position))
            case Status.APPLIED:
                response = response_of(answer(receipt))
                response.with_header(POSITION_HEADER, str(receipt.position))
            case Status.PENDING:
                self._pending(receipt.id)
                response = Response.json({**(accepted or {}), "message": "Accepted"}, 202)
                response.with_header("Location", f"{states}{receipt.id}")
            case Status.REJECTED:
                status = {"precondition": 412, "different_request": 422}.get(receipt.kind, 409)
                response = Problem(status, receipt.reason).response()
            case _:
                response = Problem(500, "the command failed and was set aside for the operators").response()
        return response.with_header(COMMAND_HEADER, receipt.id)


def _unavailable(error: Unavailable) -> Response:
    problem = problem_of(error)
    assert problem is not None
    response = problem.response()
    if isinstance(error, OutcomeUnknown):
        response.with_header(COMMAND_HEADER, error.command_id)
    return response


def _not_yet(here: Position, asked: Position) -> Problem:
    return Problem(503, f"this server is at {here}, not yet at {asked}", headers={"Retry-After": "1"})


class HttpReads:
    """Reads that may ask for a position: read your own write, on any server."""

    openapi = READS

    def __init__(self, projector: Projector, *, guarded: bool = False) -> None:
        """`guarded`: there are tokens, so that what is read is for its client only."""
        self._projector, self._stopped, self._guarded = projector, projector.stopped, guarded
        # A cache that kept an answer without regard to the position asked for would answer with an older one.
        caching = PRIVATE if guarded else OPEN
        self._caching = {**caching, "Vary": ", ".join(filter(None, (caching.get("Vary"), POSITION_HEADER)))}
        self._vary_line = f"Vary: {self._caching['Vary']}\r\n"
        self._caching_lines = Fields(self._caching).lines
        self._made_at, self._fields = Position("", -1), Fields({})
        self._place = projector.place
        self._row_at, self._row_epoch, self._row_lines = (
            -1,
            "",
            b"",
        )  # what rows begin with, and where it was made
        self._waiting: set[asyncio.Future[bool]] = set()
        self._longest = LONGEST_WAIT_SECONDS

    @property
    def position(self) -> Position:
        """The position of this server's memory, as far as the current view may read it."""
        position = self._projector.position
        return (served_as_of.get() or position) if self._stopped else position

    def json(self, body: bytes) -> Response:
        """An answer of JSON with `Skerry-Position`, the position of this server's memory."""
        return Response(body, headers=self._lines(self.position))

    def row(self, body: bytes, offset: int) -> Response:
        """`json` for one row: its ETag is the position of its last change, with the epoch of that change."""
        place = self._place
        is_elsewhere = place.offset != self._row_at or place.epoch is not self._row_epoch
        if is_elsewhere or self._stopped or offset <= place.common:
            return self._other_row(body, offset)
        rest = b'%b%d"\r\nContent-Length: %d\r\n\r\n%b' % (self._row_lines, offset, len(body), body)
        return Response.rendered(rest, body, self._guarded)

    def _other_row(self, body: bytes, offset: int) -> Response:
        """Memory is somewhere else than before, or the row's epoch is an earlier one."""
        fields = self._lines(self.position)
        if not self._stopped:
            place = self._place
            self._row_at, self._row_epoch = place.offset, place.epoch
            self._row_lines = f'{fields.lines}ETag: "{place.epoch}:'.encode()
        return Response.ready(body, fields.lines, self.etag(offset), self._guarded)

    def missing(self) -> Response:
        """404 with an empty body and `Skerry-Position`, the position of this server's memory."""
        return Response(b"", 404, headers=self._caching).with_header(POSITION_HEADER, str(self.position))

    def _varied(self, answer: Callable[[], Response]) -> Response:
        """An answer that depends on the position that was asked for, and says so to caches."""
        try:
            made = answer()
        except Problem as problem:
            problem.headers = {**self._caching, **(problem.headers or {})}
            raise
        if made.__class__ is not Response or self._vary_line in made.head:
            return made
        varied = made.copy()
        plain = made.head.replace(NO_CACHE, "")
        varied.head = plain + (self._vary_line if "cache-control" in plain.lower() else self._caching_lines)
        return varied

    def etag(self, offset: int) -> str:
        """The ETag of a row whose last change is at `offset`, the same as that of `row` and `Unit.etag`."""
        return f"{self._projector.epoch_of(offset)}:{offset}"

    def _lines(self, position: Position) -> Fields:
        """The header lines, made once for each position."""
        if position is not self._made_at:
            self._made_at = position
            self._fields = Fields({"Content-Type": JSON, POSITION_HEADER: str(position), **self._caching})
        return self._fields

    def at(self, request: Request, answer: Callable[[], Response]) -> Response | asyncio.Future[Response]:
        """`answer()` once memory has reached the request's `Skerry-Position`; at once without one, and for a
        position that the journal's history does not have. 503 with Retry-After when it is not reached within
        `Prefer: wait` (2 s), or when a projection stops meanwhile. Raises Problem 400 for a malformed position."""
        asked = request.headers.get("skerry-position")
        if asked is None:
            return self._varied(answer)
        try:
            position = Position.parse(asked)
        except ValueError as error:
            raise Problem(400, f"Skerry-Position: {error}") from error
        here, carried = self.position, self._projector.carry(position)
        if carried is not None:
            position = carried
            if here.offset >= position.offset:
                return self._varied(answer)
            if here.offset < self._projector.position.offset:  # a view that serves what has stopped
                raise _not_yet(here, position)
        stopped_before = set(self._stopped)
        wait = Prefer.of(request.headers).wait(READ_WAIT_SECONDS, self._longest)
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Response] = loop.create_future()
        projector = self._projector
        known = carried is not None
        reached = projector.expect(position.offset) if known else projector.reach(position, hurry=False)
        timer = loop.call_later(min(wait, self._longest), reached.cancel)
        self._waiting.add(reached)

        def done(_: asyncio.Future[bool]) -> None:
            timer.cancel()
            self._waiting.discard(reached)
            if result.done():
                return
            if reached.cancelled() or not self._stopped.keys() <= stopped_before:
                held = Position(here.epoch, self._projector.held)
                result.set_result(_not_yet(held, position).response())
                return
            try:
                result.set_result(self._varied(answer))
            except Exception as error:
                result.set_exception(error)

        reached.add_done_callback(done)
        return result

    def hurry(self, seconds: float) -> None:
        """This process is ending: from now on no read waits longer than this; then it is 503, and another
        server may answer it."""
        self._longest = seconds

        def give_up() -> None:
            for reached in list(self._waiting):
                reached.cancel()

        asyncio.get_running_loop().call_later(seconds, give_up)
