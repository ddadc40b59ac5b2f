"""What the settings give one server process, within what the system lets it open."""

from __future__ import annotations

from dataclasses import replace

from skerry.kernel.settings import Settings
from skerry.loop.descriptors import MAX_AT_ONCE, most_descriptors
from skerry.server.settings import ServerSettings

OWN_DESCRIPTORS = 32 + 2 * MAX_AT_ONCE
"""What a server needs besides its connections: files of its own, and room for a burst that it refuses."""


def server_settings(settings: Settings) -> ServerSettings:
    """Raises SettingsError for values that do not go together."""
    limits = settings.of(ServerSettings)
    open_files = max(8, most_descriptors() - OWN_DESCRIPTORS)
    return replace(limits, max_connections=min(limits.max_connections, open_files))
