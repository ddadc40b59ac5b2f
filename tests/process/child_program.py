"""A child for the runner's tests: does what its arguments say, with the real `Worker`.

child_program.py ready | crash | settings | standby FILE | hang | deaf | never | orphan
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from skerry.process.worker import Worker
from skerry.supervision.failure import Failure


async def serve(worker: Worker, kind: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_stop(seconds: float) -> None:
        if kind != "deaf":
            loop.call_soon(stop.set)

    await worker.start(on_stop)
    worker.gauges = lambda: {"lag": 0}
    worker.metrics = lambda: f'# TYPE pid gauge\npid{{a="b"}} {os.getpid()}\n'
    if kind == "standby":
        worker.state("standby")
        while Path(sys.argv[2]).exists():  # noqa: ASYNC110, ASYNC240 - a file of another process
            await asyncio.sleep(0.01)
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
