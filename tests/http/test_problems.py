"""Problems: what a client is told of an error (RFC 9457)."""

from __future__ import annotations

import json

from skerry.http.problems import Problem


def test_the_title_is_the_reason_phrase() -> None:
    """Of the status (RFC 9110), unless the problem has one of its own; a status that no RFC names gets its number."""
    titles = [json.loads(each.response().body)["title"] for each in (
        Problem(404), Problem(409, "it is sold"), Problem(422, title="Not yours"), Problem(499),
    )]  # fmt: skip
    assert titles == ["Not Found", "Conflict", "Not yours", "Status 499"]


def test_members_stand_beside_the_standard_ones() -> None:
    """Further JSON members, and fields of the head."""
    answer = Problem(409, "it is sold", members={"buyer": "ada"}, headers={"Retry-After": "3"}).response()
    assert json.loads(answer.body) == {
        "type": "about:blank", "title": "Conflict", "status": 409, "detail": "it is sold", "buyer": "ada",
    }  # fmt: skip
    assert b"\r\nretry-after: 3\r\n" in answer.render(b"").lower()
