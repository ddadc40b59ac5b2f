"""Flask: the commands `flask skerry` and `flask tars`, an extension, and what a host knows of Flask. Only what lies
here imports Flask.

Names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.faces import lazily

if TYPE_CHECKING:
    from skerry.hosting.flask.extension import Skerry as Skerry

_HOME = {"Skerry": "skerry.hosting.flask.extension"}

__all__ = sorted(_HOME)
__getattr__ = lazily(__name__, _HOME)
