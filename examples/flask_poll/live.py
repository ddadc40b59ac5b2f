"""The App beside the poll: each vote that is committed is a row on the page of everybody who looks."""

from typing import Any

from skerry import App, Event, Record
from skerry.http import serve_skerry_js


class Counted(Event):
    choice: int
    name: str
    votes: int

    def subject_key(self) -> str:
        return f"choice:{self.choice}"


app = App("poll")
app.emits(Counted, foreign=True)
app.live("/events")
serve_skerry_js(app.http)
app.host("/", "poll:app")


@app.renders(Counted)
def counted(event: Counted, record: Record) -> dict[str, Any]:
    row = {"name": event.name, "votes": event.votes}
    return {"event": "row_put", "table": "choice", "key": event.choice, "row": row}
