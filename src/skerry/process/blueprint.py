"""A new service for the Tars platform: what `skerry tars init NAME` writes.

An interface, a servant, tests, and a configuration with which it runs without a platform. Only texts; they are tried by
a test that runs what they become.
"""

from __future__ import annotations

import re
from pathlib import Path

from skerry.errors import SettingsError

NAME = re.compile(r"[A-Z][A-Za-z0-9]*")
APP = "Demo"

INTERFACE = """// What {name} offers. Callers in other languages are generated from this file.
module {app}
{{
    interface {name}
    {{
        // A greeting for somebody. The return value is 0, or 1 when there is no name: a code that callers see, which
        // does not count as a failure of the server.
        int hello(string name, out string greeting);
    }};
}};
"""

SERVICE = '''"""{name}: a service for the Tars platform.

    skerry tars run service:service --config=conf/local.conf
"""

from pathlib import Path

from skerry import tars

demo = tars.load(Path(__file__).parent / "{name}.tars").{app}


class {name}Servant(demo.{name}):
    """Answers the calls of {name}.tars."""

    async def hello(self, name: str):
        if not name:
            return 1, ""
        return 0, f"Hello {{name}}!"


service = tars.Service(version="0.1.0")
service.servant("{name}Obj", {name}Servant())


@service.admin("greet")
def greet(arguments: str) -> str:
    """`send command` in the platform's web page: greet NAME."""
    return f"Hello {{arguments or 'operator'}}!"
'''

TESTS = '''"""{name} as its callers see it, without a platform."""

import asyncio

from skerry import tars

from service import {name}Servant, demo

OBJECT = "{app}.{name}Server.{name}Obj"


def call(name: str):
    """What a client gets."""

    async def run():
        server = tars.Server()
        server.add({name}Servant(), f"{{OBJECT}}@tcp -h 127.0.0.1 -p 0")
        async with server, tars.Communicator(timeout_seconds=30) as communicator:
            return await communicator.proxy(demo.{name}, server.address(OBJECT)).hello(name)

    return asyncio.run(run())


def test_hello():
    assert call("world") == (0, "Hello world!")


def test_without_a_name():
    assert call("") == (1, "")
'''

CONFIGURATION = """# As a node would write it, for this machine. On the platform the node writes its own.
<tars>
  <application>
    enableset=n
    setdivision=NULL
    <server>
      app={app}
      server={name}Server
      localip=127.0.0.1
      local=tcp -h 127.0.0.1 -p 31000 -t 10000
      basepath=var/bin
      datapath=var/data
      logpath=var/log
      logLevel=INFO
      <{app}.{name}Server.{name}ObjAdapter>
        allow
        endpoint=tcp -h 127.0.0.1 -p 20001 -t 60000
        maxconns=1000
        protocol=tars
        queuecap=10000
        queuetimeout=60000
        servant={app}.{name}Server.{name}Obj
        threads=2
      </{app}.{name}Server.{name}ObjAdapter>
    </server>
    <client>
      modulename={app}.{name}Server
    </client>
  </application>
</tars>
"""

README = """# {name}

    python -m pytest                                          # its tests, without a platform
    skerry tars run service:service --config=conf/local.conf  # serve it here, port 20001
    skerry tars call {app}.{name}Server.{name}Obj hello '{{"name": "you"}}' --idl {name}.tars --config=conf/local.conf
    skerry tars run service:service --config=conf/local.conf stop
    skerry tars platform service:service={name}Server         # with a page: http://127.0.0.1:17800/
    skerry tars deploy service:service --app {app} --server {name}Server

`{name}.tars` is the interface, `service.py` the servant. On the platform the node writes the configuration: addresses,
limits and the names of the platform's services come from there.
"""

FILES = {
    "{name}.tars": INTERFACE,
    "service.py": SERVICE,
    "test_service.py": TESTS,
    "conf/local.conf": CONFIGURATION,
    "README.md": README,
}


def write_service(name: str, directory: Path) -> list[Path]:
    """Write a service of that name (`Hello`) into a new `directory`. Returns the files. Raises SettingsError for a name
    that cannot be an interface's, or when there is something already."""
    if not NAME.fullmatch(name):
        raise SettingsError(
            "NAME", f"{name!r} cannot be an interface: a capital letter, then letters and digits"
        )
    if directory.exists() and any(directory.iterdir()):
        raise SettingsError("--directory", f"{directory} is there already, and not empty")
    written = []
    for place, text in FILES.items():
        path = directory / place.format(name=name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(name=name, app=APP), encoding="utf-8")
        written.append(path)
    return written
