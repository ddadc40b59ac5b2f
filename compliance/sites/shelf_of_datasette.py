"""Datasette's pages of a table on SQLite."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from datasette.app import Datasette

PLACE = Path(os.environ["SITE"]) / "site.db"

if __name__ == "__main__":
    with sqlite3.connect(PLACE) as connection:
        connection.execute("create table book (id integer primary key, title text, pages integer)")
        rows = [(f"Book {number}", number % 7) for number in range(300)]
        connection.executemany("insert into book (title, pages) values (?, ?)", rows)
else:
    application = Datasette([str(PLACE)]).app()
