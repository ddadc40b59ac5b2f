"""The tables of settings in docs/configuration.md, made from the settings themselves.

`python tests/docs/settings_table.py` writes it anew.
"""

from __future__ import annotations

from pathlib import Path

from skerry.kernel.settings import Option, options, sections
from skerry.options import options_of
from skerry.plugins import SETTINGS, ours

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def table() -> str:
    """One line for each setting, in the order of `options()`."""
    lines = ["| environment, `.env` | `skerry.toml` | flag | default | |", "|---|---|---|---|---|"]
    for option in options():
        flag = f"`{option.flag}`" if option.kind is not bool else f"`{option.flag}`, `--no-{option.flag[2:]}`"
        lines.append(
            f"| `{option.variable}` | `{option.name}` | {flag} | {_default(option)} | {_cell(option.help)} |"
        )
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(option: Option) -> str:
    if option.kind is bool:
        return f"`{str(option.default).lower()}`"
    return f"`{option.default}`" if option.default != "" else ""


def parts() -> str:
    """A table for each part of ours, under its name."""
    lines: list[str] = []
    for section in ours(SETTINGS):
        kind = sections()[section]
        lines += [
            f"### {section}",
            "",
            (kind.__doc__ or "").partition(". ")[0].replace("\n    ", " ").rstrip(".") + ".",
        ]
        lines += ["", "| environment, `.env` | `skerry.toml` | default | |", "|---|---|---|---|"]
        lines += [
            f"| `{each.variable}` | `{each.name}` | {_default(each)} | {_cell(each.meaning)} |"
            for each in options_of(kind, section)
        ]
        lines.append("")
    return "\n" + "\n".join(lines)


def split(text: str, mark: str = "settings") -> tuple[str, str, str]:
    """What stands before, in and behind a table. Raises ValueError when the page has lost its marks."""
    first, last = f"<!-- {mark}: begin -->\n", f"<!-- {mark}: end -->\n"
    before, begin, rest = text.partition(first)
    inside, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"{PAGE}: {first.strip()} ... {last.strip()} is missing")
    return before + begin, inside, end + after


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    for mark, made in (("settings", table()), ("parts", parts())):
        before, _, after = split(page, mark)
        page = before + made + after
    PAGE.write_text(page, encoding="utf-8")
