"""Wrong settings end with one clear line that names the setting, and exit code 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from contractworld import surroundings  # type: ignore[import-not-found]


@pytest.mark.parametrize(
    ("variable", "value", "setting"),
    [
        ("SKERRY_TRANSPORT", "memory:", "transport"), ("SKERRY_JOURNAL", "sqlite:x", "journal"),
        ("SKERRY_JOURNAL", "mysql://x", "journal"), ("SKERRY_TOKENS", "secret", "tokens"),
        ("SKERRY_ORIGINS", "shop.example", "origins"), ("SKERRY_SERVERS", "many", "servers"),
        ("SERVER_PORT", "http", "bind"), ("SKERRY_TLS_CERT", "nowhere.pem", "tls_cert"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("source", ["environment", ".env"])
def test_one_line_from_up_however_many_processes(
    tmp_path: Path, variable: str, value: str, setting: str, source: str
) -> None:
    """`skerry up` finds it before it starts anything; a secret is not repeated."""
    given = {variable: value, **({"SKERRY_TLS_KEY": value} if "TLS" in variable else {})}
    if source == ".env":
        (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in given.items()))
        given = {}
    done = subprocess.run(
        [sys.executable, "-m", "skerry", "up", "livekv:app", *(["--bind", "127.0.0.1:0"] if setting != "bind" else [])],
        cwd=tmp_path, env=surroundings(tmp_path, **given), capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    [line] = (done.stdout + done.stderr).splitlines()
    assert line.startswith(f"skerry: {setting}: ")
    assert "secret" not in line
