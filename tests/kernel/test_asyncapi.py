"""The AsyncAPI document: valid by the official schema, and true of what listeners are really sent."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from skerry import App, Command, Event, Record, Unit
from skerry.kernel.asyncapi import document
from skerry.testing import running

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "var" / "asyncapi"


class Write(Command[int]):
    """Write a page."""

    key: str


class Written(Event):
    key: str
    pages: int


class Sealed(Event):
    key: str
    secret: str


def application() -> App:
    app = App("books")
    app.live("/changes", snapshot=lambda: [{"key": "a"}])
    app.emits(Written)

    @app.handles(Write)
    def write(command: Write, unit: Unit) -> int:
        unit.emit(Written(command.key, 1))
        unit.emit(Sealed(command.key, "x"))
        return 1

    @app.renders(Sealed)
    def sealed(event: Sealed, record: Record) -> dict[str, Any]:
        return {"key": event.key}

    return app


@pytest.fixture(scope="session")
def official() -> Any:
    """The official schema of AsyncAPI 3.0, from the npm registry."""
    missing = "there is no node or no npm"
    if shutil.which("node") is not None and shutil.which("npm") is not None:
        script = [
            str(ROOT / "scripts" / "npm_packages.sh"),
            str(Path(__file__).parent / "asyncapi"),
            str(PACKAGES),
        ]
        done = subprocess.run(["sh", *script], capture_output=True, text=True, check=False, timeout=300)
        missing = done.stderr.strip()[-300:] if done.returncode else ""
    if missing:
        message = f"the AsyncAPI schema is not here: {missing}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    path = PACKAGES / "node_modules" / "@asyncapi" / "specs" / "schemas" / "3.0.0-without-$id.json"
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_document_is_valid(official: Any) -> None:
    """By the schema that AsyncAPI publishes; also of an application that declares nothing."""
    for app in (application(), App("empty")):
        jsonschema.validators.validator_for(official)(official).validate(document(app.declaration))


def test_commands_have_their_schema_and_their_result() -> None:
    """The body of a command, what its handler gives, and what its class says of it."""
    described = document(application().declaration)
    message = described["components"]["messages"]["command_write"]
    assert (message["name"], message["summary"]) == ("write", "Write a page.")
    assert message["payload"] == {"$ref": "#/components/schemas/Write"}
    assert message["x-result"] == {"type": "integer"}
    assert described["components"]["schemas"]["Write"]["properties"] == {"key": {"type": "string"}}


def test_what_a_renderer_hides_is_not_described() -> None:
    """Its fields are the function's: only what every event has is said."""
    messages = document(application().declaration)["components"]["messages"]
    assert set(messages["event_written"]["payload"]["properties"]) >= {"key", "pages", "position"}
    assert "secret" not in messages["event_sealed"]["payload"]["properties"]


async def test_every_frame_is_as_described() -> None:
    """A listener's frames, from hello to events, are valid by the payloads of the page that the process serves."""
    async with running(application()) as world:
        described = (await world.client.get("/-/skerry/asyncapi.json")).json()
        components = {"components": described["components"]}
        kinds = {
            key.removeprefix("event_"): jsonschema.Draft202012Validator({**each["payload"], **components})
            for key, each in described["components"]["messages"].items()
        }
        fields = {"Accept": "text/event-stream"}
        seen: list[str] = []
        async with world.client.stream("GET", "/changes?snapshot=1", headers=fields) as answer:
            await world.commands.send(Write("a"))
            text = ""
            async for part in answer:
                *lines, text = (text + part.decode()).split("\n")
                for line in lines:
                    if line.startswith("data: "):
                        frame = json.loads(line.removeprefix("data: "))
                        name = frame.get("event", frame["type"])
                        kinds[name].validate(frame)
                        seen.append(name)
                if "sealed" in seen:
                    break
    assert {"hello", "snapshot", "snapshot_end", "written", "sealed"} <= set(seen)
