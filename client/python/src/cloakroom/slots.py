# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""The directories of mounts: each in a slot, which one process has at a time.

The layout and the steps are laid down in `client/vectors/README.md`, for processes in all languages share them:

    ROOT/mounts/NAMESPACE/SESSION/SLOT/profile               the directory, and its sidecar beside it
    ROOT/mounts/NAMESPACE/SESSION/SLOT/claim.free            nobody has it
    ROOT/mounts/NAMESPACE/SESSION/SLOT/claim.HOST.PID.START  a process has it

A slot has exactly one claim. Taking it is one rename, so that of several takers one has it and the others find nothing.
The claim's time says since when it is free, or was before it was taken.
"""

import os
import re
import secrets
import socket
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from .capture import alive, running_browser
from .errors import LocalError
from .results import PruneResult
from .sidecar import Sidecar
from .tree import file_system
from .workshop import remove_tree

#: The environment variable that says where mounts are.
ROOT = "CLOAKROOM_MOUNTS"
_PROFILE, _FREE = "profile", "claim.free"
#: What `cloakroom exec` works with; it has cookies in it.
_STATE = "storage-state.json"
_SLOT = re.compile("[0-9a-f]{8}")
_CLAIMS = "claim."
_CLAIM = re.compile(r"claim\.(?P<host>[0-9a-f]{8})\.(?P<process>[0-9]+)\.(?P<start>[0-9]+)")
_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NAMESPACE = re.compile("[a-z0-9][a-z0-9-]{0,62}")
_OWN = "-"  # no namespace starts with it
_SPARE = 2  # free slots of one session that are kept
_HOUR = 3600.0
_TRIES = 64


class Claim(NamedTuple):
    """The claim of a slot as it was found."""

    path: Path
    mtime_ns: int

    def is_free(self) -> bool:
        """Whether nobody has the slot."""
        return self.path.name == _FREE

    def is_left(self) -> bool:
        """Whether it may be taken: nobody has the slot, or who had it is dead, which only its own host can tell."""
        found = _CLAIM.fullmatch(self.path.name)
        if not found:
            return self.is_free()
        return found["host"] == _host() and not _lives(int(found["process"]), int(found["start"]))


class Slot:
    """A slot that this process has, until it is released or nothing refers to it any more."""

    def __init__(self, path: Path) -> None:
        self._path, self._claim = path, path / _own()
        self._release = weakref.finalize(self, _let_go, self._claim, os.getpid())

    @property
    def profile(self) -> Path:
        """The directory in it."""
        return self._path / _PROFILE

    @property
    def held(self) -> bool:
        """Whether this process still has it."""
        return self._release.alive

    def release(self) -> None:
        """Lets others have it; once more does nothing."""
        self._release()

    def clear(self) -> None:
        """Leaves nothing in it but an empty directory."""
        with file_system():
            _empty(self._path)
            self.profile.mkdir(mode=0o700)

    def tidy(self) -> None:
        """Removes what loads that were killed left beside the directory, in whatever language."""
        with file_system():
            _empty(self._path, self.profile, Sidecar.path(self.profile))


def home(root: str | os.PathLike[str] | None, namespace: str, session_id: str) -> Path:
    """Where the slots of a session are; nothing is made yet."""
    for field, value, rule in (
        ("session_id", session_id, _SESSION),
        ("namespace", namespace or "own", _NAMESPACE),
    ):
        if not rule.fullmatch(value):
            told = f"{field} is {value!r}: it must match {rule.pattern}"
            raise LocalError(told, reason="INVALID_FIELD", violations=[(field, f"must match {rule.pattern}")])
    return mounts(root) / (namespace or _OWN) / session_id


def mounts(root: str | os.PathLike[str] | None) -> Path:
    """Where all mounts are."""
    place = root or os.environ.get(ROOT)
    if not place:
        try:
            place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cloakroom"
        except RuntimeError:
            raise LocalError(
                f"there is no home directory for mounts: give root, or set {ROOT}", reason="OPTION"
            ) from None
    return Path(place).absolute() / "mounts"


def take(sessions: Path) -> Slot:
    """Takes the slot among those of a session that was in use last, or a new one."""
    with file_system():
        for claim in _claims(sessions):
            if claim.is_left() and (mine := _taken(claim)):
                slot = Slot(mine.parent)
                mine.with_name(_STATE).unlink(missing_ok=True)
                return slot
        return _new(sessions)


def prune(root: Path, age: float) -> PruneResult:
    """Removes the slots that nobody has and that were not used for so many seconds."""
    slots = size = 0
    with file_system():
        for sessions in root.glob("*/*"):
            for claim in _claims(sessions):
                if claim.mtime_ns <= time.time_ns() - age * 1e9 and claim.is_left():
                    removed = _removed(claim)
                    slots, size = slots + (removed is not None), size + (removed or 0)
            for slot in _abandoned(sessions):
                slots, size = slots + 1, size + _remove(slot, slot / _FREE)
            with suppress(OSError):  # most have something in them
                if _is_old(sessions):
                    sessions.rmdir()
    return PruneResult(slots, size)


def _claims(sessions: Path) -> list[Claim]:
    """The claims of a session's slots, the newest first."""
    found = []
    for slot in _slots(sessions):
        with suppress(FileNotFoundError, NotADirectoryError):
            names = [name for name in os.listdir(slot) if name.startswith(_CLAIMS)]
            if len(names) == 1:  # without one, somebody is just making it
                found.append(Claim(slot / names[0], (slot / names[0]).lstat().st_mtime_ns))
    return sorted(found, key=lambda claim: claim.mtime_ns, reverse=True)


def _slots(sessions: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError, NotADirectoryError):
        yield from (sessions / name for name in os.listdir(sessions) if _SLOT.fullmatch(name))


def _abandoned(sessions: Path) -> Iterator[Path]:
    """Slots whose makers, or removers, died over it."""
    for slot in _slots(sessions):
        with suppress(FileNotFoundError, NotADirectoryError):
            claimed = any(name.startswith(_CLAIMS) for name in os.listdir(slot))
            if not claimed and _is_old(slot) and not running_browser(slot / _PROFILE):
                yield slot


def _is_old(path: Path) -> bool:
    return path.lstat().st_mtime < time.time() - _HOUR


def _taken(claim: Claim) -> Path | None:
    """Takes a slot; nothing if somebody was faster, or a browser outlived who had the slot."""
    mine = claim.path.with_name(_own())
    try:
        claim.path.rename(mine)
    except FileNotFoundError:
        return None
    if running_browser(mine.with_name(_PROFILE)):
        mine.rename(claim.path.with_name(_FREE))
        return None
    return mine


def _new(sessions: Path) -> Slot:
    tries = _TRIES
    while True:
        slot = sessions / secrets.token_hex(4)
        try:
            _make(slot)
            os.close(os.open(slot / _own(), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            return Slot(slot)
        except (FileExistsError, FileNotFoundError):  # the name is taken, or what was empty is being removed
            tries -= 1
            if not tries:
                raise


def _make(directory: Path) -> None:
    """Makes a directory, and those above it, for nobody else to look into."""
    try:
        directory.mkdir(mode=0o700)
    except FileNotFoundError:
        with suppress(FileExistsError):
            _make(directory.parent)
        directory.mkdir(mode=0o700)


def _let_go(claim: Path, process: int) -> None:
    if os.getpid() != process:
        return  # a copy in a child: the slot is its parent's
    with file_system():
        if not os.path.lexists(claim.with_name(_PROFILE)):
            _remove(claim.parent, claim)  # nothing ever came into it
            return
        with suppress(FileNotFoundError):
            os.utime(claim)
            claim.rename(claim.with_name(_FREE))
        spare = [other for other in _claims(claim.parent.parent) if other.is_free()]
        for other in spare[_SPARE:]:
            _removed(other)


def _removed(claim: Claim) -> int | None:
    """Removes a slot, unless somebody has used it since it was looked at; answers how many bytes were in it."""
    mine = _taken(claim)
    if mine is None:
        return None
    if mine.lstat().st_mtime_ns != claim.mtime_ns:
        mine.rename(claim.path.with_name(_FREE))
        return None
    return _remove(mine.parent, mine)


def _remove(slot: Path, claim: Path) -> int:
    """Removes a slot, its claim last: whoever is killed over it leaves one that can be taken."""
    size = 0
    with suppress(FileNotFoundError):
        for folder, _, files in os.walk(slot):
            size += sum(os.lstat(f"{folder}/{name}").st_size for name in files)
        _empty(slot)
        claim.unlink(missing_ok=True)
        slot.rmdir()
    return size


def _empty(slot: Path, *kept: Path) -> None:
    """Removes what is in a slot but its claim, and what is kept; the sidecar before what it describes."""
    sidecar = Sidecar.path(slot / _PROFILE)
    for path in sorted(slot.iterdir(), key=lambda path: path != sidecar):
        if path in kept or path.name.startswith(_CLAIMS):
            continue
        if path.is_dir() and not path.is_symlink():
            remove_tree(path)
        else:
            path.unlink()


def _own() -> str:
    """The name of this process's claims."""
    found = _status("self")
    return f"claim.{_host()}.{os.getpid()}.{found.start if found else 0}"


def _host() -> str:
    try:
        # Two containers may have one host name, but then not one and the same set of processes.
        processes = os.readlink(b"/proc/self/ns/pid")
    except OSError:
        processes = b""
    return sha256(os.fsencode(socket.gethostname()) + b"\n" + processes).hexdigest()[:8]


class _Status(NamedTuple):
    start: int
    dead: bool


def _status(process: int | str) -> _Status | None:
    """What `/proc` says of a process, where there is one."""
    try:
        stat = Path(f"/proc/{process}/stat").read_bytes()
    except OSError:
        return None
    # The name is in parentheses and may have anything in it; what follows starts with field 3.
    fields = stat.rpartition(b")")[2].split()
    state, threads, start = fields[0], int(fields[17]), int(fields[19])
    # One that ended and that its parent has not asked for yet; a first thread may end before the others do.
    return _Status(start, state in (b"Z", b"X") and threads <= 1)


def _lives(process: int, start: int) -> bool:
    """Whether a process lives that started then; 0: whenever it started."""
    found = _status(process)
    if found is None:
        return alive(process)  # no `/proc`, or none of others
    return not found.dead and start in (0, found.start)
