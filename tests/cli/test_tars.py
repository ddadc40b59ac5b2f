"""`skerry tars generate` from the outside."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from skerry.cli.tars import tars

SOURCE = "module demo { struct A { 0 require int x; }; interface I { int f(A a); }; };"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(tars, ["generate", *map(str, arguments)])


def test_modules_are_written(tmp_path: Path) -> None:
    """One line per module says what happened; a second run changes nothing."""
    (tmp_path / "demo.tars").write_text(SOURCE, encoding="utf-8")
    first = run(tmp_path / "demo.tars", "--out", tmp_path / "new" / "out")
    assert first.exit_code == 0
    assert first.output == f"{tmp_path / 'new' / 'out' / 'demo.py'}: written\n"
    assert [p.name for p in (tmp_path / "new" / "out").iterdir()] == ["demo.py"]
    assert "unchanged" in run(tmp_path / "demo.tars", "--out", tmp_path / "new" / "out").output


def test_several_modules_are_a_package(tmp_path: Path) -> None:
    """They import each other, so the folder gets an `__init__.py`; one that is there stays."""
    (tmp_path / "inc").mkdir()
    (tmp_path / "inc" / "common.tars").write_text("module common { enum E { A }; };", encoding="utf-8")
    main = '#include "common.tars"\nmodule m { struct S { 0 require common::E e; }; };'
    (tmp_path / "main.tars").write_text(main, encoding="utf-8")
    done = run(tmp_path / "main.tars", "--out", tmp_path / "out", "--include", tmp_path / "inc")
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["__init__.py", "common.py", "m.py"]


def test_check_writes_nothing(tmp_path: Path) -> None:
    """It says what is stale, for continuous integration."""
    (tmp_path / "demo.tars").write_text(SOURCE, encoding="utf-8")
    stale = run(tmp_path / "demo.tars", "--out", tmp_path / "out", "--check")
    assert (stale.exit_code, (tmp_path / "out").exists()) == (1, False)
    assert "demo.py" in stale.output
    run(tmp_path / "demo.tars", "--out", tmp_path / "out")
    assert run(tmp_path / "demo.tars", "--out", tmp_path / "out", "--check").exit_code == 0


def test_errors_are_one_line(tmp_path: Path) -> None:
    """File, line, column, what was expected; nothing is written."""
    (tmp_path / "demo.tars").write_text("module demo {\n  struct A { 0 int x; }; };", encoding="utf-8")
    done = run(tmp_path / "demo.tars", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert done.output.strip() == (
        f"Error: {tmp_path / 'demo.tars'}:2:16: unexpected 'int', expected require or optional"
    )
    assert not (tmp_path / "out").exists()
    assert run(tmp_path / "none.tars", "--out", tmp_path / "out").exit_code == 1
    assert run(tmp_path / "demo.tars", "--out", tmp_path / "out", "--encoding", "klingon").exit_code == 2
