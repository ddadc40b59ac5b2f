"""The table of settings in docs/configuration.md, made from the settings themselves.

`python tests/docs/settings_table.py` writes it anew.
"""

from __future__ import annotations

from pathlib import Path

from skerry.kernel.settings import Option, options

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
BEGIN, END = "<!-- settings: begin -->\n", "<!-- settings: end -->\n"


def table() -> str:
    """One line for each setting, in the order of `options()`."""
    lines = ["| environment, `.env` | `skerry.toml` | flag | default | |", "|---|---|---|---|---|"]
    for option in options():
        flag = f"`{option.flag}`" if option.kind is not bool else f"`{option.flag}`, `--no-{option.flag[2:]}`"
        meaning = option.help.replace("|", "\\|")
        lines.append(f"| `{option.variable}` | `{option.name}` | {flag} | {_default(option)} | {meaning} |")
    return "\n".join(lines) + "\n"


def _default(option: Option) -> str:
    if option.kind is bool:
        return f"`{str(option.default).lower()}`"
    return f"`{option.default}`" if option.default != "" else ""


def split(text: str) -> tuple[str, str, str]:
    """What stands before, in and behind the table. Raises ValueError when the page has lost its marks."""
    before, begin, rest = text.partition(BEGIN)
    inside, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE}: {BEGIN.strip()} ... {END.strip()} is missing")
    return before + begin, inside, end + after


if __name__ == "__main__":
    before, _, after = split(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(before + table() + after, encoding="utf-8")
