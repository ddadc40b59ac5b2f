"""Tars: the wire format, IDL files, clients and servers that talk to Tars programs in other languages."""

from skerry.tars.blocking import BlockingCommunicator
from skerry.tars.call import Call, current
from skerry.tars.call_errors import CallError, CallTimeout, RemoteError, ServantError
from skerry.tars.client import Reply
from skerry.tars.communicator import Communicator
from skerry.tars.endpoint import Endpoint, EndpointError
from skerry.tars.errors import DecodeError, EncodeError, FrameError, IdlError, TarsError
from skerry.tars.faults import CLASSIC, CPP, FaultPolicy
from skerry.tars.idl.loader import load, load_text
from skerry.tars.limits import AdapterLimits
from skerry.tars.locator import Located, Locator, StaticLocator
from skerry.tars.platform.log import RemoteLogHandler
from skerry.tars.platform.registry import RegistryLocator
from skerry.tars.proxy import configure, ping, reply_of
from skerry.tars.servant import lane
from skerry.tars.server import Server
from skerry.tars.service import Service
from skerry.tars.settings import CallOptions, ClientSettings, Retry
from skerry.tars.web.merging import merged_into
from skerry.tars.wire.codec import Limits
from skerry.tars.wire.declare import Struct, decode, encode
from skerry.tars.wire.types import TarsEnum

__all__ = [
    "CLASSIC",
    "CPP",
    "AdapterLimits",
    "BlockingCommunicator",
    "Call",
    "CallError",
    "CallOptions",
    "CallTimeout",
    "ClientSettings",
    "Communicator",
    "DecodeError",
    "EncodeError",
    "Endpoint",
    "EndpointError",
    "FaultPolicy",
    "FrameError",
    "IdlError",
    "Limits",
    "Located",
    "Locator",
    "RegistryLocator",
    "RemoteError",
    "RemoteLogHandler",
    "Reply",
    "Retry",
    "ServantError",
    "Server",
    "Service",
    "StaticLocator",
    "Struct",
    "TarsEnum",
    "TarsError",
    "configure",
    "current",
    "decode",
    "encode",
    "lane",
    "load",
    "load_text",
    "merged_into",
    "ping",
    "reply_of",
]
