"""The live stream in a page that a framework renders: rows that stay as they are now, a script element that follows the
stream, and its addresses. Pure; every value is escaped for where it stands.

`<skerry-rows>` (see `skerry/http/static/rows.js`) keeps rows fresh by itself. What comes by the script element is
dispatched on `document`: `skerry:event` (`detail` is the event), `skerry:snapshot` (`detail.rows`, `detail.position`),
`skerry:lost` (what was missed cannot be had: load the page anew) and `skerry:state` (`detail.phase`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any
from urllib.parse import quote, urlencode

MODULE = "_skerry/skerry.js"
ROWS_MODULE = "_skerry/rows.js"
BEGUN_AT = "skerry.position"
"""Where the environ or scope of a request has the position at its beginning."""
ESCAPES = {
    ord(">"): "\\u003E",
    ord("<"): "\\u003C",
    ord("&"): "\\u0026",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}
"""What must not stand in a script element as it is."""

SCRIPT = """
import {{ connect }} from {module};
const tell = (name, detail) => document.dispatchEvent(new CustomEvent("skerry:" + name, {{ detail }}));
connect({events}, {{
  ...{options},
  onEvent: (event) => tell("event", event),
  onSnapshot: (rows, position) => tell("snapshot", {{ rows, position }}),
  onLost: (hello) => tell("lost", hello),
  onState: (state) => tell("state", state),
}});
"""


def module_address(root: str) -> str:
    """Where `skerry.js` is served, for an application that lies at `root`."""
    return address(root, MODULE)


def address(root: str, path: str, prefix: str = "") -> str:
    """A path of the application that lies at `root`; never an address of another site (`//other`). `prefix`: of the
    keys whose events are wanted."""
    query = f"?{urlencode({'prefix': prefix})}" if prefix else ""
    return f"{root.rstrip('/')}/{quote(path.lstrip('/' + chr(92)), safe=SAFE)}{query}"


SAFE = "/:@!$&'()*+,;=~-._%"
"""What stands in a path as it is (RFC 3986 section 3.3); an escape, too."""


def live_script(
    root: str, path: str, *, prefix: str = "", snapshot: bool = False, since: str = "", nonce: str = ""
) -> str:
    """The script element, as HTML. `snapshot`: begin with the current values; `since`: with what happened after that
    position."""
    options = {
        name: value for name, value in (("prefix", prefix), ("snapshot", snapshot), ("since", since)) if value
    }
    script = SCRIPT.format(
        module=_js(module_address(root)), events=_js(address(root, path)), options=_js(options)
    )
    given = f' nonce="{escape(nonce)}"' if nonce else ""
    return f'<script type="module"{given}>{script}</script>'


def rows_attributes(
    root: str,
    table: str,
    path: str = "/events",
    *,
    since: str = "",
    prefix: str = "",
    order: str = "",
    limit: int = 0,
    where: Mapping[str, Any] | None = None,
) -> str:
    """The attributes of a `<skerry-rows>` element, as HTML; what they mean is said in `rows.js`."""
    given = {
        "table": table, "events": address(root, path), "since": since, "prefix": prefix, "order": order,
        "limit": str(limit or ""), "where": json.dumps(where) if where else "",
    }  # fmt: skip
    return " ".join(f'{name}="{escape(value)}"' for name, value in given.items() if value)


def rows_script(root: str, nonce: str = "") -> str:
    """The script element that makes `<skerry-rows>` elements live, as HTML."""
    given = f' nonce="{escape(nonce)}"' if nonce else ""
    return f'<script type="module" src="{escape(address(root, ROWS_MODULE))}"{given}></script>'


def _js(value: Any) -> str:
    return json.dumps(value).translate(ESCAPES)
