"""How much a hosted WSGI application gets: threads, queue, time. One frozen record, checked once."""

from __future__ import annotations

from dataclasses import dataclass

from skerry.errors import SettingsError
from skerry.options import option

MAX_THREADS = 1_024


@dataclass(frozen=True, slots=True)
class HostSettings:
    """Limits of one hosted application in one process."""

    kind: str = option("auto", "what TARGET is, where it does not tell", choices=("auto", "wsgi", "asgi"))
    threads: str = option(
        "2..16",
        "of a WSGI application: N, or LEAST..MOST: more while those at work wait and the queue stands",
    )
    queue: int = option(
        1_000, "requests that wait for a thread; further ones get 503", least=1, most=1_000_000
    )
    timeout: float = option(
        30.0, "seconds to the head of an answer, then twice as many without progress; 0: no limit",
        least=0.0, most=86_400.0,
    )  # fmt: skip
    max_body: int = option(0, "bytes of a request's body; 0: no limit", least=0, most=1 << 50)
    max_stuck: int = option(
        8, "threads beyond their time; with one more the process is replaced", least=0, most=MAX_THREADS
    )
    max_requests: int = option(
        0, "of `skerry host`: requests after which a process is replaced, and up to 10 % more; 0: as max_requests",
        least=0, most=1 << 40,
    )  # fmt: skip
    max_rss: str = option(
        "", "of `skerry host`: memory beyond which a process is replaced, as 512MB; empty: as max_rss_soft"
    )
    lifetime: float = option(
        0.0, "of `skerry host`: seconds after which a process is replaced, and up to 10 % more; 0: as max_lifetime",
        least=0.0, most=1e9,
    )  # fmt: skip
    strict: int = option(
        1_000,
        "every so many-th request is watched for what it leaves in its process; 1: all of them, 0: none",
        least=0,
        most=1 << 40,
    )
    stream_seconds: float = option(
        5.0, "after which an answer that goes on gets a thread of its own", least=0.1, most=86_400.0
    )
    max_streams: int = option(64, "threads for answers that go on", least=0, most=MAX_THREADS)
    idle_seconds: float = option(
        30.0, "that a thread above the least number is kept without work", least=0.1, most=86_400.0
    )
    static: str = option(
        "", "of `skerry host`: PATH=DIRECTORY of files to serve, as /static=collected; several by commas",
        multiple=True,
    )  # fmt: skip
    processes: int = option(
        0, "of `skerry host`, 0: one for each core, 2 at most, with reload 1; of `skerry up`, 0: the servers host it",
        least=0, most=256,
    )  # fmt: skip

    def __post_init__(self) -> None:
        threads_of(self.threads)
        self.directories()

    def directories(self) -> dict[str, str]:
        """The paths of files, and where they lie. Raises SettingsError."""
        found = {}
        for each in filter(None, (part.strip() for part in self.static.split(","))):
            path, separator, directory = each.partition("=")
            if not (path.startswith("/") and separator and directory):
                raise SettingsError("static", f"{each!r} is not PATH=DIRECTORY, as in /static=collected")
            found[path] = directory
        return found


def threads_of(text: str) -> tuple[int, int]:
    """N or LEAST..MOST. Raises SettingsError."""
    least, dots, most = text.partition("..")
    try:
        found = int(least), int(most if dots else least)
    except ValueError:
        found = (0, 0)
    if not 1 <= found[0] <= found[1] <= MAX_THREADS:
        raise SettingsError("threads", f"{text!r} is not N or LEAST..MOST, as in 2..16")
    return found
