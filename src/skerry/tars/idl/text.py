"""Texts of the IDL inside of Python source: literals, docstrings and comments that cannot end early."""

from __future__ import annotations


def repr_text(text: str) -> str:
    """A text in double quotes, printable."""
    plain = text.encode("unicode_escape").decode("ascii").replace('"', '\\"')
    return f'"{plain}"'


def _printable(text: str) -> list[str]:
    """The lines of a comment, without anything that could end it."""
    return ["".join(c if c.isprintable() else " " for c in line).rstrip() for line in text.splitlines()]


def docstring(text: str, indent: str) -> list[str]:
    lines = [line.replace("\\", "\\\\").replace('"""', '\\"\\"\\"') for line in _printable(text)] or [""]
    if lines[-1].endswith('"'):
        lines[-1] += " "
    if len(lines) == 1:
        return [f'{indent}"""{lines[0]}"""']
    rest = [f"{indent}{line}".rstrip() for line in lines[1:]]
    return [f'{indent}"""{lines[0]}', *rest, f'{indent}"""']


def comment(text: str) -> list[str]:
    return [f"    # {line}".rstrip() for line in _printable(text)]
