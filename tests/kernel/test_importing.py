"""A target is imported from where the user stands, and what is wrong with it is said by halves."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from skerry.errors import DeclarationError, SettingsError
from skerry.kernel.importing import code_of, load_target

Write = Callable[[str, str], None]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes modules into an empty working directory; they are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_module_in_the_working_directory(here: Write) -> None:
    """MODULE:NAME; NAME is `app` when it is left out, and may be an attribute of something."""
    here("shop_a.py", "class Holder:\n    inner = 3\napp = 1\nother = 2\nheld = Holder()\n")
    assert load_target("shop_a:app") == 1
    assert load_target("shop_a") == 1
    assert load_target("shop_a:other") == 2
    assert load_target("shop_a:held.inner") == 3


def test_a_module_in_a_package(here: Write) -> None:
    """Dotted names, as Python has them."""
    here("pack_b/__init__.py", "")
    here("pack_b/web.py", "app = 'there'\n")
    assert load_target("pack_b.web:app") == "there"


@pytest.mark.parametrize(
    "target", ["", ":app", "a b:app", "a/b.py", "shop.py:app x", "a:b:c", "a..b:c", "1a"]
)
def test_what_is_no_target(here: Write, target: str) -> None:
    """Said with an example of what would be one."""
    with pytest.raises(SettingsError, match="is not MODULE:NAME, as in livekv:app"):
        load_target(target)


@pytest.mark.parametrize(
    "target", ["nowhere_c:app", "nowhere_c.web:app", "pack_c.missing:app", "plain_c.web:app"]
)
def test_no_such_module(here: Write, target: str) -> None:
    """The whole dotted name is shown."""
    here("pack_c/__init__.py", "")
    here("plain_c.py", "")
    module = target.partition(":")[0]
    with pytest.raises(SettingsError, match=f"there is no module '{module}' here"):
        load_target(target)


def test_no_such_name(here: Write) -> None:
    """The module is there, the name is not."""
    here("shop_d.py", "")
    with pytest.raises(SettingsError, match="module 'shop_d' has no 'app'"):
        load_target("shop_d:app")


def test_an_error_in_the_module_is_its_own(here: Write) -> None:
    """A module that imports what is missing is not called missing itself: what helps is the way from its own first
    line to the error, without the way there."""
    here("shop_e.py", "import nowhere_e\n")
    here("shop_f.py", "import shop_g\n")
    here("shop_g.py", "1 / 0\n")
    here("shop_h.py", "def :\n")
    for target, lines, error in (
        ("shop_e", ["shop_e.py"], "ModuleNotFoundError: No module named 'nowhere_e'"),
        ("shop_f", ["shop_f.py", "shop_g.py"], "ZeroDivisionError: division by zero"),
        ("shop_h", ["shop_h.py"], "SyntaxError: invalid syntax"),
    ):
        with pytest.raises(SettingsError, match=f"^TARGET: '{target}' cannot be imported:\n") as raised:
            load_target(f"{target}:app")
        told = str(raised.value).splitlines()
        files = [line.partition('"')[2].partition('"')[0] for line in told if line.startswith("  File ")]
        assert [Path(file).name for file in files if not file.startswith("<frozen")] == lines
        assert told[-1] == error


def test_what_the_application_says_itself_is_passed_on(here: Write) -> None:
    """A declaration that cannot work has its own line already."""
    here("shop_i.py", "from skerry.errors import DeclarationError\nraise DeclarationError('two handlers')\n")
    with pytest.raises(DeclarationError, match=r"^two handlers$"):
        load_target("shop_i:app")


def test_the_code_is_that_of_the_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another text of one of its files is other code; what is installed, and what it has not imported, is not its."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name, text in (("shop_code", "import shop_code_part\napp = 1\n"), ("shop_code_part", "x = 1\n")):
        (tmp_path / f"{name}.py").write_text(text)
    load_target("shop_code:app")
    first = code_of("shop_code:app")
    (tmp_path / "not_imported.py").write_text("x = 1\n")
    assert code_of("shop_code:app") == first
    (tmp_path / "shop_code_part.py").write_text("x = 2\n")
    assert code_of("shop_code:app") != first
    assert len(first) == 12


def test_the_code_of_an_application_that_is_installed_is_its_own_package() -> None:
    """Of all that is installed its files alone count."""
    assert code_of("msgspec:app") != code_of("nowhere:app")
