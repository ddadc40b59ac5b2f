"""The page of the local platform: what it shows and what can be done there.

Loopback only, as the platform itself. Changing anything takes JSON from the page's own origin, so that no other page of
the browser does it.
"""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from skerry.errors import SettingsError
from skerry.http.application import Application, ApplicationSettings
from skerry.testing.tars.local import LocalPlatform

PAGES = Path(__file__).parent / "pages"
HOSTS = {"127.0.0.1", "localhost", "[::1]"}
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'"


def page_of(local: LocalPlatform) -> Application:
    """The page as an application."""

    async def index(request: Request) -> Response:
        return FileResponse(PAGES / "platform.html", headers={"Content-Security-Policy": POLICY})

    async def part(request: Request) -> Response:
        return FileResponse(PAGES / f"platform.{request.path_params['suffix']}")

    async def state(request: Request) -> Response:
        return JSONResponse(local.state(), headers={"Cache-Control": "no-store"})

    async def order(request: Request) -> Response:
        if (refused := _refused(request)) is not None:
            return refused
        given = await request.json()
        server = request.path_params["server"]
        try:
            match request.path_params["what"]:
                case "order":
                    said = await local.order(server, str(given["order"]))
                case "command":
                    said = await local.command(server, str(given["command"]))
                case _:
                    said = await local.publish(server, str(given["name"]), str(given["text"]))
        except (SettingsError, TimeoutError, OSError) as error:
            return JSONResponse({"said": str(error) or "it took too long"}, 400)
        return JSONResponse({"said": said})

    inner = Starlette(
        routes=[
            Route("/", index),
            Route("/platform.{suffix:str}", part),
            Route("/state", state),
            Route("/servers/{server}/{what:str}", order, methods=["POST"]),
        ]
    )
    around = Application(ApplicationSettings("tars platform", openapi=None, docs=None))
    around.mount("/", inner, name="platform", rights=None)
    return around


def _refused(request: Request) -> Response | None:
    """Why this request may not change anything."""
    host = request.headers.get("host", "")
    origin = request.headers.get("origin")
    if host.rpartition(":")[0] not in HOSTS or (origin is not None and origin.partition("://")[2] != host):
        return JSONResponse({"said": "only from the page itself, on this machine"}, 403)
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        return JSONResponse({"said": "as application/json"}, 415)
    return None
