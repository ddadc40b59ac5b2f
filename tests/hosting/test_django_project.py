"""A Django project as a target: what its settings tell the App that hosts it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from skerry.hosting.django import project


def test_the_settings_name_journal_transport_and_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """One place says all that `manage.py skerry` needs for PostgreSQL; the environment comes first."""
    said = {
        "APP": "shop.live:app",
        "JOURNAL": "postgresql://db/shop",
        "TRANSPORT": "postgresql:",
        "NAMESPACE": "shop",
    }
    monkeypatch.setattr(project, "settings", SimpleNamespace(SKERRY=said))
    environ = {"SKERRY_TRANSPORT": "amqp://broker/shop"}
    project.tell_journal(environ)
    assert environ == {
        "SKERRY_JOURNAL": "postgresql://db/shop",
        "SKERRY_TRANSPORT": "amqp://broker/shop",
        "SKERRY_NAMESPACE": "shop",
    }
    environ.clear()
    project.tell_journal(environ)
    assert environ["SKERRY_TRANSPORT"] == "postgresql:"


def test_another_journal_has_its_own_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer who sets SKERRY_JOURNAL to a file does not get the transport of the database."""
    said = {"APP": "shop.live:app", "JOURNAL": "postgresql://db/shop", "TRANSPORT": "postgresql:"}
    monkeypatch.setattr(project, "settings", SimpleNamespace(SKERRY=said))
    environ = {"SKERRY_JOURNAL": "sqlite:///dev.db"}
    project.tell_journal(environ)
    assert environ == {"SKERRY_JOURNAL": "sqlite:///dev.db"}
