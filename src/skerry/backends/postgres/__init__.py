"""The journal in PostgreSQL: for several processes and machines. Needs the extra `postgres`.

Names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.faces import lazily

if TYPE_CHECKING:
    from skerry.backends.postgres.sqlalchemy import sqlalchemy_connection as sqlalchemy_connection

_HOME = {
    "sqlalchemy_connection": "skerry.backends.postgres.sqlalchemy",
}

__all__ = sorted(_HOME)
__getattr__ = lazily(__name__, _HOME)
