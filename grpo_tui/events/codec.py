"""Events as JSON-ready dicts plus named NumPy arrays, and arrays as compact blobs. Never pickle.

The codec is generic: it follows the annotations of the frozen dataclasses, so a new event or a new field needs
nothing here. Three rules keep old files readable by new programs and the other way round:

* an event says its class name and :data:`VERSION`; a class that is not known here, or a version above this
  program's, decodes to ``None`` (:func:`decode`), and the reader passes over it;
* unknown fields are ignored;
* **a field added later must have a default**. Fields that equal an empty default (``""``, ``0``, ``None``,
  ``()``, ``{}``) are not written at all, so an empty default can never be changed to another one.

Floats that JSON cannot hold are written as ``"nan"``, ``"inf"`` and ``"-inf"``. Arrays never enter the JSON: it
holds their names, the arrays travel beside it and come back bit for bit (:func:`pack`, :func:`unpack`).
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
import types
import typing
import zlib
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from grpo_tui.events import commands as _commands
from grpo_tui.events import types as _types
from grpo_tui.events.commands import Request
from grpo_tui.events.types import Event

VERSION = 1
"""Raised when a change to an event is such that an older program would misread it."""

Arrays = dict[str, npt.NDArray[Any]]
Json = dict[str, Any]
_Encoder = Callable[[Any, Arrays, str], Any]
_Decoder = Callable[[Any, Mapping[str, npt.NDArray[Any]]], Any]
_T = TypeVar("_T")


class CodecError(ValueError):
    """Stored data does not fit the record it claims to be."""


class Encoded(NamedTuple):
    """One event: ``data`` goes through :func:`to_json`, ``arrays`` through :func:`pack`."""

    data: Json
    arrays: Arrays


EVENT_TYPES: Mapping[str, type[Event]] = types.MappingProxyType(
    {
        name: value
        for name, value in vars(_types).items()
        if isinstance(value, type) and issubclass(value, Event) and value is not Event
    }
)
"""Every event this program knows, by class name."""


REQUEST_TYPES: Mapping[str, type[Request]] = types.MappingProxyType(
    {
        name: value
        for name, value in vars(_commands).items()
        if isinstance(value, type) and issubclass(value, Request) and value is not Request
    }
)
"""Every request this program knows, by class name."""


def encode_request(request: Request) -> Json:
    """Turn a request into a JSON-ready dict that names it.

    Raises:
        TypeError: it holds what JSON cannot, such as an array.
    """
    data, arrays = encode_record(request)
    if arrays:
        raise TypeError(f"{type(request).__name__} holds an array and cannot be recorded as JSON")
    return {"command": type(request).__name__, **data}


def decode_request(data: Mapping[str, Any]) -> Request:
    """Turn it back.

    Raises:
        CodecError: no request of this program has that name or those fields.
    """
    name = str(data.get("command"))
    kind = REQUEST_TYPES.get(name)
    if kind is None:
        raise CodecError(f"there is no command {name!r}; there are {', '.join(sorted(REQUEST_TYPES))}")
    fields = {key: value for key, value in data.items() if key != "command"}
    unknown = fields.keys() - {field.name for field in dataclasses.fields(kind)}
    if unknown:
        raise CodecError(f"{name} has no {', '.join(sorted(unknown))}")
    return decode_record(kind, fields)


def encode(event: Event) -> Encoded:
    """Turn an event into a JSON-ready dict and the arrays it carries."""
    data, arrays = encode_record(event)
    return Encoded({"type": type(event).__name__, "v": VERSION, **data}, arrays)


def decode(data: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]] | None = None) -> Event | None:
    """Turn it back; None for an event of a newer program.

    Raises:
        CodecError: a known event is damaged.
    """
    kind = EVENT_TYPES.get(str(data.get("type")))
    version = data.get("v", VERSION)
    if kind is None or not isinstance(version, int) or version > VERSION:
        return None
    return decode_record(kind, data, arrays)


def encode_record(record: Any, prefix: str = "") -> tuple[Json, Arrays]:
    """Turn any frozen record (not only an event) into a dict and its arrays, without a type tag.

    Args:
        record: an instance of a dataclass whose annotations the codec understands.
        prefix: put before the names of the arrays.
    """
    arrays: Arrays = {}
    hint: Any = type(record)
    data: Json = _encoder(hint)(record, arrays, prefix)
    return data, arrays


def decode_record(kind: type[_T], data: Any, arrays: Mapping[str, npt.NDArray[Any]] | None = None) -> _T:
    """Inverse of :func:`encode_record`.

    Raises:
        CodecError: a field without a default is missing, or a value has the wrong shape.
    """
    hint: Any = kind
    try:
        value: _T = _decoder(hint)(data, arrays or {})
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        if isinstance(error, CodecError):
            raise
        raise CodecError(f"not a {kind.__name__}: {error}") from error
    return value


def to_json(data: Any) -> str:
    """Compact JSON text, always encodable as UTF-8 (lone surrogates are escaped)."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text


# Arrays -------------------------------------------------------------------------------------------------

_PACK_FORMAT = 1
_NAMES = b"token_ids_T token_offsets_T logprobs_T entropies_T kl_ref_T"
_DICTIONARY = b"\x05" + b"".join(
    bytes((len(name),)) + name + kind + b"\x01"
    for name, kind in zip(_NAMES.split(), (b"<i4", b"<i4", b"<f4", b"<f4", b"<f4"), strict=True)
)
"""What a completion's header looks like: primes zlib, so that a short completion does not pay for its names.

Part of format 1: never change it, add a format."""


def pack(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Named arrays as one compressed blob: exact, little-endian, byte planes apart (which zlib likes).

    Raises:
        CodecError: an array has a dtype that is not a plain number or bool, or there are too many arrays.
    """
    if len(arrays) > 0xFFFF:
        raise CodecError(f"{len(arrays)} arrays do not fit in one blob")
    head = [_varint(len(arrays))]
    body = []
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise CodecError(f"array {name} has dtype {array.dtype}, which is not a plain number")
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)
        code = little.dtype.str.replace("|", "<").encode()
        label = name.encode()
        head.append(_varint(len(label)) + label + code.ljust(3) + _varint(array.ndim))
        head.extend(_varint(size) for size in array.shape)
        planes = little.reshape(-1).view(np.uint8).reshape(-1, little.dtype.itemsize)
        body.append(planes.T.tobytes())
    squeeze = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=_DICTIONARY)
    return bytes((_PACK_FORMAT,)) + squeeze.compress(b"".join((*head, *body))) + squeeze.flush()


def unpack(blob: bytes) -> Arrays:
    """Inverse of :func:`pack`; the arrays are read-only and in native byte order.

    Raises:
        CodecError: the blob is damaged, or written by a newer program.
    """
    if not blob or blob[0] != _PACK_FORMAT:
        raise CodecError("array blob of an unknown format")
    try:
        expand = zlib.decompressobj(-zlib.MAX_WBITS, zdict=_DICTIONARY)
        raw = expand.decompress(blob[1:])
        if not expand.eof:
            raise CodecError("array blob is cut short")
        return _unpack_raw(raw)
    except (zlib.error, struct.error, IndexError, TypeError, ValueError) as error:
        if isinstance(error, CodecError):
            raise
        raise CodecError(f"array blob is damaged: {error}") from error


def _unpack_raw(raw: bytes) -> Arrays:
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = raw[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    heads: list[tuple[str, np.dtype[Any], tuple[int, ...]]] = []
    for _ in range(number()):
        length = number()
        name = raw[at : at + length].decode()
        kind = np.dtype(raw[at + length : at + length + 3].decode().strip())
        at += length + 3
        heads.append((name, kind, tuple(number() for _ in range(number()))))
    arrays: Arrays = {}
    for name, kind, shape in heads:
        size = math.prod(shape) * kind.itemsize
        if at + size > len(raw):
            raise CodecError("array blob is cut short")
        planes = np.frombuffer(raw, np.uint8, size, at).reshape(kind.itemsize, -1)
        array = np.frombuffer(planes.T.tobytes(), kind).reshape(shape)
        if not kind.isnative:
            array = array.astype(kind.newbyteorder("="))
            array.flags.writeable = False
        arrays[name] = array
        at += size
    return arrays


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


# Values, by annotation ------------------------------------------------------------------------------------


@cache
def _encoder(hint: Any) -> _Encoder:
    origin, args = _origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        inner = _encoder(_optional(hint, args))
        return lambda value, arrays, path: None if value is None else inner(value, arrays, path)
    if hint is np.ndarray or origin is np.ndarray:
        return _encode_array
    if origin is tuple:
        return _encode_tuple(hint, args)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _encode_mapping(args)
    if isinstance(hint, type):
        if dataclasses.is_dataclass(hint):
            return _encode_dataclass(hint)
        if issubclass(hint, Enum):
            return lambda value, _arrays, _path: value.value
        if hint in (str, bool, int):
            return lambda value, _arrays, _path: hint(value)
        if hint is float:
            return _encode_float
    raise TypeError(f"the codec does not know how to write {hint!r}")


def _encode_float(value: Any, _arrays: Arrays, _path: str) -> float | str:
    number = float(value)
    return number if math.isfinite(number) else repr(number)


def _encode_array(value: npt.NDArray[Any], arrays: Arrays, path: str) -> str:
    arrays[path] = np.asarray(value)
    return path


def _encode_tuple(hint: Any, args: tuple[Any, ...]) -> _Encoder:
    if _is_fixed(args):
        each = [_encoder(arg) for arg in args]
        return lambda value, arrays, path: [
            inner(item, arrays, f"{path}.{i}")
            for i, (inner, item) in enumerate(zip(each, value, strict=True))
        ]
    inner = _encoder(_element(hint, args))
    return lambda value, arrays, path: [inner(item, arrays, f"{path}.{i}") for i, item in enumerate(value)]


def _encode_mapping(args: tuple[Any, ...]) -> _Encoder:
    inner = _encoder(args[1])

    def write(value: Mapping[Any, Any], arrays: Arrays, path: str) -> Json:
        return {str(key): inner(item, arrays, f"{path}.{key}") for key, item in value.items()}

    return write


def _encode_dataclass(kind: type[Any]) -> _Encoder:
    hints = typing.get_type_hints(kind)
    plan = [(f.name, _encoder(hints[f.name]), _omitted(f)) for f in dataclasses.fields(kind)]

    def write(value: Any, arrays: Arrays, path: str) -> Json:
        data: Json = {}
        start = f"{path}." if path else ""
        for name, inner, empty in plan:
            item = getattr(value, name)
            if empty is not _ALWAYS and (
                item is empty or (type(item) is type(empty) and _is_empty(item, empty))
            ):
                continue
            data[name] = inner(item, arrays, start + name)
        return data

    return write


_ALWAYS = object()


def _omitted(field: dataclasses.Field[Any]) -> Any:
    """The empty default that stands for "not written", or the marker that the field is always written."""
    default = field.default
    if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    if default is dataclasses.MISSING or isinstance(default, Enum) or default:
        return _ALWAYS
    return default


def _is_empty(item: Any, empty: Any) -> bool:
    if isinstance(item, float):
        return item == empty and math.copysign(1.0, item) > 0
    return bool(item == empty)


@cache
def _decoder(hint: Any) -> _Decoder:
    origin, args = _origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        inner = _decoder(_optional(hint, args))
        return lambda data, arrays: None if data is None else inner(data, arrays)
    if hint is np.ndarray or origin is np.ndarray:
        return lambda data, arrays: arrays[data]
    if origin is tuple and _is_fixed(args):
        each = [_decoder(arg) for arg in args]
        return lambda data, arrays: tuple(
            inner(item, arrays) for inner, item in zip(each, _expect(list, data), strict=True)
        )
    if origin is tuple:
        inner = _decoder(_element(hint, args))
        return lambda data, arrays: tuple(inner(item, arrays) for item in _expect(list, data))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        read_key, read_value = _decoder(args[0]), _decoder(args[1])
        return lambda data, arrays: {
            read_key(key, arrays): read_value(item, arrays) for key, item in _expect(dict, data).items()
        }
    if isinstance(hint, type):
        if dataclasses.is_dataclass(hint):
            return _decode_dataclass(hint)
        if issubclass(hint, Enum):
            return lambda data, _arrays: hint(data)
        if hint is float:
            return _decode_float
        if hint in (str, bool, int):
            return lambda data, _arrays: _expect(hint, data)
    raise TypeError(f"the codec does not know how to read {hint!r}")


def _decode_float(data: Any, _arrays: Mapping[str, npt.NDArray[Any]]) -> float:
    if type(data) is float:
        return data
    if type(data) is int or data in ("nan", "inf", "-inf"):
        return float(data)
    raise CodecError(f"{data!r} is not a number")


def _decode_dataclass(kind: type[Any]) -> _Decoder:
    hints = typing.get_type_hints(kind)
    plan = {f.name: _decoder(hints[f.name]) for f in dataclasses.fields(kind)}

    def read(data: Any, arrays: Mapping[str, npt.NDArray[Any]]) -> Any:
        _expect(dict, data)
        try:
            return kind(**{name: plan[name](item, arrays) for name, item in data.items() if name in plan})
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            if isinstance(error, CodecError):
                raise
            raise CodecError(f"not a {kind.__name__}: {error}") from error

    return read


def _expect(kind: type[_T], data: Any) -> _T:
    if type(data) is not kind:
        raise CodecError(f"{data!r:.60} where a {kind.__name__} was expected")
    value: _T = data
    return value


def _origin(hint: Any) -> Any:
    """What an annotation's arguments are of, behind any alias: NumPy's ``NDArray`` is a ``type`` alias from 2.5 on."""
    origin = typing.get_origin(hint)
    while (value := getattr(origin, "__value__", None)) is not None:
        origin = typing.get_origin(value) or value
    return origin


def _optional(hint: Any, args: tuple[Any, ...]) -> Any:
    """The type beside None."""
    others = [arg for arg in args if arg is not type(None)]
    if len(others) != 1:
        raise TypeError(f"the codec knows no unions but with None, not {hint!r}")
    return others[0]


def _is_fixed(args: tuple[Any, ...]) -> bool:
    """Whether a tuple's annotation names each of its items."""
    return bool(args) and Ellipsis not in args


def _element(hint: Any, args: tuple[Any, ...]) -> Any:
    """The element type of a tuple of any length."""
    if len(args) != 2 or args[1] is not Ellipsis:
        raise TypeError(f"the codec does not know how long {hint!r} is")
    return args[0]
