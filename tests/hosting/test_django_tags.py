"""What a template tag finds in its context: the position at which the request began."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from skerry.hosting.django.templatetags.skerry import _begun_at
from skerry.hosting.page import BEGUN_AT


@pytest.mark.parametrize(
    ("context", "found"),
    [
        ({"request": SimpleNamespace(scope={BEGUN_AT: "e:7"}, META={})}, "e:7"),
        ({"request": SimpleNamespace(META={BEGUN_AT: "e:8"})}, "e:8"),
        ({"request": SimpleNamespace(scope={}, META={BEGUN_AT: "of another"})}, ""),
        ({}, ""),
    ],
)
def test_a_page_begins_where_its_request_began(context: Any, found: str) -> None:
    """Under ASGI it stands in the scope, under WSGI in the environ; without an App it is empty."""
    assert _begun_at(context) == found
