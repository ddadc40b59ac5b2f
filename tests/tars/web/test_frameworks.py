"""Remote files in the settings of frameworks when a process starts: what does not fit costs no good copy."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from skerry.errors import SettingsError
from skerry.tars.platform.formats import parse
from skerry.tars.platform.services import Services
from skerry.tars.web.frameworks import Frameworks, _DjangoSettings
from skerry.tars.web.merging import merge
from skerry.testing.tars import TarsPlatform, tars_platform

__all__ = ["tars_platform"]
FILE = "flask.json"


async def test_a_start_with_a_file_that_does_not_fit(tars_platform: TarsPlatform, tmp_path: Path) -> None:
    """The local copy is used, and stays what it was; without one the process does not start, and nothing is kept."""

    async def taken(text: str) -> dict[str, Any]:
        tars_platform.config.put("Demo", "PyServer", FILE, text)
        settings = {"LIMIT": 1}
        services = Services(tars_platform.configuration(tmp_path))
        await asyncio.to_thread(Frameworks(services).take, {FILE: "settings"}, settings, "here")
        await services.stop()
        return settings

    copy = tmp_path / "bin" / FILE
    with pytest.raises(SettingsError):
        await taken("{broken")
    assert not copy.exists()
    assert await taken('{"LIMIT": 2}') == {"LIMIT": 2}
    assert await taken("{broken") == {"LIMIT": 2}
    assert copy.read_text(encoding="utf-8") == '{"LIMIT": 2}'


def test_a_name_that_is_no_setting_of_django_leaves_all_as_it_was() -> None:
    """Also what stands before it in the file."""
    settings = SimpleNamespace(GREETING="old")
    with pytest.raises(SettingsError, match="in capitals"):
        merge(_DjangoSettings(settings), parse("django.json", '{"GREETING": "new", "small": 1}'))
    assert settings == SimpleNamespace(GREETING="old")
