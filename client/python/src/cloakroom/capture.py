# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""Which files of a profile travel, and where a profile can go.

The rules themselves are data: `client/capture.json`, which also says how to read them.
"""

import json
import os
import re
import socket
import sys
import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from .errors import LocalError, NotAProfileWarning
from .v1.profile_pb2 import Portability

#: What is known of a profile's origin and stays true when a save cannot find it out anew.
ORIGIN = ("os", "brand", "browser_version", "password_store")
Policy = Literal["default", "lean", "full"]

_SYSTEMS = {"linux": "linux", "darwin": "macos", "win32": "windows"}
# Chromium: `host-process`. Firefox: `address:+process`.
_LOCK = re.compile(r"(?:(?P<host>.*)-|[^/]*:\+)(?P<process>[0-9]+)")
# Chromium: what it writes at its first start. Firefox: the same.
_PROFILE = re.compile(
    r"Local State|Last Version|First Run|[^/]+/(Preferences|Cookies)|prefs\.js|compatibility\.ini|times\.json"
)
_LOCKS = ("SingletonLock", "lock")
_UNKNOWN = Portability()


@cache
def _rules() -> Any:
    return json.loads(files(__package__).joinpath("capture.json").read_text(encoding="utf-8"))


def policies() -> list[str]:
    """The names of the capture policies."""
    return list(_rules()["policies"])


def _segment(glob: str) -> str:
    return "".join({"*": "[^/]*", "?": "[^/]"}.get(char, re.escape(char)) for char in glob)


def compile_glob(glob: str) -> str:
    """Translates a glob into a regular expression for whole paths; refuses a bad glob with CAPTURE_RULE."""
    segments = glob.removeprefix("/").split("/")
    if not all(segments) or "\0" in glob or "\\" in glob:
        raise LocalError(
            f"the glob {glob!r} is bad: it needs segments with single slashes between them, without NUL or backslash",
            reason="CAPTURE_RULE",
        )
    if "/" not in glob and glob != "**":
        return "(?:.*/)?" + _segment(glob)
    segments = [
        segment for index, segment in enumerate(segments) if segment != "**" or segments[index - 1 : index] != ["**"]
    ]
    # `**` takes the slash on one side with it; the last one takes the slash before it.
    out = ""
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if segment != "**":
            out += _segment(segment) + ("" if last or segments[index + 1 :] == ["**"] else "/")
        else:
            out += ("(?:/.*)?" if index else ".*") if last else "(?:[^/]+/)*"
    return out


class Capture:
    """The rules of one policy with the caller's own globs; made once and used for many paths."""

    def __init__(self, policy: str = "default", *, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> None:
        rules = _rules()
        if policy not in rules["policies"]:
            raise LocalError(
                f"there is no capture policy {policy!r}: use one of {', '.join(rules['policies'])}",
                reason="CAPTURE_RULE",
            )
        self.policy = policy
        verdicts = [(rule["glob"], False) for rule in rules["never"]]
        verdicts += [(glob, True) for glob in include] + [(glob, False) for glob in exclude]
        verdicts += [(rule["glob"], policy not in rule["drop"]) for rule in rules["rules"]]
        # Most globs end in a plain name; they are found by it, and only the others are tried one after the other.
        self._named: dict[str, list[tuple[int, re.Pattern[str], bool]]] = {}
        self._others: list[tuple[int, re.Pattern[str], bool]] = []
        for order, (glob, keep) in enumerate(verdicts):
            rule = (order, re.compile(compile_glob(glob), re.DOTALL), keep)
            name = glob.rpartition("/")[2]
            (self._others if "*" in name or "?" in name else self._named.setdefault(name, [])).append(rule)
        # Without a rule that keeps, nothing has to be tried in order: one expression answers for all of them.
        self._any_other = re.compile("|".join(f"(?:{rule.pattern})" for _, rule, _ in self._others), re.DOTALL)

    def verdict(self, path: str) -> bool:
        """Whether `path` itself is kept, its directories aside: for a walk, which never enters a dropped one."""
        rules: Sequence[tuple[int, re.Pattern[str], bool]] = self._named.get(path.rpartition("/")[2], ())
        if self._any_other.fullmatch(path):
            rules = sorted([*rules, *self._others], key=lambda rule: rule[0])
        return next((keep for _, rule, keep in rules if rule.fullmatch(path)), True)

    def keeps(self, path: str) -> bool:
        """Whether `path` travels."""
        names = path.split("/")
        return all(self.verdict("/".join(names[: count + 1])) for count in range(len(names)))


def running_browser(directory: Path) -> int | None:
    """The process of the browser that runs on a profile, if it runs on this host."""
    for name in _LOCKS:
        try:
            found = _LOCK.fullmatch(str((directory / name).readlink()))
        except OSError:
            continue
        if found and found["host"] in (None, socket.gethostname()) and alive(int(found["process"])):
            return int(found["process"])
    return None


def locked(directory: Path) -> bool:
    """Whether a browser has a profile, or died on it: most refuse a profile with the lock of another host."""
    return any((directory / name).is_symlink() for name in _LOCKS)


def alive(process: int) -> bool:
    """Whether there is such a process on this host."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # somebody else's
    return True


def describe(
    directory: Path,
    rules: Capture,
    brand: str,
    password_store: str,
    *,
    force: bool,
    former: Portability = _UNKNOWN,
) -> Portability:
    """Says where a profile comes from; refuses one on which a browser runs, unless forced.

    What neither the caller nor the profile tells is as it was in the snapshot that the profile was loaded from.
    """
    if not directory.is_dir():
        raise LocalError(f"there is no directory {directory} to save", reason="PROFILE_MISSING")
    process = running_browser(directory)
    if process and not force:
        raise LocalError(
            f"process {process} runs a browser on {directory}: close it first, for what is saved while it runs may be "
            "damaged; if that process is no browser (a lock left over from a crash) or you take the risk, force it",
            reason="PROFILE_BUSY",
        )
    version = (_text(directory / "Last Version").split() or [""])[0][:64]
    if not version and (
        found := re.search(r"^LastVersion=([0-9.]+)", _text(directory / "compatibility.ini"), re.MULTILINE)
    ):
        version, brand = found[1], brand or "firefox"
    return Portability(
        os=_SYSTEMS.get(sys.platform, former.os),
        brand=brand or former.brand,
        browser_version=version or former.browser_version,
        password_store=password_store or former.password_store,
        quiesced=process is None,
        capture_policy=rules.policy,
    )


def check_profile(directory: Path, paths: Iterable[str]) -> None:
    """Warns of what is most likely not the directory that was meant."""
    kept = list(paths)
    if any(_PROFILE.fullmatch(path) for path in kept):
        return
    found = f"has none of the files by which a profile is known, among {len(kept)}" if kept else "has nothing to save"
    advice = "give the browser's user data directory (it holds `Local State` or `prefs.js`), after the browser exited"
    warnings.warn(f"{directory} {found}: {advice}", NotAProfileWarning, stacklevel=2)


def obstacles(origin: Portability) -> list[str]:
    """Why a browser on this machine will not find its logins in a profile of that origin; empty if none is known."""
    here = _SYSTEMS.get(sys.platform, "")
    out = []
    if origin.os and here and origin.os != here:
        out.append(f"it was saved on {origin.os} and this is {here}, but cookies are sealed by the operating system")
    if origin.password_store not in ("", "basic", "mock"):
        out.append(
            f"its cookies are sealed with a key in {origin.password_store}, which does not travel: "
            "launch every browser with --password-store=basic"
        )
    return out


def _text(path: Path) -> str:
    try:
        return path.read_bytes()[:4096].decode("utf-8", "replace")
    except OSError:
        return ""
