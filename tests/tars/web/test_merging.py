"""Remote values in what frameworks read: nested dictionaries merged, lists replaced, types kept, nothing half."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from skerry.errors import SettingsError
from skerry.tars import merged_into
from skerry.tars.platform.formats import FormatError, Values, parse
from skerry.tars.web.merging import environment_of, merge


def test_dictionaries_are_merged_and_lists_replaced() -> None:
    """What is there and not in the file stays; the dictionary that was there is not changed itself."""
    caches: dict[str, Any] = {"default": {"TTL": 1, "HOSTS": ["a", "b"]}, "other": {}}
    config: dict[str, Any] = {"CACHES": caches, "DEBUG": True}
    named = merge(config, Values({"CACHES": {"default": {"HOSTS": ["c"]}}, "NEW": 1}, True))
    assert named == ("CACHES", "NEW")
    assert config == {
        "CACHES": {"default": {"TTL": 1, "HOSTS": ["c"]}, "other": {}}, "DEBUG": True, "NEW": 1,
    }  # fmt: skip
    assert caches["default"]["HOSTS"] == ["a", "b"]


def test_texts_get_the_type_of_what_they_replace() -> None:
    """Of formats that have only texts; one that does not fit changes nothing."""
    settings = SimpleNamespace(DEBUG=True, TTL=1, RATE=0.5, HOSTS=["a"], NAME="x", DB={"PORT": 1})
    text = "[DEFAULT]\nDEBUG=off\nTTL=7\nRATE=2\nHOSTS=b, c\nNAME=5\nNEW=5\n[DB]\nPORT=2\n"
    merge(settings, parse("a.ini", text))
    assert vars(settings) == {
        "DEBUG": False, "TTL": 7, "RATE": 2.0, "HOSTS": ["b", "c"], "NAME": "5", "NEW": "5", "DB": {"PORT": 2},
    }  # fmt: skip
    with pytest.raises(SettingsError, match=r"DB\.PORT: wants a int") as error:
        merge(settings, parse("a.ini", "[DEFAULT]\nNAME=changed\n[DB]\nPORT=hunter2\n"))
    assert "hunter2" not in str(error.value)
    assert settings.NAME == "5"


def test_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nested names are joined as pydantic's settings take them."""
    content = {"db": {"host": "x", "pool-size": 5}, "debug": True, "hosts": ["a"], "empty": None}
    assert environment_of(content) == {
        "DB__HOST": "x", "DB__POOL_SIZE": "5", "DEBUG": "true", "HOSTS": '["a"]', "EMPTY": "",
    }  # fmt: skip
    monkeypatch.setenv("TARS_TEST_GREETING", "old")
    merge(os.environ, Values({"tars_test_greeting": "new"}, True))
    assert os.environ["TARS_TEST_GREETING"] == "new"


def test_a_handler_for_any_target() -> None:
    """`merged_into` is what on_config takes; a text that cannot be read is refused."""
    config: dict[str, Any] = {}
    handler = merged_into(config, "flask.json")
    handler('{"A": 1}')
    assert config == {"A": 1}
    with pytest.raises(FormatError):
        handler("{")
