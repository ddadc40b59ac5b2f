"""What a view is called with. Decided once, at start, from its signature; at run time one composed callable is left.

A parameter is, in this order: a path parameter by name; `Request`, `Identity` or an ASGI object by type; the JSON body
(a msgspec.Struct, or anything marked `Annotated[T, Body]`), the raw body (`bytes`); a query parameter (scalars, enums,
dates, UUIDs, unions of them, lists of them); else a service, found by its type.
"""

from __future__ import annotations

import ast
import inspect
import logging
import textwrap
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import msgspec
import msgspec.inspect
from starlette.requests import HTTPConnection
from starlette.requests import Request as StarletteRequest
from starlette.websockets import WebSocket

from skerry.errors import DeclarationError
from skerry.http.identity import Identity
from skerry.http.problems import Problem
from skerry.http.request import Request
from skerry.injection import EMPTY, Parameter, Plan, Read, Resolve, named, parameters_of, plain_of

logger = logging.getLogger("skerry.http")
Kind = Literal["path", "query", "body", "bytes", "request", "identity", "connection", "service"]
BODY_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
ANSWERED_METHODS = BODY_METHODS | {"GET", "HEAD"}


_KINDS: Mapping[type, Kind] = {Request: "request", Identity: "identity"}


class Gate(Protocol):
    """Stands before a view that reads from something which may stop. `closed`: empty while nothing has; it is looked
    at for each request, and nothing else is asked as long as it is."""

    closed: Sized

    def enter(self, view: Callable[..., Any], *given: Any) -> Any:
        """Call the view although something has stopped, or raise what is answered instead."""
        ...

    async def leave(self, result: Awaitable[Any]) -> Any:
        """The answer of an `async def` view, if it may still be given when the view is done."""
        ...


Watch = Callable[[Sequence[object], bool], Gate | None]
"""Called with the services of a view, and whether it may serve what has stopped: the gate before it, or None."""


class Body:
    """Marks a parameter that is the JSON body: `Annotated[list[Item], Body]`."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One parameter of a view: where its value comes from, its type, and its default (EMPTY without one)."""

    name: str
    kind: Kind
    type: Any
    default: Any = EMPTY

    @property
    def required(self) -> bool:
        return self.default is EMPTY


@dataclass(frozen=True, slots=True)
class Binding:
    """A view with its arguments. `call(request, *path_parameters)` calls the view; `result` is its return type.
    `is_async`: the call returns an awaitable, as the view does or one of its services wants it."""

    call: Callable[..., Any]
    arguments: tuple[Argument, ...]
    result: Any
    is_async: bool = False
    asks_identity: bool = False
    """Whether the view, or a service that is made for the call, wants to know who sends the request."""

    @property
    def needs_connection(self) -> bool:
        """Whether the view wants Starlette's request or websocket, which exist on the ASGI side only."""
        return any(argument.kind == "connection" for argument in self.arguments)


def no_services(kind: type) -> object:
    """The resolver of an application that has no services."""
    raise LookupError(f"no service {kind.__name__}")


def bind(
    view: Callable[..., Any],
    where: str,
    path_names: tuple[str, ...],
    methods: frozenset[str],
    resolve: Resolve = no_services,
    watch: Watch | None = None,
    stale: bool = False,
) -> Binding:
    """Compose a view. Raises DeclarationError, which names `where` and the parameter, for what cannot be bound."""
    parameters, result = parameters_of(view, where)
    arguments = _classified(parameters, where, path_names, methods)
    slots = {name: f"p{number}" for number, name in enumerate(path_names)}
    asks: list[str] = []  # who it is, by the names of the parameters
    by_name = {each.name: _source(each, slots) for each in arguments if each.kind != "service"}

    def source(parameter: Parameter) -> str | Read | None:
        kind = _KINDS.get(parameter.plain) if isinstance(parameter.plain, type) else None
        if kind == "identity":
            asks.append(parameter.name)
        if parameter.where == where:
            return by_name.get(parameter.name)
        # A parameter of a service that is made for the call: it may be made of the request.
        if parameter.name in slots:
            kind = "path"
        return None if kind is None else _source(Argument(parameter.name, kind, parameter.annotation), slots)

    plan = Plan(
        view,
        where,
        ("request", *slots.values()),
        (source,),
        resolve,
        otherwise=_hint_of(arguments),
    )
    _check_writes(view, where, plan)
    call, values = "{call}", dict[str, Any]()
    if any(getattr(service, "must_return", ()) for service in plan.services):
        values["kept"] = (_kept_async if plan.is_async else _kept)(where)
        call = "kept({call}, request)"
    gate = None if watch is None else watch(plan.services, stale)
    if gate is None:
        composed = plan.compile(f"return {call}", **values)
        return Binding(composed, arguments, result, plan.is_async, bool(asks))
    values |= {"closed": gate.closed, "enter": gate.enter, "leave": gate.leave}
    values["plain"] = plan.compile(f"return {call}", **values)
    # An `async def` view is looked at when it is done too, unless it is a websocket's, whose end answers nobody.
    if plan.is_async and methods & ANSWERED_METHODS:
        call = f"leave({call})"
    body = f"if closed: return enter(plain, {{arguments}})\nreturn {call}"
    return Binding(plan.compile(body, **values), arguments, result, plan.is_async, bool(asks))


def _check_writes(view: Callable[..., Any], where: str, plan: Plan) -> None:
    """Refuse a view that sends a write and returns nothing anywhere."""
    for name, service in plan.given.items():
        must_return = getattr(service, "must_return", ())
        if must_return and _drops(view, name, must_return):
            write = f"{name}.{must_return[0]}(...)"
            raise DeclarationError(
                f"{where}: its answer is that of {write}, and the view returns nothing: write return {write}"
            )


def _kept(where: str) -> Callable[[Any, Request], Any]:
    """Where a view sends a write and returns nothing all the same (on one of several ways), the write's answer is
    given: nothing is answered before it is durable. The log says so, once."""
    told: list[str] = []

    def kept(result: Any, request: Request) -> Any:
        if result is not None or request.sent is None or request.sent.done():
            return result
        if not told:
            told.append(where)
            logger.error("%s sends a write and returns nothing: write return before it", where)
        return request.sent

    return kept


def _kept_async(where: str) -> Callable[[Any, Request], Any]:
    kept = _kept(where)

    async def kept_async(work: Awaitable[Any], request: Request) -> Any:
        return kept(await work, request)

    return kept_async


def _drops(view: Callable[..., Any], name: str, methods: Sequence[str]) -> bool:
    """Whether a view calls such a method of its parameter as a statement, and returns nothing anywhere: it would be
    answered before anything is known. Only as far as its source is to be had."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(view)))
    except (OSError, TypeError, SyntaxError):
        return False
    nodes = list(ast.walk(tree))
    returned = [node.value for node in nodes if isinstance(node, ast.Return) and node.value is not None]
    if any(not (isinstance(value, ast.Constant) and value.value is None) for value in returned):
        return False
    calls = [node.value for node in nodes if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    return any(
        isinstance(call.func, ast.Attribute)
        and call.func.attr in methods
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == name
        for call in calls
    )


def _classified(
    parameters: tuple[Parameter, ...], where: str, path_names: tuple[str, ...], methods: frozenset[str]
) -> tuple[Argument, ...]:
    """Where the value of each parameter comes from."""
    arguments = tuple(
        Argument(
            parameter.name,
            _classify(parameter, where, path_names, methods),
            str if parameter.annotation is EMPTY else parameter.annotation,
            parameter.default,
        )
        for parameter in parameters
    )
    names = {argument.name for argument in arguments}
    for name in path_names:
        if name not in names:
            raise DeclarationError(f"{where}: the path has {{{name}}}, the view has no such parameter")
    if sum(argument.kind == "body" for argument in arguments) > 1:
        raise DeclarationError(f"{where}: two parameters want the JSON body")
    return arguments


def _classify(parameter: Parameter, where: str, path_names: tuple[str, ...], methods: frozenset[str]) -> Kind:
    name, annotation, plain = parameter.name, parameter.annotation, parameter.plain
    if name in path_names:
        return "path"
    if annotation is EMPTY:
        return "service"
    if isinstance(plain, type) and plain in _KINDS:
        return _KINDS[plain]
    if inspect.isclass(plain) and issubclass(plain, HTTPConnection):
        return "connection"
    marked = typing.get_origin(annotation) is typing.Annotated and any(
        extra is Body or isinstance(extra, Body) for extra in annotation.__metadata__
    )
    if marked or (inspect.isclass(plain) and (issubclass(plain, msgspec.Struct) or is_pydantic(plain))):
        if not methods & BODY_METHODS:
            raise DeclarationError(
                f"{where}: parameter {name} is a JSON body, but {_listed(methods)} has none"
            )
        _check_body(name, plain, where)
        return "body"
    if plain is bytes:
        return "bytes"
    return "query" if _is_scalar(msgspec.inspect.type_info(annotation)) else "service"


def is_pydantic(kind: Any) -> bool:
    """Whether it is a pydantic model: told by its methods, so that nothing has to be imported."""
    return (
        inspect.isclass(kind) and hasattr(kind, "model_validate_json") and hasattr(kind, "model_json_schema")
    )


def _check_body(name: str, kind: Any, where: str) -> None:
    """Raises DeclarationError for a body that could not be decoded when it comes."""
    if is_pydantic(kind):
        return
    try:
        msgspec.json.Decoder(kind)
    except TypeError as error:
        raise DeclarationError(f"{where}: parameter {name} cannot be decoded from JSON: {error}") from error
    info = msgspec.inspect.type_info(kind)
    info = getattr(info, "item_type", info)
    if isinstance(info, msgspec.inspect.CustomType) and info.cls is not object:
        raise DeclarationError(
            f"{where}: parameter {name}: {info.cls.__name__} cannot be decoded from JSON: make it a msgspec.Struct, a "
            "dataclass or a pydantic model, which is taken as the whole body"
        )


def _listed(methods: frozenset[str]) -> str:
    return "/".join(sorted(methods))


_SCALARS = (
    msgspec.inspect.StrType,
    msgspec.inspect.IntType,
    msgspec.inspect.FloatType,
    msgspec.inspect.BoolType,
    msgspec.inspect.NoneType,
    msgspec.inspect.DateTimeType,
    msgspec.inspect.DateType,
    msgspec.inspect.TimeType,
    msgspec.inspect.TimeDeltaType,
    msgspec.inspect.UUIDType,
    msgspec.inspect.DecimalType,
    msgspec.inspect.EnumType,
    msgspec.inspect.LiteralType,
)
_LISTS = (
    msgspec.inspect.ListType,
    msgspec.inspect.SetType,
    msgspec.inspect.FrozenSetType,
    msgspec.inspect.VarTupleType,
)


def _is_scalar(info: msgspec.inspect.Type) -> bool:
    match info:
        case msgspec.inspect.Metadata():
            return _is_scalar(info.type)
        case msgspec.inspect.UnionType():
            return all(_is_scalar(option) for option in info.types)
    return isinstance(info, _SCALARS) or _is_list(info)


def _is_list(info: msgspec.inspect.Type) -> bool:
    if isinstance(info, msgspec.inspect.Metadata):
        return _is_list(info.type)
    if isinstance(info, msgspec.inspect.UnionType):
        return any(_is_list(option) for option in info.types)
    return isinstance(info, _LISTS) and _is_scalar(info.item_type)


def _source(argument: Argument, slots: Mapping[str, str]) -> str | Read:
    """What fills a parameter that is no service: an argument of the call, or what is read from the request."""
    match argument.kind:
        case "path":
            slot = slots[argument.name]
            if argument.type is str:
                return slot
            return Read(_converter(argument.type, f"path parameter {argument.name}"), slot)
        case "query":
            return Read(_query_reader(argument), "request")
        case "body":
            return Read(_body_reader(argument), "request")
        case "bytes":
            return "request.body"
        case "identity":
            return "request.identity"
        case "connection":
            return Read(_connection_reader(argument), "request")
    return "request"


def _hint_of(arguments: tuple[Argument, ...]) -> Callable[[Parameter], str]:
    """What a parameter could be besides a service, for the error of one that nothing fills."""

    def hint(parameter: Parameter) -> str:
        told = "it is neither in the path nor a request value"
        if parameter.annotation is EMPTY:
            return told
        kind = named(parameter.plain) if typing.get_origin(parameter.plain) is None else repr(parameter.plain)
        if isinstance(msgspec.inspect.type_info(parameter.plain), msgspec.inspect.CustomType):
            return (
                f"{told}. A service is declared with @app.service; a JSON body is read into a msgspec.Struct, a "
                f"dataclass, a TypedDict or a pydantic model, and {kind} is none of them"
            )
        return f"{told}. For the JSON body write {parameter.name}: Annotated[{kind}, Body]"

    return hint


def _converter(kind: Any, what: str) -> Callable[[Any], Any]:
    convert, invalid = msgspec.convert, msgspec.ValidationError

    def read(text: Any) -> Any:
        try:
            return convert(text, kind, strict=False)
        except invalid as error:
            raise Problem(422, f"{what}: {error}", members={"parameter": what.rpartition(" ")[2]}) from error

    return read


def _query_reader(argument: Argument) -> Callable[[Request], Any]:
    name, default, required = argument.name, argument.default, argument.required
    convert = _converter(argument.type, f"query parameter {name}")
    if _is_list(msgspec.inspect.type_info(argument.type)):

        def read_all(request: Request) -> Any:
            given = request.query.get_all(name)
            return convert(given) if given or required else default

        return read_all

    def read(request: Request) -> Any:
        given = request.query.get(name)
        if given is not None:
            return convert(given)
        if required:
            raise Problem(422, f"query parameter {name} is missing", members={"parameter": name})
        return default

    return read


def _body_reader(argument: Argument) -> Callable[[Request], Any]:
    kind, default, required = argument.type, argument.default, argument.required
    model = plain_of(kind)[0]

    def decode(request: Request) -> Any:
        return request.json(kind)

    if is_pydantic(model):
        decode = partial(_model_of, model)

    def read(request: Request) -> Any:
        if not request.body and not required:
            return default
        if request.body and not says_json(request.headers.get("content-type")):
            raise Problem(415, "the body is JSON: send it with Content-Type: application/json")
        return decode(request)

    return read


def _model_of(model: Any, request: Request) -> Any:
    """The body as a pydantic model. Raises Problem 422 that names the fields, and no value."""
    try:
        return model.model_validate_json(request.body)
    except ValueError as error:
        raise _not_the_model(error) from error


def _not_the_model(error: Any) -> Exception:
    """The problem for pydantic's ValidationError; another ValueError as it is."""
    if not hasattr(error, "errors"):
        return error  # type: ignore[no-any-return]
    found = error.errors(include_url=False, include_input=False, include_context=False)
    if any(each["type"] == "json_invalid" for each in found):
        return Problem(400, "the body is not JSON")
    errors = [{"field": ".".join(map(str, each["loc"])), "reason": each["msg"]} for each in found]
    told = "; ".join(f"{each['field']}: {each['reason']}" for each in errors)
    return Problem(422, f"body: {told}", members={"errors": errors})


def says_json(media_type: str | None) -> bool:
    """Whether a Content-Type is JSON's. Without it, or with a form's, it could come from any page unasked: only what a
    browser asks leave for (a preflight) is taken for JSON."""
    kind = (media_type or "").partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _connection_reader(argument: Argument) -> Callable[[Any], Any]:
    """Starlette's object for this request; the endpoint keeps it in the scope under `skerry.connection`."""
    kind = plain_of(argument.type)[0]
    if not any(issubclass(known, kind) for known in (StarletteRequest, WebSocket)):
        raise DeclarationError(f"parameter {argument.name}: {kind.__name__} cannot be made from a scope")

    def read(request: Request) -> Any:
        assert request.scope is not None
        return request.scope["skerry.connection"]

    return read
