"""Interfaces as they are at run time: functions, their parameters, and the bodies of calls and answers.

An interface class (loaded from a `.tars` file, or written by `skerry tars generate`) is an ordinary class with
`__tars_interface__`; servants derive from it, clients read it. Bodies: version 1 numbers the parameters, 2 and 3
(TUP) name them, 5 is JSON. Codecs are compiled at the first call of each function in each version.

Not for: packets and connections.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from skerry.tars.errors import DecodeError, EncodeError
from skerry.tars.wire.codec import DEFAULT_LIMITS, UNWRAP_SINGLE, BodyCodec, Limits, body_codec
from skerry.tars.wire.jsonbody import decode_json, encode_json
from skerry.tars.wire.packet import Version, check_version
from skerry.tars.wire.tup import CPP_RETURN_NAME, ValueCodec, decode_attributes, encode_attributes
from skerry.tars.wire.types import Member, Type, zero_of

INTERFACE_ATTRIBUTE: Final = "__tars_interface__"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter. `number` is its tag in version 1: its place in the IDL, from 1, out parameters included."""

    number: int
    name: str
    python_name: str
    type: Type
    out: bool = False
    routekey: bool = False

    def member(self) -> Member:
        return Member(self.number, self.name, self.python_name, self.type, True, zero_of(self.type))


class Function:
    """One function of an interface, with the codecs of its bodies.

    A result is the returned value; with out parameters it is `result_class`, a named tuple of `ret` and each of
    them (a plain tuple of that length will do for encoding). A void function has `ret` None.
    """

    __slots__ = (
        "_arguments",
        "_arguments_v1",
        "_result_v1",
        "_results",
        "_values",
        "doc",
        "inputs",
        "interface",
        "name",
        "outputs",
        "parameters",
        "python_name",
        "result_class",
        "returns",
        "route_index",
    )

    def __init__(
        self,
        interface: str,
        name: str,
        python_name: str,
        returns: Type | None,
        parameters: Sequence[Parameter],
        result_class: type[tuple[Any, ...]] | None,
        doc: str = "",
    ) -> None:
        self.interface, self.name, self.python_name = interface, name, python_name
        self.returns, self.parameters, self.doc = returns, tuple(parameters), doc
        self.inputs = tuple(p for p in self.parameters if not p.out)
        self.outputs = tuple(p for p in self.parameters if p.out)
        self.result_class = result_class
        self.route_index = next((i for i, p in enumerate(self.inputs) if p.routekey), None)
        ret = () if returns is None else (Member(0, "", "ret", returns, True, zero_of(returns)),)
        self._arguments = tuple(p.member() for p in self.inputs)
        self._results = ret + tuple(p.member() for p in self.outputs)
        self._arguments_v1: BodyCodec | None = None
        self._result_v1: BodyCodec | None = None
        self._values: dict[str, ValueCodec] = {}

    def __repr__(self) -> str:
        return f"<Function {self.full_name}>"

    @property
    def full_name(self) -> str:
        """`demo.Hello.hello`."""
        return f"{self.interface}.{self.name}"

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """The in-arguments in the order of the IDL; TypeError where Python itself would raise one."""
        if not kwargs and len(args) == len(self.inputs):
            return args
        names = [p.python_name for p in self.inputs]
        if len(args) > len(names):
            raise TypeError(f"{self.full_name}() takes {len(names)} arguments, {len(args)} were given")
        given = dict(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name not in names:
                raise TypeError(f"{self.full_name}() got an unexpected argument {name!r}")
            if name in given:
                raise TypeError(f"{self.full_name}() got two values for {name!r}")
            given[name] = value
        if missing := [name for name in names if name not in given]:
            raise TypeError(f"{self.full_name}() lacks {', '.join(missing)}")
        return tuple(given[name] for name in names)

    def encode_args(self, args: Sequence[Any], version: int = 1) -> bytes:
        """The body of a request; EncodeError when an argument does not fit."""
        if len(args) != len(self.inputs):
            raise EncodeError(self.full_name, f"takes {len(self.inputs)} arguments, got {len(args)}")
        if version == 1:
            codec = self._arguments_v1 or self._compile_arguments()
            return codec.encode(*args)
        return self._encode(self._arguments, args, version)

    def decode_args(self, body: bytes, version: int = 1, limits: Limits = DEFAULT_LIMITS) -> tuple[Any, ...]:
        """The in-arguments of a request; DecodeError when the body is malformed or lacks one."""
        if version == 1:
            codec = self._arguments_v1 or self._compile_arguments()
            arguments: tuple[Any, ...] = codec.decode(body, limits.depth, [limits.items])
            return arguments
        return self._decode(self._arguments, body, version, limits)

    def encode_result(self, result: Any, version: int = 1) -> bytes:
        """The body of an answer; EncodeError when the result does not fit."""
        values = self._result_values(result)
        if version == 1:
            codec = self._result_v1 or self._compile_result()
            return codec.encode(*values)
        return self._encode(self._results, values, version)

    def decode_result(self, body: bytes, version: int = 1, limits: Limits = DEFAULT_LIMITS) -> Any:
        """The result in an answer; DecodeError when the body is malformed or lacks a part."""
        if version == 1:
            codec = self._result_v1 or self._compile_result()
            return codec.decode(body, limits.depth, [limits.items])
        return self._shape(*self._decode(self._results, body, version, limits))

    def _result_values(self, result: Any) -> Sequence[Any]:
        """The parts of a result, without the None of a void function."""
        if self.result_class is None:
            if self.returns is not None:
                return (result,)
            if result is not None:
                raise EncodeError(self.full_name, f"is void but returned {type(result).__name__}")
            return ()
        wanted = 1 + len(self.outputs)
        if not isinstance(result, tuple) or len(result) != wanted:
            names = ", ".join(["ret", *(p.name for p in self.outputs)])
            got = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
            raise EncodeError(self.full_name, f"expected a tuple of {wanted} ({names}), got {got}")
        if self.returns is not None:
            return result
        if result[0] is not None:
            raise EncodeError(self.full_name, f"is void: ret must be None, got {type(result[0]).__name__}")
        return result[1:]

    def _shape(self, *values: Any) -> Any:
        """The result made of its parts."""
        if self.result_class is not None:
            make: Callable[..., Any] = self.result_class
            return make(*values) if self.returns is not None else make(None, *values)
        return values[0] if values else None

    def _compile_arguments(self) -> BodyCodec:
        self._arguments_v1 = codec = body_codec(self._arguments, self.full_name)
        return codec

    def _compile_result(self) -> BodyCodec:
        plain = self.result_class is None and self.returns is not None
        named = self.result_class is not None and self.returns is not None
        make = UNWRAP_SINGLE if plain else self.result_class if named else self._shape
        self._result_v1 = codec = body_codec(self._results, self.full_name, make)
        return codec

    def _encode(self, members: Sequence[Member], values: Sequence[Any], version: int) -> bytes:
        layout = check_version(version, EncodeError)
        if layout is Version.TARS:
            raise AssertionError("version 1 is compiled")
        if layout is Version.JSON:
            return encode_json(members, values, self.full_name)
        return encode_attributes(
            layout,
            (
                (m.name, m.type.tup_name, self._value_codec(m).encode(value))
                for m, value in zip(members, values, strict=True)
            ),
        )

    def _decode(
        self, members: Sequence[Member], body: bytes, version: int, limits: Limits
    ) -> tuple[Any, ...]:
        layout = check_version(version, DecodeError)
        if layout is Version.JSON:
            return decode_json(members, body, self.full_name, limits)
        found = decode_attributes(layout, body, limits)
        return tuple(self._attribute(m, found, limits) for m in members)

    def _attribute(self, member: Member, found: Mapping[str, bytes], limits: Limits) -> Any:
        data = found.get(member.name)
        if data is None and not member.name:
            data = found.get(CPP_RETURN_NAME)
        if data is None:
            raise DecodeError(f"there is no attribute {member.name!r}", 0, self.full_name)
        return self._value_codec(member).decode(data, limits)

    def _value_codec(self, member: Member) -> ValueCodec:
        codec = self._values.get(member.name)
        if codec is None:
            codec = self._values[member.name] = ValueCodec(member, self.full_name)
        return codec


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface of the IDL: `name` is `module.Interface`, `functions` are by their IDL names."""

    name: str
    functions: Mapping[str, Function]
    doc: str = ""

    def missing(self, cls: type) -> tuple[str, ...]:
        """The functions that a servant class inherits from the interface class, where they only raise."""
        declared = next((c for c in cls.__mro__ if vars(c).get(INTERFACE_ATTRIBUTE) is self), None)
        if declared is None:
            return tuple(self.functions)
        return tuple(
            f.name
            for f in self.functions.values()
            if getattr(cls, f.python_name, None) is vars(declared).get(f.python_name)
        )


def interface_of(thing: object) -> Interface:
    """The interface of a class, or of the class of an instance; TypeError when it has none."""
    cls = thing if isinstance(thing, type) else type(thing)
    found = getattr(cls, INTERFACE_ATTRIBUTE, None)
    if not isinstance(found, Interface):
        raise TypeError(f"{cls.__name__} does not come from an interface of a .tars file")
    return found
