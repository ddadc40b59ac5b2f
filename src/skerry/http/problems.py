"""Errors as a client sees them: `application/problem+json` (RFC 9457), never with internals.

Raise a `Problem` in a view for an exact answer. Errors of the framework become problems by `problem_of`; any other
exception is the application's own fault, is logged with the request's id, and shows the client only that id.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.exceptions import HTTPException

from skerry.errors import (
    DeadlineExceeded,
    InvalidMessage,
    MessageTooLarge,
    PreconditionFailed,
    Rejected,
    SkerryError,
    Unavailable,
    UnknownMessage,
)
from skerry.http.headers import Headers
from skerry.http.reply import PHRASES, Response

MEDIA_TYPE = "application/problem+json"


class Problem(SkerryError):
    """An error as an answer (RFC 9457).

    `status` is the HTTP status, `detail` a sentence for the client, `headers` go with the answer, `members` are
    further JSON members of the problem object (`errors`, for instance).
    """

    def __init__(
        self,
        status: int,
        detail: str = "",
        *,
        title: str | None = None,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail or title or str(status))
        self.status, self.detail = status, detail
        self.title = title or title_of(status)
        self.headers, self.members = headers, members

    def response(self) -> Response:
        """The problem as an answer."""
        body: dict[str, object] = {"type": "about:blank", "title": self.title, "status": self.status}
        if self.detail:
            body["detail"] = self.detail
        if self.members:
            body.update(self.members)
        return Response(msgspec.json.encode(body), self.status, media_type=MEDIA_TYPE, headers=self.headers)


def title_of(status: int) -> str:
    """The reason phrase of a status (RFC 9110 section 15)."""
    return PHRASES.get(status) or f"Status {status}"


def refuse_encoded(headers: Headers) -> None:
    """Raises Problem 415 for a body that comes in a coding: what a view would get are other bytes than those that were
    meant (RFC 9110 section 15.5.16)."""
    coding = headers.get("content-encoding")
    if coding is not None and coding.strip().lower() != "identity":
        fields = {"Accept-Encoding": "identity"}
        raise Problem(415, f"a body in the coding {coding[:40]!r} is not read here", headers=fields)


def problem_of(error: BaseException) -> Problem | None:
    """The problem that stands for an error which may be shown; None for an unexpected one."""
    match error:
        case Problem():
            return error
        case HTTPException():
            detail = "" if error.detail == title_of(error.status_code) else str(error.detail)
            return Problem(error.status_code, detail, headers=error.headers)
        case PreconditionFailed():
            return Problem(412, error.reason)
        case Rejected():
            return Problem(409, error.reason)
        case Unavailable():
            seconds = max(1, round(error.retry_after_seconds))
            return Problem(503, error.reason, headers={"Retry-After": str(seconds)})
        case DeadlineExceeded():
            return Problem(503, str(error), headers={"Retry-After": "1"})
        case MessageTooLarge():
            return Problem(413, str(error))
        case InvalidMessage():
            return Problem(422, error.without_value, members={"field": error.field} if error.field else None)
        case UnknownMessage():
            return Problem(422, str(error))
    return None


def unexpected(request_id: str) -> Response:
    """The answer for an error that is ours: it names the request, so that the log line can be found."""
    problem = Problem(
        500,
        "the server failed to answer; the log line with this request id says why",
        headers={"X-Request-ID": request_id},
        members={"request_id": request_id},
    )
    return problem.response()
