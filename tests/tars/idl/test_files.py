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


def test_circles_and_includes_of_oneself_are_read_once(tmp_path: Path) -> None:
    """As tars2cpp: a file that was begun already is passed over; an include may stand anywhere between definitions."""
    write(
        tmp_path,
        a='#include "a.tars"\nmodule a { struct A { 0 require int a; };\n#include "b.tars"\n'
        "struct C { 0 require b::B b; }; };",
        b='#include "a.tars"\nmodule b { struct B { 0 require a::A a; }; };\n#include "a.tars"',
    )
    idl = read_idl(tmp_path / "a.tars")
    assert [d.name for d in idl.order] == ["A", "B", "C"]
    assert idl.modules["a"].definitions.keys() == {"A", "C"}


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
    text = '// 中文\nmodule m { struct S { 0 require int a; }; const string C = "中"; };'
    (tmp_path / "gbk.tars").write_bytes(b"\n" + text.encode("gb18030"))
    with pytest.raises(IdlError, match=r"gbk\.tars:3:\d+: this text is in another encoding .*encoding="):
        read_idl(tmp_path / "gbk.tars")
    assert read_idl(tmp_path / "gbk.tars", encoding="gb18030").modules["m"].doc == "中文"
    (tmp_path / "word.tars").write_bytes("module 中 { };".encode("gb18030"))
    with pytest.raises(IdlError, match="does not belong to the encoding"):
        read_idl(tmp_path / "word.tars")


def test_comments_may_be_in_another_encoding(tmp_path: Path) -> None:
    """Official files have GBK in comments, and are included by files in UTF-8."""
    (tmp_path / "gbk.tars").write_bytes(
        "// 中文\nmodule m { struct S { 0 require int a; }; };".encode("gb18030")
    )
    main = write(tmp_path, main='// 中文\n#include "gbk.tars"\nmodule n { struct T { 0 require m::S s; }; };')
    idl = read_idl(main / "main.tars")
    assert "\ufffd" in idl.modules["m"].doc
    assert idl.modules["m"].doc.isprintable()
