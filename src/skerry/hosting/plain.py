"""Short answers of ours, in place of the application's: it failed, is late, or gets too much."""

from __future__ import annotations

from skerry.exchange import Exchange

_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_ANSWERS = {
    413: b"Content Too Large\n",
    500: b"Internal Server Error\n",
    503: b"Service Unavailable\n",
    504: b"Gateway Timeout\n",
}


def answer(exchange: Exchange, status: int) -> None:
    """Give one, and end the connection. Raises ClientDisconnected."""
    text = _ANSWERS[status]
    fields = [_TEXT, (b"content-length", b"%d" % len(text)), (b"connection", b"close")]
    if status == 503:
        fields.append((b"retry-after", b"1"))
    exchange.reply(status, fields, text)
