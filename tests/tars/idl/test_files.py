"""Files that include files."""

from __future__ import annotations

from pathlib import Path

import pytest

from skerry.tars.errors import IdlError
from skerry.tars.idl.files import read_idl, read_idls


def write(folder: Path, **texts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.tars").write_text(text, encoding="utf-8")
    return folder


COMMON = "module common { struct Base { 0 require int id; }; };"


def test_includes_are_read_once_and_first(tmp_path: Path) -> None:
    """What two files include is there once; its names are known to both."""
    write(
        tmp_path,
        common=COMMON,
        a='#include "common.tars"\nmodule a { struct A { 0 require common::Base b; }; };',
        b='#include "common.tars"\n#include "a.tars"\n'
        "module b { struct B { 0 require a::A a; 1 require common::Base b; }; };",
    )
    idl = read_idl(tmp_path / "b.tars")
    assert [d.name for d in idl.order] == ["Base", "A", "B"]
    assert set(read_idls([tmp_path / "a.tars", tmp_path / "b.tars"]).modules) == {"common", "a", "b"}


def test_folders_to_include_from(tmp_path: Path) -> None:
    """After the file's own folder, in order."""
    write(tmp_path / "shared", common=COMMON)
    main = write(
        tmp_path / "app", main='#include "common.tars"\nmodule m { struct S { 0 require common::Base b; }; };'
    )
    with pytest.raises(IdlError, match=r"main\.tars:1:10: there is no file 'common\.tars'"):
        read_idl(main / "main.tars")
    assert read_idl(main / "main.tars", [tmp_path / "shared"]).modules.keys() == {"common", "m"}


def test_circles_are_refused(tmp_path: Path) -> None:
    """With the way around."""
    write(tmp_path, a='#include "b.tars"', b='#include "a.tars"')
    with pytest.raises(IdlError, match=r"b\.tars:1:10: .*a\.tars -> b\.tars -> a\.tars"):
        read_idl(tmp_path / "a.tars")


def test_errors_name_the_included_file(tmp_path: Path) -> None:
    """The place is where the fault is, not where the include is."""
    write(tmp_path, a='#include "b.tars"', b="module m {\n  struct }")
    with pytest.raises(IdlError) as caught:
        read_idl(tmp_path / "a.tars")
    assert (Path(caught.value.file).name, caught.value.line, caught.value.column) == ("b.tars", 2, 10)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Missing files and other encodings are IdlErrors too."""
    with pytest.raises(IdlError, match="No such file"):
        read_idl(tmp_path / "none.tars")
    text = "// 中文\nmodule m { struct S { 0 require int a; }; };"
    (tmp_path / "gbk.tars").write_bytes(b"\n" + text.encode("gb18030"))
    with pytest.raises(IdlError, match=r"gbk\.tars:2:1: the file is not utf-8"):
        read_idl(tmp_path / "gbk.tars")
    assert read_idl(tmp_path / "gbk.tars", encoding="gb18030").modules["m"].doc == "中文"
