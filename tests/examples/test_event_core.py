"""The examples of the event core print what their docstrings say."""

from __future__ import annotations

import importlib.util
import sys
import textwrap
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "event_core").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_prints_what_it_promises(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`main()` runs quickly and its output is the one in the docstring."""
    spec = importlib.util.spec_from_file_location(f"event_core_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    assert module.__doc__ is not None
    expected = textwrap.dedent(module.__doc__.partition("Expected output:\n")[2]).strip()
    module.main()
    assert capsys.readouterr().out.strip() == expected


def test_there_is_one_for_each_page() -> None:
    """Six pages, six examples."""
    assert len(EXAMPLES) == 6
