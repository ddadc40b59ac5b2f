"""Where a Tars object is found: endpoint strings and object addresses.

Reads and prints the texts of configuration files and of `stringToProxy`:
`App.Server.Obj#1@tcp -h 10.0.0.1 -p 9000 -t 3000:udp -h ...`. Pure. Resolving host names and asking the
registry happen elsewhere.

Source: TarsCpp `TC_Endpoint` and `EndpointManager::setEndpoints`. An endpoint ends where the next word `tcp`,
`udp` or `ssl` begins, blanks and colons between are dropped, so IPv6 hosts need no brackets. Every
option is one letter and one argument; letters that nobody knows are passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from skerry.tars.errors import TarsError

PROTOCOLS = ("tcp", "udp", "ssl")
_WORD = re.compile(r"\S+")
_START = re.compile(r"(?:^|[\s:])(tcp|udp|ssl)(?=\s|$)")


class EndpointError(TarsError):
    """A text is not an endpoint or object address. `text` is the text, `problem` the fault in it."""

    def __init__(self, text: str, problem: str) -> None:
        super().__init__(f"{problem}: {text!r}")
        self.text, self.problem = text, problem


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a servant.

    `timeout_milliseconds` (-t) is the server's limit for an idle connection; `weight` counts only with
    `weight_type` 1 (static weight); `bind` (-b) is where a server listens when that differs from the
    advertised host; `auth` 1 asks for the account handshake.
    """

    protocol: str
    host: str
    port: int
    timeout_milliseconds: int = 3000
    grid: int = 0
    qos: int = 0
    weight: int = -1
    weight_type: int = 0
    auth: int = 0
    set_division: str = ""
    bind: str = ""

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """One endpoint, as `tcp -h 127.0.0.1 -p 9000 -t 60000`; EndpointError says what does not fit."""
        words = _WORD.findall(text)
        if not words or words[0] not in PROTOCOLS:
            raise EndpointError(text, "an endpoint starts with tcp, udp or ssl")
        options: dict[str, str] = {}
        position = 1
        while position < len(words):
            option = words[position]
            if len(option) != 2 or option[0] != "-":
                raise EndpointError(text, f"expected an option like -h or -p, found {option!r}")
            if position + 1 >= len(words):
                raise EndpointError(text, f"option {option} has no argument")
            options[option[1]] = words[position + 1]
            position += 2
        host = options.get("h", "")
        if not host:
            raise EndpointError(text, "the host is missing (-h)")
        if "p" not in options:
            raise EndpointError(text, "the port is missing (-p)")
        weight_type = _number(text, options, "v", 0, 0, 1)
        return cls(
            protocol=words[0],
            host="0.0.0.0" if host == "*" else host,
            port=_number(text, options, "p", 0, 0, 65535),
            timeout_milliseconds=_number(text, options, "t", 3000, 0, 2**31 - 1),
            grid=_number(text, options, "g", 0, -(2**31), 2**31 - 1),
            qos=_number(text, options, "q", 0, -(2**31), 2**31 - 1),
            weight=_weight(text, options, weight_type),
            weight_type=weight_type,
            auth=_number(text, options, "e", 0, 0, 1),
            set_division=options.get("s", ""),
            bind=options.get("b", ""),
        )

    @property
    def listens_on(self) -> str:
        """The host a server binds to: `bind` where given, else `host`."""
        return self.bind or self.host

    @property
    def stream(self) -> bool:
        """Whether this is a byte stream (tcp, ssl) and not datagrams."""
        return self.protocol != "udp"

    def at_port(self, port: int) -> Endpoint:
        """The same with another port: a server that bound port 0 says where it really is."""
        return replace(self, port=port)

    def __str__(self) -> str:
        text = f"{self.protocol} -h {self.host} -p {self.port} -t {self.timeout_milliseconds}"
        if self.grid:
            text += f" -g {self.grid}"
        if self.qos:
            text += f" -q {self.qos}"
        if self.weight >= 0:
            text += f" -w {self.weight}"
        if self.weight_type:
            text += f" -v {self.weight_type}"
        if self.auth:
            text += f" -e {self.auth}"
        if self.set_division:
            text += f" -s {self.set_division}"
        if self.bind:
            text += f" -b {self.bind}"
        return text


@dataclass(frozen=True, slots=True)
class ObjectAddress:
    """What a client is given: the servant's name, an optional `#n`, and endpoints or none (then the locator
    is asked). Two addresses that differ in `#n` have connections of their own; `#n` is never sent."""

    name: str
    endpoints: tuple[Endpoint, ...] = ()
    part: str = ""

    @classmethod
    def parse(cls, text: str) -> ObjectAddress:
        """`App.Server.Obj`, `App.Server.Obj@tcp -h ...`, `App.Server.Obj#2@...`, several endpoints with `:`."""
        name, at, rest = text.strip().partition("@")
        name, _, part = name.strip().partition("#")
        if not name or any(character.isspace() for character in name):
            raise EndpointError(text, "an object name is one word such as App.Server.Obj")
        if at and not rest.strip():
            raise EndpointError(text, "no endpoint follows the @")
        return cls(name, parse_endpoints(rest) if at else (), part.strip())

    def __str__(self) -> str:
        name = f"{self.name}#{self.part}" if self.part else self.name
        return f"{name}@{':'.join(str(endpoint) for endpoint in self.endpoints)}" if self.endpoints else name


def parse_endpoints(text: str) -> tuple[Endpoint, ...]:
    """Several endpoints with `:` or blanks between; at least one, else EndpointError."""
    starts = [found.start(1) for found in _START.finditer(text)]
    lead = text[: starts[0]] if starts else text
    if not starts or lead.strip(" \t\r\n:"):
        raise EndpointError(text, "an endpoint starts with tcp, udp or ssl")
    ends = [*starts[1:], len(text)]
    return tuple(
        Endpoint.parse(text[start:end].strip(" \t\r\n:")) for start, end in zip(starts, ends, strict=True)
    )


def _number(text: str, options: dict[str, str], letter: str, default: int, low: int, high: int) -> int:
    given = options.get(letter)
    if given is None:
        return default
    try:
        number = int(given)
    except ValueError:
        raise EndpointError(text, f"-{letter} wants a whole number, not {given!r}") from None
    if not low <= number <= high:
        raise EndpointError(text, f"-{letter} must be between {low} and {high}, not {number}")
    return number


def _weight(text: str, options: dict[str, str], weight_type: int) -> int:
    """TC_Endpoint: without static weight there is none; with it the default is 100, which is also the most."""
    given = _number(text, options, "w", -1, -1, 2**31 - 1)
    if weight_type == 0:
        return -1
    return 100 if given < 0 else min(given, 100)
