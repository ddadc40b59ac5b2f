"""The documentation is true as far as a machine can tell: code runs, links lead somewhere, commands exist."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
sys.path.insert(0, str(ROOT))

from tests.docs.pages import anchors, blocks, commands, links, name_of, pages  # noqa: E402
from tests.docs.settings_table import PAGE as CONFIGURATION  # noqa: E402
from tests.docs.settings_table import parts, split, table  # noqa: E402

from skerry.cli.main import main  # noqa: E402
from skerry.kernel.settings import options, sections  # noqa: E402
from skerry.options import options_of  # noqa: E402
from skerry.testing.broker import free_ports  # noqa: E402

DEADLINE_SECONDS = 250
PAGES = pages()
EXAMPLES = sorted([*(ROOT / "examples").glob("*.py"), *(ROOT / "examples" / "event_core").glob("*.py")])
PATHS = re.compile(r"(?<![\w./-])/(?:work|home|root|Users)/\w|\bpypi\.org/simple|index-url|--find-links")
SECRET = re.compile(r"https?://[^\s/]*:[^\s/@]*@")


def on_page(page: Path) -> str:
    return name_of(page)


@pytest.mark.parametrize("page", PAGES, ids=on_page)
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    """Python blocks run in order, in one namespace, in an empty directory and a process of their own."""
    if not any(block.language == "python" or block.file for block in blocks(page)):
        return
    done = run_page(page, tmp_path)
    assert done.returncode == 0, f"{name_of(page)}:\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=on_page)
def test_a_reader_sees_which_file_a_block_belongs_to(page: Path) -> None:
    """What stands behind the language of a fence is not shown: the line above says it too."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for block in blocks(page):
        if block.file is not None:
            above = next(line for line in reversed(lines[: block.line - 2]) if line.strip())
            assert f"`{block.file}`" in above, f"{name_of(page)}:{block.line}"


@pytest.mark.parametrize("page", PAGES, ids=on_page)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file or directory that is there, and a heading that the page has."""
    broken: list[str] = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        lost = not target.exists() or not target.is_relative_to(ROOT)
        if lost or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=on_page)
def test_commands_exist(page: Path) -> None:
    """Every `skerry ...` that a page shows is a command with options that it has."""
    wrong = [f"{name_of(page)}:{line}: {why}" for line, words in commands(page) if (why := problem_of(words))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES, ids=on_page)
def test_no_page_knows_a_machine(page: Path) -> None:
    """No paths of somebody's machine, no package index, no password in an address that is not an example."""
    text = page.read_text(encoding="utf-8")
    assert not PATHS.search(text)
    assert not SECRET.search(text)


def test_every_page_can_be_found() -> None:
    """From docs/index.md, or a list that it leads to, every page under docs/ is linked."""
    start = ROOT / "docs" / "index.md"
    seen: set[Path] = set()
    waiting = [start]
    while waiting:
        page = waiting.pop()
        seen.add(page)
        for link in links(page):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target.is_relative_to(ROOT / "docs") and target not in seen:
                waiting.append(target)
    lost = {name_of(page) for page in PAGES if page.is_relative_to(ROOT / "docs")} - {
        name_of(page) for page in seen
    }
    assert not lost


def test_every_command_is_documented() -> None:
    """docs/commands.md names every command that there is."""
    named = {tuple(words) for _, words in commands(ROOT / "docs" / "commands.md")}
    missing = [
        " ".join(path)
        for path in command_paths(main)
        if not any(list(words[: len(path)]) == path for words in named)
    ]
    assert not missing


def test_every_wing_is_on_the_floor_that_the_page_says() -> None:
    """docs/architecture.md has the floors of tests/test_house.py."""
    house = ast.parse((ROOT / "tests" / "test_house.py").read_text(encoding="utf-8"))
    floors = next(
        ast.literal_eval(node.value)
        for node in house.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FLOORS"
    )
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    told = {
        wing: int(floor)
        for floor, wings in re.findall(r"^\| (\d) \| (.*) \|$", page, re.MULTILINE)
        for wing in re.findall(r"`(\w+)`", wings)
    }
    told.pop("livekv")  # an application, not a wing of the framework
    assert told.items() <= floors.items()
    there = {path.stem for path in (ROOT / "src" / "skerry").iterdir() if not path.name.startswith("__")}
    assert there - {"py"} <= told.keys()


def test_the_table_of_settings_is_theirs() -> None:
    """docs/configuration.md says what the settings say: `python tests/docs/settings_table.py` writes it anew."""
    page = CONFIGURATION.read_text(encoding="utf-8")
    assert split(page)[1] == table()
    assert split(page, "parts")[1] == parts()


def test_every_setting_is_read() -> None:
    """A setting that nothing reads would be a promise that nobody keeps."""
    source = "".join(
        path.read_text(encoding="utf-8")
        for path in (ROOT / "src").rglob("*.py")
        if path.name != "settings.py" or path.parent.name != "kernel"
    )
    found = [option for section, kind in sections().items() for option in options_of(kind, section)]
    read = r'\.{0}\b(?!\()|same_as\(\s*"{0}"'
    unread = {o.key for o in (*options(), *found) if not re.search(read.format(o.name), source)}
    assert not unread


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_import(path: Path, tmp_path: Path) -> None:
    """Every example can be imported from its own directory, and starts nothing by that."""
    code = f"import sys; sys.path.insert(0, {str(path.parent)!r}); import {path.stem}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_SECONDS
    )
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


def test_the_tutorial_s_store_is_a_real_one(tmp_path: Path) -> None:
    """What a reader has in the end: its tests pass, `skerry run` serves it, and values survive `kill -9`."""
    done = run_page(ROOT / "docs" / "tutorial.md", tmp_path)
    assert done.returncode == 0, done.stderr
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_store.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_SECONDS,
    )  # fmt: skip
    assert tests.returncode == 0, tests.stdout + tests.stderr
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}/values/colour"
    for method, expected in (("PUT", '{"key":"colour","value":"blue","message":"OK"}'),
                             ("GET", '{"key":"colour","value":"blue"}')):  # fmt: skip
        store = subprocess.Popen(
            [sys.executable, "-m", "skerry", "run", "store:app", "--bind", f"127.0.0.1:{port}"], cwd=tmp_path
        )
        try:
            assert ask(method, url, b"blue" if method == "PUT" else None) == expected
        finally:
            store.kill()
            store.wait()


# How it is found out -------------------------------------------------------------------------------------------


def run_page(page: Path, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a page's blocks in `directory`; a page that hangs raises TimeoutExpired."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SKERRY_")}
    return subprocess.run(
        [sys.executable, str(HERE / "runner.py"), str(page)],
        cwd=directory, env=environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS,
    )  # fmt: skip


def problem_of(words: list[str]) -> str | None:
    """What is wrong with the words after `skerry`; None when nothing is."""
    command: click.Command = main
    context = click.Context(main)
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        names = rest.pop(0).split("|")
        if len(names) > 1 or names[0] in ("...", "COMMAND"):
            known = set(command.list_commands(context))
            return f"no commands {set(names) - known}" if len(names) > 1 and set(names) - known else None
        found = command.get_command(context, names[0])
        if found is None:
            return f"there is no command {names[0]!r} in {' '.join(['skerry', *words])!r}"
        command = found
    known_options = {
        name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)
    }
    for word in rest:
        option = re.match(r"\[?(--?[a-z][a-z-]*)", word)
        if option and option[1] not in known_options | {"--help", "-h", "--version"}:
            return f"{' '.join(['skerry', *words])!r}: no option {option[1]}"
    return None


def command_paths(group: click.Group, before: tuple[str, ...] = ()) -> list[list[str]]:
    """Every command below `group` that does something, as its words."""
    context = click.Context(group)
    found: list[list[str]] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            found += command_paths(command, (*before, name))
        elif command is not None and not command.hidden:
            found.append([*before, name])
    return found


def ask(method: str, url: str, body: bytes | None) -> str:
    """The answer's body, once the server listens; raises after 90 s."""
    until = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, data=body, method=method), timeout=30
            ) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > until:
                raise
            time.sleep(0.05)  # a real process that is starting: nothing tells when it listens
