"""Tars: the wire format, IDL files, clients and servers that talk to Tars programs in other languages.

Names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skerry.faces import lazily

if TYPE_CHECKING:
    from skerry.tars.account import Account as Account
    from skerry.tars.blocking import BlockingCommunicator as BlockingCommunicator
    from skerry.tars.call import Call as Call
    from skerry.tars.call import current as current
    from skerry.tars.call_errors import CallError as CallError
    from skerry.tars.call_errors import CallTimeout as CallTimeout
    from skerry.tars.call_errors import RemoteError as RemoteError
    from skerry.tars.call_errors import ServantError as ServantError
    from skerry.tars.client import Reply as Reply
    from skerry.tars.communicator import Communicator as Communicator
    from skerry.tars.endpoint import Endpoint as Endpoint
    from skerry.tars.endpoint import EndpointError as EndpointError
    from skerry.tars.errors import DecodeError as DecodeError
    from skerry.tars.errors import EncodeError as EncodeError
    from skerry.tars.errors import FrameError as FrameError
    from skerry.tars.errors import IdlError as IdlError
    from skerry.tars.errors import TarsError as TarsError
    from skerry.tars.faults import CLASSIC as CLASSIC
    from skerry.tars.faults import CPP as CPP
    from skerry.tars.faults import FaultPolicy as FaultPolicy
    from skerry.tars.idl.loader import load as load
    from skerry.tars.idl.loader import load_text as load_text
    from skerry.tars.limits import AdapterLimits as AdapterLimits
    from skerry.tars.locator import Located as Located
    from skerry.tars.locator import Locator as Locator
    from skerry.tars.locator import StaticLocator as StaticLocator
    from skerry.tars.platform.log import RemoteLogHandler as RemoteLogHandler
    from skerry.tars.platform.registry import RegistryLocator as RegistryLocator
    from skerry.tars.platform.rolling import RollingLogHandler as RollingLogHandler
    from skerry.tars.proxy import configure as configure
    from skerry.tars.proxy import ping as ping
    from skerry.tars.proxy import reply_of as reply_of
    from skerry.tars.servant import lane as lane
    from skerry.tars.server import Server as Server
    from skerry.tars.service import Service as Service
    from skerry.tars.settings import CallOptions as CallOptions
    from skerry.tars.settings import ClientSettings as ClientSettings
    from skerry.tars.settings import Retry as Retry
    from skerry.tars.web.merging import merged_into as merged_into
    from skerry.tars.wire.codec import Limits as Limits
    from skerry.tars.wire.declare import Struct as Struct
    from skerry.tars.wire.declare import decode as decode
    from skerry.tars.wire.declare import encode as encode
    from skerry.tars.wire.types import TarsEnum as TarsEnum

_HOME = {
    "Account": "skerry.tars.account",
    "AdapterLimits": "skerry.tars.limits",
    "BlockingCommunicator": "skerry.tars.blocking",
    "CLASSIC": "skerry.tars.faults",
    "CPP": "skerry.tars.faults",
    "Call": "skerry.tars.call",
    "CallError": "skerry.tars.call_errors",
    "CallOptions": "skerry.tars.settings",
    "CallTimeout": "skerry.tars.call_errors",
    "ClientSettings": "skerry.tars.settings",
    "Communicator": "skerry.tars.communicator",
    "DecodeError": "skerry.tars.errors",
    "EncodeError": "skerry.tars.errors",
    "Endpoint": "skerry.tars.endpoint",
    "EndpointError": "skerry.tars.endpoint",
    "FaultPolicy": "skerry.tars.faults",
    "FrameError": "skerry.tars.errors",
    "IdlError": "skerry.tars.errors",
    "Limits": "skerry.tars.wire.codec",
    "Located": "skerry.tars.locator",
    "Locator": "skerry.tars.locator",
    "RegistryLocator": "skerry.tars.platform.registry",
    "RemoteError": "skerry.tars.call_errors",
    "RemoteLogHandler": "skerry.tars.platform.log",
    "Reply": "skerry.tars.client",
    "Retry": "skerry.tars.settings",
    "RollingLogHandler": "skerry.tars.platform.rolling",
    "ServantError": "skerry.tars.call_errors",
    "Server": "skerry.tars.server",
    "Service": "skerry.tars.service",
    "StaticLocator": "skerry.tars.locator",
    "Struct": "skerry.tars.wire.declare",
    "TarsEnum": "skerry.tars.wire.types",
    "TarsError": "skerry.tars.errors",
    "configure": "skerry.tars.proxy",
    "current": "skerry.tars.call",
    "decode": "skerry.tars.wire.declare",
    "encode": "skerry.tars.wire.declare",
    "lane": "skerry.tars.servant",
    "load": "skerry.tars.idl.loader",
    "load_text": "skerry.tars.idl.loader",
    "merged_into": "skerry.tars.web.merging",
    "ping": "skerry.tars.proxy",
    "reply_of": "skerry.tars.proxy",
}

__all__ = sorted(_HOME)
__getattr__ = lazily(__name__, _HOME)
