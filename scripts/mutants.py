"""A spot check of the tests: small changes of meaning in the code, each of which the tests of its room have to notice.

    python scripts/mutants.py                     # 47 changes, seed 1
    python scripts/mutants.py --seed 7 --count 10 --room http
    python scripts/mutants.py --list              # only say what would be changed

The seed chooses the changes: a comparison turned round or off by one, an operand of `and` or `or` left out, a `not`
left out, a call or `+=` left out, the first argument in place of `min` or `max`. Each is made in a copy of the
committed tree, where the tests of the room run until the first failure. A change that survives is a promise without a
test (write it), or one that no caller can see (add it to SAME, with the reason). Exit code 1 below `--aim` %.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rooms import ROOMS, ROOT, SOURCE, WITH_SERVICES, modules_of, room_of, suite_of

LONGEST_SECONDS = 240
"""A change that makes the tests run longer than this counts as noticed, and is shown: the machine may be slow."""
NOTICED, SURVIVED, TOO_LONG = "noticed ", "SURVIVED", "too long"

SAME: dict[tuple[str, str], str] = {
    ("tars/wire/decoder.py", "tag < 14  ->  (tag <= 14)"): "a long head below 15 is refused one line before",
    ("backends/local/peer.py", "self.welcomed and self._connection is not None  ->  (self.welcomed)"): (
        "only a connection is welcomed, and one that is lost is not"
    ),
    ("kernel/visibility.py", "served_as_of.reset(token)  ->  pass"): "the task ends with its answer",
    ("backends/local/peer.py", "self.welcomed and self._owner is not None  ->  (self._owner is not None)"): (
        "it decides on a line of the log only"
    ),
    (
        "server/framing.py",
        "len(line) < _LONGEST  ->  (len(line) <= _LONGEST)",
    ): "a line is remembered, or made again",
    (
        "http/hosts.py",
        'headers.get("host") or ""  ->  (headers.get(\'host\'))',
    ): "no name is served as an empty one",
    ("loop/driver.py", "self.busy or self._single  ->  (self.busy)"): (
        "an alarm in a loop that is asked turn by turn rings in its turns"
    ),
}
"""(file, change as it is shown) of changes that nobody could see from outside, and why."""

TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
CLOCKS = ("monotonic()", ".time()", "perf_counter()")
"""No two readings of these are the same: whether a bound itself counts is seen by nobody."""
SPOKEN = {"debug", "info", "warning", "error", "exception", "log"}
"""Methods of loggers: leaving one out changes no behaviour that is promised."""


@dataclass(frozen=True, slots=True)
class Change:
    """One place of a file and what stands there instead."""

    path: Path
    line: int
    start: int
    end: int
    before: str
    after: str

    @property
    def shown(self) -> str:
        def short(text: str) -> str:
            return " ".join(text.split())[:70]

        return f"{short(self.before)}  ->  {short(self.after)}"

    @property
    def name(self) -> str:
        return str(self.path.relative_to(SOURCE))

    @property
    def room(self) -> str:
        return room_of(self.path) or ""


def changes_of(path: Path) -> Iterator[Change]:
    """Every change that could be made to this file."""
    text = path.read_text(encoding="utf-8")
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line.encode()))
    data = text.encode()
    for node in _looked_at(ast.parse(text)):
        for after in _instead(node):
            start = starts[node.lineno - 1] + node.col_offset
            end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
            yield Change(path, node.lineno, start, end, data[start:end].decode(), after)


def _looked_at(tree: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """Expressions and statements that run: no annotations, no decorators, no texts for people."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name not in ("__repr__", "__str__"):
                for statement in node.body:
                    yield from _within(statement)
        elif isinstance(node, ast.ClassDef):
            yield from _looked_at(node)


def _within(node: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    if isinstance(node, ast.Raise | ast.Assert | ast.AnnAssign | ast.JoinedStr):
        return
    if isinstance(node, ast.expr | ast.stmt):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from _within(child)


def _instead(node: ast.expr | ast.stmt) -> Iterator[str]:
    match node:
        case ast.Compare(ops=[ast.Lt() | ast.LtE() | ast.Gt() | ast.GtE()]) if _reads_clock(node):
            return
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in TURNED:
            yield f"({ast.unparse(ast.Compare(left, [TURNED[type(op)]()], [right]))})"
        case ast.BoolOp(op=op, values=values):
            kept = [values[:-1], values[1:]]
            for rest in kept:
                yield f"({ast.unparse(rest[0] if len(rest) == 1 else ast.BoolOp(op, rest))})"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield f"(not not {ast.unparse(operand)})"
        case ast.Call(func=ast.Name(id="min" | "max"), args=[first, _], keywords=[]):
            yield f"({ast.unparse(first)})"
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr=attribute))) if attribute not in SPOKEN:
            yield "pass"
        case ast.AugAssign():
            yield "pass"


def _reads_clock(node: ast.expr) -> bool:
    text = ast.unparse(node)
    return any(clock in text for clock in CLOCKS)


def chosen(seed: int, count: int, room: str | None) -> list[Change]:
    """As many changes as asked for, at most one in a function's neighbourhood, spread over the rooms by their size."""
    rooms = [room] if room else [name for name in ROOMS if name not in WITH_SERVICES]
    if room and room not in ROOMS:
        sys.exit(f"mutants: no room {room!r}; there are {', '.join(ROOMS)}")
    found = [change for name in rooms for path in modules_of(name) for change in changes_of(path)]
    found = [change for change in found if (change.name, change.shown) not in SAME]
    random.Random(seed).shuffle(found)
    taken: list[Change] = []
    near: set[tuple[str, int]] = set()
    for change in found:
        place_of = (change.name, change.line // 20)
        if place_of not in near:
            near.add(place_of)
            taken.append(change)
    return taken[:count]


def noticed(change: Change, tree: Path) -> str:
    """What the tests of its room make of the change. The tests of the file's own name come first."""
    path = tree / change.path.relative_to(ROOT)
    data = path.read_bytes()
    path.write_bytes(data[: change.start] + change.after.encode() + data[change.end :])
    tests = suite_of(change.room, tree)
    own = [found for test in tests if test.is_dir() for found in test.rglob(f"test_{change.path.stem}*.py")]
    try:
        for which in filter(None, (own, tests)):
            if (verdict := _run(tree, which)) != SURVIVED:
                return verdict
        return SURVIVED
    finally:
        path.write_bytes(data)


def _run(tree: Path, tests: list[Path]) -> str:
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "--no-header", "--tb=no", *map(str, tests)]
    environment = {**os.environ, "PYTHONPATH": f"{tree}/src:{tree}/examples/livekv/src"}
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=LONGEST_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return TOO_LONG
    if b"while loading conftest" in done.stdout:
        return NOTICED
    if done.returncode not in (0, 1, 2, 3):  # 4 and 5: no tests
        sys.exit(f"mutants: pytest ended with {done.returncode}\n{done.stdout.decode()[-2000:]}")
    return NOTICED if done.returncode else SURVIVED


def copy_of_head(directory: Path) -> Path:
    """The committed tree, to be changed at will."""
    packed = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "x", "-C", directory], input=packed, check=True)
    return directory


def main() -> int:
    parser = argparse.ArgumentParser(description="Do the tests notice small changes of meaning?")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=47)
    parser.add_argument("--room", help="only this part of src/skerry")
    parser.add_argument(
        "--aim", type=int, default=89, help="how many in a hundred have to be noticed (42 of 47)"
    )
    parser.add_argument("--list", action="store_true", help="say what would be changed, and run nothing")
    given = parser.parse_args()
    changes = chosen(given.seed, given.count, given.room)
    if given.list:
        print(*(f"{change.name}:{change.line}: {change.shown}" for change in changes), sep="\n")
        return 0
    survived = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        tree = copy_of_head(Path(directory))
        for number, change in enumerate(changes, 1):
            began = time.monotonic()
            verdict = noticed(change, tree)
            survived += verdict == SURVIVED
            took = time.monotonic() - began
            print(
                f"{number:3} {verdict} {took:4.0f} s  {change.name}:{change.line}: {change.shown}", flush=True
            )
    kept = len(changes) - survived
    print(f"mutants: {kept} of {len(changes)} noticed (seed {given.seed})")
    return 0 if kept * 100 >= given.aim * len(changes) else 1


if __name__ == "__main__":
    sys.exit(main())
