"""`skerry tars generate`: Python modules from `.tars` files.

Only reads and writes files and says what it did; the text comes from `tars/idl/generator.py`.
"""

from __future__ import annotations

from pathlib import Path

import click

from skerry.errors import DeclarationError
from skerry.tars.errors import IdlError
from skerry.tars.idl.files import read_idls
from skerry.tars.idl.generator import generate

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command("generate")
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--out", required=True, type=_FOLDER, help="folder for the modules; made when it is not there")
@click.option(
    "--include", multiple=True, type=_FOLDER, help="folder to look for included files in; repeatable"
)
@click.option(
    "--package", default="", help="package of the folder, for imports; relative ones when not given"
)
@click.option("--encoding", default="utf-8", show_default=True, help="encoding of the files")
@click.option("--strict", is_flag=True, help="refuse what tars2cpp refuses, too")
@click.option("--check", is_flag=True, help="write nothing; exit with 1 when a module would change")
def generate_command(
    files: tuple[Path, ...],
    out: Path,
    include: tuple[Path, ...],
    package: str,
    encoding: str,
    strict: bool,
    check: bool,
) -> None:
    """Write a typed Python module for every module of FILES and of what they include."""
    try:
        idl = read_idls(files, include, encoding)
        if strict and idl.refused_elsewhere:
            raise click.ClickException("\n".join(map(str, idl.refused_elsewhere)))
        texts = generate(idl, package)
    except (IdlError, DeclarationError) as error:
        raise click.ClickException(str(error)) from None
    except LookupError as error:
        raise click.BadParameter(str(error), param_hint="--encoding") from None
    stale = [name for name, text in texts.items() if _read(out / name) != text]
    if check:
        if stale:
            raise click.ClickException(f"not up to date in {out}: {', '.join(stale)}")
        click.echo(f"{out}: {len(texts)} modules are up to date")
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        if len(texts) > 1 and not (out / "__init__.py").exists():
            (out / "__init__.py").write_text('"""Made by `skerry tars generate`."""\n', encoding="utf-8")
        for name, text in texts.items():
            (out / name).write_text(text, encoding="utf-8")
            click.echo(f"{out / name}: {'written' if name in stale else 'unchanged'}")
    except OSError as error:
        raise click.ClickException(f"cannot write {error.filename}: {error.strerror}") from None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
