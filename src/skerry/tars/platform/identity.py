"""Who a server is to the platform: its names, its node, its set. Plain values, nothing is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from skerry.errors import SettingsError
from skerry.tars.platform.configuration import Configuration

NODE_NAME = "node_name"
"""The key under which requests to the platform carry the caller's node."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A server as the platform knows it: `app`.`server` on `node` (the node's name, usually its address), in the set
    `name.area.group` or in none (empty; the platform's file writes NULL)."""

    app: str
    server: str
    node: str = ""
    set_division: str = ""

    def __post_init__(self) -> None:
        if not self.app or not self.server:
            raise SettingsError(
                "app and server", "must not be empty: the platform knows servers by App.Server"
            )
        parts = self.set_division.split(".")
        if self.set_division and (len(parts) != 3 or not all(parts) or "*" in parts[:2]):
            raise SettingsError("setdivision", f"is name.area.group, not {self.set_division!r}")

    @property
    def module(self) -> str:
        """`App.Server`."""
        return f"{self.app}.{self.server}"

    @property
    def set_parts(self) -> tuple[str, str, str]:
        """Name, area and group of the set; empty texts without one."""
        if not self.set_division:
            return "", "", ""
        name, area, group = self.set_division.split(".")
        return name, area, group

    @property
    def reported_module(self) -> str:
        """The module as statistics name it: with the set's parts run together behind it (TarsCpp StatReport)."""
        return f"{self.module}.{''.join(self.set_parts)}" if self.set_division else self.module

    @property
    def context(self) -> Mapping[str, str]:
        """What requests to the platform carry, so that it knows the node behind whatever address they come from."""
        return {NODE_NAME: self.node} if self.node else {}


def identity_of(configuration: Configuration) -> Identity:
    """Who the configuration says that the server is."""
    return Identity(
        configuration.app, configuration.server, configuration.node_name, configuration.set_division
    )
