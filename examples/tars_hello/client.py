"""Calls the server: `python client.py ["tcp -h 127.0.0.1 -p 9000"]`."""

import asyncio
import sys
from pathlib import Path

from skerry import tars

demo = tars.load(Path(__file__).with_name("Hello.tars")).Demo


async def main():
    where = (sys.argv[1:] or ["tcp -h 127.0.0.1 -p 9000"])[0]
    async with tars.Communicator(timeout_seconds=2) as communicator:
        hello = communicator.proxy(demo.Hello, f"Demo.HelloServer.HelloObj@{where}")
        print(await hello.hello("world"))
        result = await hello.greet("Tars")
        print(result.ret, result.greeting.text, result.greeting.letters)


asyncio.run(main())
