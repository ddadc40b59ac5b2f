"""A Tars server in a dozen lines: `python server.py ["tcp -h 127.0.0.1 -p 9000 -t 60000"]`, Ctrl-C ends it."""

import asyncio
import sys
from pathlib import Path

from skerry import tars

demo = tars.load(Path(__file__).with_name("Hello.tars")).Demo


class HelloServant(demo.Hello):
    def __init__(self):
        self.asked = 0

    async def hello(self, name):
        return f"Hello {name}!"

    async def greet(self, name):
        self.asked += 1
        return self.asked, demo.Greeting(text=f"Hello {name}!", letters=len(name))


server = tars.Server()
server.add(
    HelloServant(), "Demo.HelloServer.HelloObj@" + (sys.argv[1:] or ["tcp -h 127.0.0.1 -p 9000 -t 60000"])[0]
)
asyncio.run(server.run(started=lambda s: print(s.address("Demo.HelloServer.HelloObj"), flush=True)))
