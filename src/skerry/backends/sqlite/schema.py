"""The tables of a namespace in a SQLite file, and the statements that run on them.

`Statements` fills the named statements in once for a namespace; `prepare` brings a file forward. Plain functions
of a connection, called in the writer's thread. Not here: when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import apsw

from skerry.backends.sqlite.connection import transaction
from skerry.backends.statements import Migration, migrations, named_statements
from skerry.backends.storable import checked_namespace, checked_table, new_epoch_name
from skerry.errors import Disconnected, JournalError, SettingsError

_PACKAGE = "skerry.backends.sqlite"


@cache
def _texts() -> Mapping[str, str]:
    return named_statements(_PACKAGE)


@cache
def steps() -> Sequence[Migration]:
    """The journal's own migrations."""
    return migrations(_PACKAGE)


class Statements:
    """The statements of one namespace, by name: `statements["head"]`; those of a table by `of`."""

    def __init__(self, namespace: str) -> None:
        self.namespace = checked_namespace(namespace)
        self._plain: dict[str, str] = {}
        self._of_table: dict[tuple[str, str], str] = {}
        self._open: dict[tuple[str, ...], str] = {}
        self.tables: tuple[str, ...] = ()
        self.flush = ""

    def __getitem__(self, name: str) -> str:
        text = self._plain.get(name)
        if text is None:
            text = (
                _texts()[name].replace("{named}", _texts()["named"]).replace("{common}", _texts()["common"])
            )
            text = self._plain[name] = text.replace("{ns}", self.namespace)
        return text

    def of(self, name: str, table: str) -> str:
        """A statement on one table. Raises Disconnected when nobody has prepared that table."""
        text = self._of_table.get((name, table))
        if text is None:
            self.known(table)
            text = self._of_table[name, table] = self[name].replace("{table}", table)
        return text

    def known(self, table: str) -> None:
        if table not in self.tables:
            raise Disconnected(f"the journal {self.namespace!r} has no table {table!r} yet")

    def opening(self, tables: tuple[str, ...]) -> str:
        """The one statement that opens a batch with rows of these tables."""
        text = self._open.get(tables)
        if text is None:
            rows = "".join(
                self.of("open_rows", table).replace("{number}", str(number))
                for number, table in enumerate(tables, 2)
            )
            text = self._open[tables] = self["open"].replace("{rows}", rows)
        return text

    def load_tables(self, connection: apsw.Connection) -> None:
        """Learn which tables there are. Raises Disconnected when the namespace is not there yet."""
        try:
            names = connection.execute(self["tables"]).fetchall()
        except apsw.SQLError as error:
            raise Disconnected(f"the journal {self.namespace!r} is not there yet: prepare it") from error
        self.tables = tuple(str(name) for (name,) in names)
        columns = ["base", "events", "event", "outcome", "dead", "lease", "fence", "owner"]
        for table in self.tables:
            columns += [f"put_{table}", f"delete_{table}"]
        places = "".join(f", ?{number}" for number in range(9, len(columns) + 1))
        extra = "".join(f", {column}" for column in columns[8:])
        self.flush = self["flush"].replace("{columns}", extra).replace("{places}", places)

    def make_flush(self, connection: apsw.Connection) -> None:
        """(Re)make the view and trigger by which one statement writes a whole batch."""
        columns = "".join(self.of("flush_column", table) for table in self.tables)
        rows = "\n".join(self.of("flush_rows", table) for table in self.tables)
        connection.execute(f"drop view if exists temp.{self.namespace}__flush")
        connection.execute(self["flush_view"].replace("{columns}", columns))
        connection.execute(self["flush_trigger"].replace("{rows}", rows))


def prepare(connection: apsw.Connection, statements: Statements, tables: Sequence[str]) -> None:
    """Bring the namespace to the newest version and create what tables are missing, all or nothing."""
    namespace = statements.namespace
    with transaction(connection):
        connection.execute(statements["create_meta"])
        found = connection.execute(statements["version"]).fetchall()
        version = int(str(found[0][0])) if found else 0
        if version > len(steps()):
            raise JournalError(
                f"the journal {namespace!r} was made by a newer Skerry (version {version} of its tables, "
                f"this one knows {len(steps())})"
            )
        if version < len(steps()):  # made again below; it may name columns that are not there yet
            connection.execute(f"drop view if exists temp.{namespace}__flush")
        for step in steps()[version:]:
            connection.execute(step.text.replace("{ns}", namespace))
            connection.execute(statements["set_version"], (str(step.number),))
        connection.execute(statements["first_position"], (new_epoch_name(),))
        connection.execute(statements["first_epoch"])
        there = {name for (name,) in connection.execute(statements["tables"]).fetchall()}
        for table in dict.fromkeys(tables):
            if table not in there:
                _create(connection, statements, checked_table(table))
    statements.load_tables(connection)
    statements.make_flush(connection)


def rename(connection: apsw.Connection, statements: Statements, old: str, new: str) -> bool:
    """Give the rows of one table to another one that is there and empty."""
    namespace = statements.namespace
    with transaction(connection):
        there = {name for (name,) in connection.execute(statements["tables"]).fetchall()}
        has_rows = statements["has_rows"].replace("{table}", new)
        if not {old, new} <= there or connection.execute(has_rows).fetchall() != [(0,)]:
            return False
        connection.execute(f"drop view if exists temp.{namespace}__flush")  # it names both
        connection.execute(statements["rename_table"].replace("{old}", old).replace("{new}", new))
    statements.load_tables(connection)
    statements.make_flush(connection)
    return True


def _create(connection: apsw.Connection, statements: Statements, table: str) -> None:
    name = f"{statements.namespace}_{table}"
    if connection.table_exists("main", name):
        raise SettingsError(
            "SKERRY_NAMESPACE",
            f"the table {name} belongs to somebody else: choose another namespace than {statements.namespace!r}",
        )
    connection.execute(statements["create_table"].replace("{table}", table))
    connection.execute(statements["add_table"], (table,))
