"""An App with a lane route beside a Django that is busy."""

from __future__ import annotations

from skerry import App

app = App("beside")


@app.get("/lane/{name}")
def lane(name: str) -> str:
    return name


app.host("/", "hosted_django:django_wsgi")
