"""What an operator may order of a running `skerry up`, and what is answered: one JSON object a line, over the control
socket. Pure.

The last line of an answer is an `Outcome`; before it come any number of `Progress` lines, and empty ones that say no
more than that the runner is there. Not here: the socket (control.py), what is done (runner.py).
"""

from __future__ import annotations

import msgspec

from skerry.errors import SettingsError


class Order(msgspec.Struct, frozen=True, tag_field="order"):
    """Anything that is ordered."""


class Reload(Order, frozen=True, tag="reload"):
    """Replace every process; new ones read the files of settings as they are now. `wait`: answer when it is done."""

    wait: bool = False


class Stop(Order, frozen=True, tag="stop"):
    """End one process, until it is restarted, everything is replaced, or everything ends."""

    name: str


class Restart(Order, frozen=True, tag="restart"):
    """Replace one process, or start one that was stopped."""

    name: str


class Scale(Order, frozen=True, tag="scale"):
    """Have so many processes of a role."""

    role: str
    count: int


class Progress(msgspec.Struct, frozen=True, tag_field="answer", tag="progress"):
    """Something that the runner did meanwhile, in words."""

    text: str


class Outcome(msgspec.Struct, frozen=True, tag_field="answer", tag="outcome"):
    """How it ended. `code`: what the command that gave the order ends with (0 done, 1 failed, 2 not possible)."""

    code: int
    text: str


AnyOrder = Reload | Stop | Restart | Scale
AnyAnswer = Progress | Outcome

orders: msgspec.json.Decoder[AnyOrder] = msgspec.json.Decoder(AnyOrder)
answers: msgspec.json.Decoder[AnyAnswer] = msgspec.json.Decoder(AnyAnswer)

COUNTED = {"servers": "server", "consumers": "consumer", "gateways": "gateway", "hosts": "host"}
"""What can be scaled: the setting that says how many, and their role."""


def line(said: Order | AnyAnswer) -> bytes:
    return msgspec.json.encode(said) + b"\n"


def scaling(text: str) -> Scale:
    """`servers=4` as an order. Raises SettingsError."""
    setting, _, count = text.partition("=")
    if setting not in COUNTED:
        raise SettingsError("scale", f"{text!r} is none of {', '.join(f'{name}=N' for name in COUNTED)}")
    if not (count.isascii() and count.isdigit()):
        raise SettingsError("scale", f"{text!r}: N is a whole number, as in {setting}=4")
    return Scale(COUNTED[setting], int(count))
