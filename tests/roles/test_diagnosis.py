"""What `skerry doctor` says of settings that work and are dangerous all the same."""

from __future__ import annotations

from typing import Any

import pytest

from skerry.kernel.settings import Settings
from skerry.roles.diagnosis import _settings


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, []),
        ({"durability": "normal"}, ["durability normal"]),
        ({"tokens": "write:secret", "bind": "0.0.0.0:80"}, ["tokens travel in clear text"]),
        ({"tokens": "write:secret"}, []),
        ({"tokens": "write:secret", "bind": "0.0.0.0:80", "tls_cert": "c", "tls_key": "k"}, []),
    ],
)
def test_dangerous_settings_are_named(given: dict[str, Any], told: list[str]) -> None:
    """Each with its cure; the usual ones are nothing to warn of."""
    found = list(_settings(Settings(**given)))
    assert [each.what.split(":")[0] for each in found] == told
    assert all(each.fix for each in found)
