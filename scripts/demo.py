"""`make demo`: the live key/value store on the embedded default: a balancer, three servers, one consumer."""

from __future__ import annotations

import os
import sys

from skerry.errors import SettingsError
from skerry.kernel.settings import load_settings
from skerry.loop.sockets import address_text

DATA = "var/demo"


def place(url: str) -> str:
    """Where a journal is, without a password."""
    kind, _, rest = url.partition("://")
    return (
        rest.removeprefix("/")
        if kind == "sqlite"
        else f"{kind}://{rest.rpartition('@')[2].partition('?')[0]}"
    )


def main() -> None:
    os.environ.setdefault("SKERRY_DATA", DATA)
    os.environ.setdefault("SKERRY_JOURNAL", f"sqlite:///{DATA}/livekv.db")
    try:
        host, _, port = load_settings({}).bind.rpartition(":")
    except SettingsError as error:
        sys.exit(f"demo: {error}")
    url = f"http://{address_text(host.strip('[]') or '127.0.0.1', int(port))}"
    print(
        f"The live key/value store, once it says ready:\n\n"
        f"    page     {url}/\n"
        f"    write    curl -X PUT {url}/values/hello -d world\n"
        f"    read     curl {url}/values/hello\n"
        f"    listen   curl -N -H 'Accept: text/event-stream' {url}/events\n"
        f"    look     {sys.executable} -m skerry ps\n\n"
        f"Ctrl-C ends all of it; the values stay in {place(os.environ['SKERRY_JOURNAL'])}.\n",
        flush=True,
    )
    os.execv(sys.executable, [sys.executable, "-m", "skerry", "up", "livekv:app", *sys.argv[1:]])


if __name__ == "__main__":
    main()
