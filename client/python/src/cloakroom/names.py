# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""The contract's enumerations by their names: protobuf for Python has them as numbers."""

from collections.abc import Collection
from typing import Any

from google.protobuf.message import Message

from .errors import LocalError
from .v1 import invalidation_pb2, session_pb2


def enum_name(message: Message, field: str) -> str:
    """The value of an enumeration in a message, by its short name: `enum_name(status, "state")` is `"COMMITTED"`.

    A value that this client is too old for is its number, as text.
    """
    kind = message.DESCRIPTOR.fields_by_name[field].enum_type
    if kind is None:
        raise TypeError(f"{message.DESCRIPTOR.name}.{field} is no enumeration")
    return _short(kind, getattr(message, field))


def state_name(session: session_pb2.Session | int) -> str:
    """The state of a session, or a state itself, by its name, such as `"ACTIVE"`."""
    return _named(session_pb2.SessionState, session, "state")


def kind_name(change: invalidation_pb2.Change | int) -> str:
    """The kind of a change, or a kind itself, by its name, such as `"PROFILE_SAVED"`."""
    return _named(invalidation_pb2.ChangeKind, change, "kind")


def enum_of(kind: Any, prefix: str, value: str | int, untold: Collection[str] = ()) -> Any:
    """A value of an enumeration from its number or its name, in any case, with or without the prefix.

    An error leaves out the names in `untold`, which no call takes.
    """
    if isinstance(value, int):
        return value
    name = prefix + value.upper().replace("-", "_").removeprefix(prefix)
    known = kind.keys()
    if name not in known:
        names = ", ".join(name for one in known[1:] if (name := one.removeprefix(prefix)) not in untold)
        raise LocalError(f"there is no {value!r}: use one of {names}", reason="INVALID_FIELD")
    return kind.Value(name)


def _named(kind: Any, value: Message | int, field: str) -> str:
    return _short(kind.DESCRIPTOR, value) if isinstance(value, int) else enum_name(value, field)


def _short(kind: Any, number: int) -> str:
    found = kind.values_by_number.get(number)
    # By the contract's style, every name starts with that of its enumeration, and 0 ends with UNSPECIFIED.
    prefix = kind.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return str(found.name).removeprefix(prefix) if found else str(number)
