"""A child for the runner's tests: does what its arguments say, with the real `Worker`.

child_program.py ready | crash | settings | owner FILE | burst | hang | deaf | never | parent

An owner works while it has the lock on FILE, and stands by for it. What FILE.manner says when it starts is how it goes
on: "good", "dies standing by", "dies as owner" (before it is ready), "deaf" (lets nothing go).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

from skerry.process.worker import Worker
from skerry.supervision.failure import Failure


class Owner:
    """See the module."""

    def __init__(self, worker: Worker, path: Path) -> None:
        self.worker, self.path = worker, path
        self.manner = path.with_suffix(".manner").read_text()
        self.file = os.open(path, os.O_RDWR | os.O_CREAT)
        self.decided = 0
        worker.gauges = lambda: {"decided": self.decided}
        worker.on_yield, worker.on_recall = self.let_go, self.take_again
        self.working: set[asyncio.Task[None]] = set()

    def try_lock(self) -> bool:
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    async def own(self) -> None:
        if not self.try_lock():
            self.worker.state("standby")
            if self.manner == "dies standing by":
                await asyncio.sleep(0)
                os._exit(3)
            while not self.try_lock():  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.01)
        if self.manner == "dies as owner":
            os._exit(3)
        print(f"{os.getpid()} owns", flush=True)

    def let_go(self) -> None:
        if self.manner != "deaf":
            fcntl.flock(self.file, fcntl.LOCK_UN)
            self.worker.state("standby")

    def take_again(self) -> None:
        self.working.add(asyncio.create_task(self.go_on()))

    async def go_on(self) -> None:
        while not self.try_lock():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.01)
        self.worker.ready()
        print(f"{os.getpid()} owns again", flush=True)


async def serve(worker: Worker, kind: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_stop(seconds: float) -> None:
        if kind != "deaf":
            loop.call_soon(stop.set)

    await worker.start(on_stop)
    worker.gauges = lambda: {"lag": 0}
    worker.metrics = lambda: f'# TYPE pid gauge\npid{{a="b"}} {os.getpid()}\n'
    if kind == "owner":
        owning = asyncio.create_task(Owner(worker, Path(sys.argv[2])).own())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({owning, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not owning.done():
            os._exit(0)
    if kind == "failing":
        try:
            raise LookupError("a part of the child")
        except LookupError as error:
            worker.failure(Failure.of("hub", error, at=time.time()))
    if kind != "never":
        worker.ready()
    print(f"{kind} runs as {os.environ['SKERRY_PROCESS']}", flush=True)
    if kind == "gather":
        print((await worker.all_metrics(60.0)).replace("\n", "|"), flush=True)
    if kind == "parent":
        for program in ("exec sleep 600", "trap '' TERM; sleep 600"):
            print("started", subprocess.Popen(["sh", "-c", program]).pid, flush=True)  # noqa: ASYNC220 - left behind
    if kind == "burst":
        sys.stdout.write("".join(f"line {number}\n" for number in range(50_000)))
        sys.stdout.flush()
        worker.state("standby")
    if kind == "hang":
        time.sleep(600)  # noqa: ASYNC251 - this is what the test is about
    await stop.wait()
    print("drained", flush=True)
    await worker.close()


def main() -> None:
    kind = sys.argv[1]
    worker = Worker.inherited()
    assert worker is not None
    if kind == "settings":
        print("skerry: bind: something is wrong", file=sys.stderr)
        raise SystemExit(2)
    if kind == "crash":
        raise ValueError("a mistake in the child")
    asyncio.run(serve(worker, kind))


if __name__ == "__main__":
    main()
