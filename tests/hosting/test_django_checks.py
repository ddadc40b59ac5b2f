"""What `manage.py check` says of SKERRY and SKERRY_TARS. That it is asked is proved in tests/cli/djangosite."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from skerry.hosting.django import checks


@pytest.mark.parametrize(
    ("skerry", "tars", "numbers"),
    [
        ({}, {}, []),
        ({"JOURNAL": "sqlite:///shop.db", "NAMESPACE": "shop"}, {"django.json": "settings"}, []),
        ({}, {"env.toml": "environ"}, []),
        (["mysite.live:app"], {}, ["skerry.E001"]),
        ({"APPS": "mysite.live:app"}, {}, ["skerry.E001"]),
        ({"APP": "mysite.live"}, {}, ["skerry.E002"]),
        ({"APP": "nowhere_at_all:app"}, {}, ["skerry.E002"]),
        ({}, ["django.json"], ["skerry.E005"]),
        ({}, {"django.json": "setings", "env.toml": "environ"}, ["skerry.E005"]),
    ],
)
def test_mistakes_in_the_settings_have_their_numbers(
    monkeypatch: pytest.MonkeyPatch, skerry: Any, tars: Any, numbers: list[str]
) -> None:
    """One for each mistake, none for what is right."""
    monkeypatch.setattr(checks, "settings", SimpleNamespace(SKERRY=skerry, SKERRY_TARS=tars))
    assert [found.id for found in checks.check_settings(None)] == numbers
