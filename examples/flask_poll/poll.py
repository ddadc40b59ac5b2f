"""A poll with Flask and sqlite3. The counts on everybody's page are live: the App beside it (live.py) hears of each
vote that is committed."""

import os
import secrets
import sqlite3
from pathlib import Path

from flask import Flask, Response, abort, flash, g, redirect, render_template, request, session, url_for
from live import Counted
from werkzeug.wrappers import Response as Answer

from skerry.hosting import emit
from skerry.hosting.flask import Skerry

DATABASE = Path(os.environ.get("POLL_DATABASE", "poll.sqlite3")).resolve()
CHOICES = ("Tea", "Coffee", "Water")

app = Flask(__name__)
app.config.update(
    SECRET_KEY=os.environ.get("POLL_SECRET_KEY", "only for a demonstration"),
    SESSION_COOKIE_SAMESITE="Lax",
    SKERRY_APP="live:app",
    SKERRY_JOURNAL=f"sqlite:///{DATABASE}",
    SKERRY_NAMESPACE="poll",
)
Skerry(app)


def database() -> sqlite3.Connection:
    """One connection a request."""
    if "database" not in g:
        g.database = sqlite3.connect(DATABASE, isolation_level=None, timeout=20)
        g.database.row_factory = sqlite3.Row
    return g.database


@app.teardown_appcontext
def close(error: BaseException | None) -> None:
    if (connection := g.pop("database", None)) is not None:
        connection.close()


def prepare() -> None:
    connection = database()
    connection.execute(
        "create table if not exists choice (id integer primary key, name text unique, votes integer default 0)"
    )
    for name in CHOICES:
        connection.execute("insert or ignore into choice (name) values (?)", (name,))


with app.app_context():
    prepare()


@app.get("/")
def page() -> str:
    choices = database().execute("select * from choice order by id").fetchall()
    token = session.setdefault("token", secrets.token_hex(16))
    return render_template("poll.html", choices=choices, token=token)


@app.post("/choices/<int:choice>")
def vote(choice: int) -> Answer:
    if not secrets.compare_digest(request.form.get("token", ""), session.get("token", "-")):
        abort(400, "this form is not of your page")
    if session.get("voted"):
        flash("You have voted already.")
        return redirect(url_for("page"))
    connection = database()
    connection.execute("begin immediate")
    try:
        row = connection.execute(
            "update choice set votes = votes + 1 where id = ? returning *", (choice,)
        ).fetchone()
        if row is None:
            abort(404)
        emit(Counted(row["id"], row["name"], row["votes"]), connection=connection)
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise
    session["voted"] = True
    return redirect(url_for("page"))


@app.after_request
def policy(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = "default-src 'self'; img-src data:; base-uri 'none'"
    return response
