"""Return codes as exceptions."""

from __future__ import annotations

import pytest

from skerry.tars.call_errors import CallError, RemoteError, ServantError, ServerOverloaded, remote_error
from skerry.tars.errors import TarsError


def test_errors_by_code() -> None:
    """A known code has its class, any other is a plain RemoteError with that code."""
    error = remote_error(-9, "A.B.C.f", "tcp -h h -p 1", "full")
    assert isinstance(error, ServerOverloaded)
    assert isinstance(error, CallError)
    assert (error.code, error.description) == (-9, "full")
    assert "A.B.C.f" in str(error)
    other = remote_error(17, "f", "", "")
    assert type(other) is RemoteError
    assert other.code == 17


def test_zero_is_no_error() -> None:
    """A servant cannot fail with the code of success."""
    with pytest.raises(ValueError, match="success"):
        ServantError(0)


def test_all_are_tars_errors() -> None:
    """One `except TarsError` is enough."""
    assert issubclass(CallError, TarsError)
    assert issubclass(ServantError, TarsError)
