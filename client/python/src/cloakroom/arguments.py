# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""Arguments are looked at before anything is made of them, so that a wrong one is called by its name."""

import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import wraps
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import LocalError

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])

#: What an argument may be, in the words of an error.
_WORDS: dict[Any, str] = {
    str: "text (str)",
    bytes: "bytes",
    bool: "True or False",
    int: "a whole number (int)",
    float: "a number",
    timedelta: "a timedelta",
    NoneType: "None",
}
#: Whose values are nobody's business.
_SECRET = ("token", "email", "storage_state")
#: Numbers of enumerations, which come by name too, and sizes of pages are of 32 bits; all others are of 64.
_SMALL = ("page_size", "states", "kinds", "to", "ttl_mode")


def checked(kind: C) -> C:
    """Makes the verbs of a class, and its `__init__`, look at their arguments."""
    for name, member in list(vars(kind).items()):
        if inspect.isfunction(member) and (name == "__init__" or not name.startswith("_")):
            setattr(kind, name, looked_at(member))
    return kind


def looked_at(verb: F) -> F:
    """Makes one function look at its arguments, as its annotations say."""
    hints = {name: hint for name, hint in get_type_hints(verb).items() if name != "return"}
    names = list(inspect.signature(verb).parameters)

    @wraps(verb)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = [look(name, value, hints.get(name, Any)) for name, value in zip(names, args, strict=False)]
        named = {name: look(name, value, hints.get(name, Any)) for name, value in kwargs.items()}
        return verb(*given, *args[len(given) :], **named)

    return call  # type: ignore[return-value]


def look(name: str, value: Any, hint: Any) -> Any:
    """The value of an argument, if it may be one; of several, all of them, so that none is missed."""
    if get_origin(hint) in _SEVERAL and not isinstance(value, str | bytes | Mapping) and isinstance(value, Iterable):
        value = tuple(value)
    if name == "storage_state" and isinstance(value, os.PathLike):
        raise wrong(name, value, "takes the JSON itself, not a path: give what the file holds")
    if not _fits(name, value, hint):
        raise wrong(name, value, f"must be {_told(hint)}")
    return value


def _fits(name: str, value: Any, hint: Any) -> bool:
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        fits = True
    elif origin in (Union, UnionType):
        # A path may be any text, also one that is not Unicode.
        fits = isinstance(value, str) and any(get_origin(part) is os.PathLike for part in parts)
        fits = fits or any(_fits(name, value, part) for part in parts)
    elif origin in _SEVERAL:
        fits = isinstance(value, tuple) and all(_fits(name, one, parts[0]) for one in value)
    elif origin is _MAPPING:
        pairs = value.items() if isinstance(value, Mapping) else [(None, None)]
        fits = all(_fits(name, key, parts[0]) and _fits(name, one, parts[1]) for key, one in pairs)
    elif origin is _CALLABLE:
        fits = callable(value)
    elif hint is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    elif hint is int:
        fits = isinstance(value, int) and not isinstance(value, bool) and _small(name, value)
    else:
        fits = isinstance(value, origin or hint) and (hint is not str or _unicode(name, value))
    return fits


def _small(name: str, value: int) -> bool:
    bits = 31 if name in _SMALL else 63
    if not -(1 << bits) <= value < 1 << bits:
        raise wrong(name, value, f"must be a number of {bits + 1} bits")
    return True


def _unicode(name: str, value: str) -> bool:
    try:
        return value.encode() is not None
    except UnicodeEncodeError:
        raise wrong(name, value, "must be text that can be written as UTF-8") from None


def wrong(name: str, value: Any, rule: str) -> LocalError:
    """Says what is wrong with an argument, with as much of its value as may be shown."""
    kind = type(value).__name__
    several = isinstance(value, tuple | Mapping) and value
    shown = f"{value!r} ({kind})" if isinstance(value, int | float) and name not in _SECRET else f"of type {kind}"
    told = "has something else in it" if several else "is None" if value is None else f"is {shown}"
    return LocalError(f"{name} {told}: it {rule}", reason="INVALID_FIELD", violations=[(name, rule)])


def _told(hint: Any) -> str:
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_told(part) for part in parts))
    if origin in _SEVERAL:
        return f"a list, or the like, of {_told(parts[0])}"
    if origin is _MAPPING:
        return "a mapping" if parts[1] is Any else f"a mapping of {_told(parts[0])} to {_told(parts[1])}"
    if origin is _CALLABLE:
        return "a function"
    if origin is os.PathLike:
        return "a path"
    return _WORDS.get(hint) or f"a {hint.__name__}"


_MAPPING, _CALLABLE = get_origin(Mapping[str, str]), get_origin(Callable[[], None])
_SEVERAL = (get_origin(Iterable[str]), get_origin(Sequence[str]))
