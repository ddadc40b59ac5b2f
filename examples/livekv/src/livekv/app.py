"""livekv, put together: a live key/value store.

skerry run livekv:app
"""

from __future__ import annotations

from livekv import decisions, live, page, web
from livekv.messages import DeleteValue, PutValue, ValuePut, values
from livekv.values import Values
from skerry import App

app = App("livekv", title="livekv, a live key/value store", version="1")

app.handles(PutValue, loads=values)(decisions.put_value)
app.handles(DeleteValue, loads=values)(decisions.delete_value)
app.projection(Values)
app.renders(ValuePut)(live.value_put)

app.get("/values/{key}", keep="key")(web.get_value)
app.put("/values/{key}", max_body_bytes=web.MAX_VALUE_BYTES)(web.put_value)
app.delete("/values/{key}")(web.delete_value)
app.get("/values")(web.list_values)
app.live("/events", snapshot=live.snapshot)
page.declare_page(app)
