# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""What a profile is on disk: entries with leaves and roots, the paths it may have, and how it is walked and hashed.

The digests are those of `proto/cloakroom/v1/profile.proto`.
"""

import os
import stat as modes
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from .capture import Capture
from .errors import LocalError, must

LEAF = 4096
DIGEST = 16
FILE, DIRECTORY, LINK = 1, 2, 3
#: Every link has this mode, whatever the system says of it.
LINK_MODE = 0o777
_MAX_PATH, _MAX_COMPONENT, _MAX_DEPTH = 1024, 255, 64
_READ = 256 * LEAF
_LOOKS = 4
#: Within one tick of the file system's clock a second change would not show.
TICK_NS = 20_000_000


class Entry(NamedTuple):
    """One file, directory or link of a profile."""

    kind: int
    path: str
    mode: int
    mtime_ns: int
    size: int = 0
    root: bytes = bytes(32)
    #: Of a link.
    target: str = ""
    #: Of a file: the digests of its leaves, joined.
    leaves: bytes = b""
    #: How the system described it when it was looked at; empty if that is not to be trusted.
    stat: str = ""

    def leaf(self, index: int) -> bytes:
        """The digest of one leaf; empty after the last."""
        return self.leaves[index * DIGEST : (index + 1) * DIGEST]

    def differs(self, other: "Entry | None") -> bool:
        """Whether it is another entry than `other`, as far as a profile is concerned."""
        mine = (self.kind, self.mode, self.mtime_ns, self.size, self.root)
        return other is None or mine != (other.kind, other.mode, other.mtime_ns, other.size, other.root)


#: What a path holds that is not there.
NOTHING = Entry(0, "", 0, 0)


class Run(NamedTuple):
    """Consecutive leaves of one entry: data, or a copy."""

    entry: int
    first: int
    length: int
    copy_path: str = ""
    copy_first: int = 0


class Difference(NamedTuple):
    """What has to travel to make a new tree of a base."""

    entries: list[Entry]
    removed: list[str]
    runs: list[Run]

    def data_size(self) -> int:
        """Bytes of file content in it."""
        return sum(span(run.first, run.length, self.entries[run.entry].size) for run in self.runs if not run.copy_path)


class Part:
    """An entry that is being put together, a file perhaps on top of the base's."""

    def __init__(self, entry: Entry, own: Entry | None) -> None:
        count = -(-entry.size // LEAF) if entry.kind == FILE else 0
        self.entry, self.own, self.covered, self.new = entry, own, bytearray(count), own is None
        self.leaves = bytearray((own.leaves if own else b"")[: count * DIGEST].ljust(count * DIGEST, b"\0"))

    def verified(self) -> Entry:
        """The entry with its leaves, if all of them are there and make its root."""
        last = self.covered.rfind(0)  # the leaves before it are full ones, also in the base
        whole = last < 0 or (self.own is not None and span(last, 1, self.own.size) == span(last, 1, self.entry.size))
        must(whole, "DATA_INVALID", f"leaf {last} of {self.entry.path!r} is missing")
        sound = self.entry.kind != FILE or sha256(self.leaves).digest() == self.entry.root
        must(sound, "DIGEST_MISMATCH", f"the root of {self.entry.path!r} differs")
        return self.entry._replace(leaves=bytes(self.leaves))


def span(first: int, count: int, size: int) -> int:
    """Bytes in some leaves of a file; negative if it ends before them."""
    return min((first + count) * LEAF, size) - first * LEAF


def split(leaves: bytes) -> list[bytes]:
    """The single digests of a table."""
    return [leaf for (leaf,) in struct.iter_unpack(f"{DIGEST}s", leaves)]


def places(base: Mapping[str, Entry], entries: Iterable[Entry]) -> dict[bytes, tuple[str, int]]:
    """Where leaves that are not where they were first occur in the base, in order of its paths."""
    pairs = [(split(entry.leaves), split(base.get(entry.path, NOTHING).leaves)) for entry in entries]
    wanted = {leaf for new, own in pairs for leaf, old in zip_longest(new, own) if leaf and leaf != old}
    out: dict[bytes, tuple[str, int]] = {}
    for path, old in base.items():
        if found := wanted.intersection(table := split(old.leaves)):
            for index, leaf in enumerate(table):
                if leaf in found:
                    out.setdefault(leaf, (path, index))
    return out


def hash_leaves(block: bytes | memoryview) -> bytes:
    """The digests of a piece that starts at a leaf's start, joined."""
    view = memoryview(block)
    return b"".join([sha256(view[at : at + LEAF]).digest()[:DIGEST] for at in range(0, len(view), LEAF)])


def manifest_root(entries: Iterable[Entry]) -> bytes:
    """The manifest root of entries in order of their paths."""
    digest = sha256()
    for entry in entries:
        path = entry.path.encode()
        head = struct.pack(">BIqQI", entry.kind, entry.mode, entry.mtime_ns, entry.size, len(path))
        digest.update(head + path + entry.root)
    return digest.digest()


def in_order(entries: Iterable[Entry]) -> dict[str, Entry]:
    """The entries by their paths, in order of the paths' UTF-8 bytes (which is that of their code points)."""
    return {entry.path: entry for entry in sorted(entries, key=lambda entry: entry.path)}


def fault_in_path(path: str) -> str:
    """What is wrong with the path of an entry; empty if nothing is."""
    try:
        names = [name.encode() for name in path.split("/")]
    except UnicodeEncodeError:
        return "it is not UTF-8"
    if path.startswith("/"):
        return "it is absolute"
    if any(name in (b"", b".", b"..") for name in names):
        return "a component is empty, `.` or `..`"
    if "\0" in path or "\\" in path:
        return "it has a NUL or a backslash"
    if len(path.encode()) > _MAX_PATH or len(names) > _MAX_DEPTH or max(map(len, names)) > _MAX_COMPONENT:
        return (
            f"it is longer than {_MAX_PATH} bytes, or {_MAX_DEPTH} components, or {_MAX_COMPONENT} bytes in one of them"
        )
    return ""


def fault_in_target(path: str, target: str) -> str:
    """What is wrong with a link's target; empty if nothing is.

    Where each link first climbs and then descends, no chain of links leads out of the profile.
    """
    names = [name for name in target.split("/") if name not in ("", ".")]
    climbs = names.count("..")
    if not target or target.startswith("/") or "\0" in target or "\\" in target:
        return "it is empty or absolute, or has a NUL or a backslash"
    if any(name != ".." for name in names[:climbs]):
        return "it has `..` after a name"
    if climbs > path.count("/"):
        return "it points out of the profile"
    return "" if _is_utf8(target) else "it is not UTF-8"


def _is_utf8(text: str) -> bool:
    with suppress(UnicodeEncodeError):
        return bool(text.encode())
    return False


def stat_key(stat: os.stat_result) -> str:
    """How a sidecar remembers what the system said of an entry."""
    return f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_ino}"


def look(full: str, path: str, old: Entry | None) -> Entry | None:
    """Describes what is at `full`; nothing for what vanished and for sockets, pipes and devices.

    If the system says of it what it said of `old`, it is `old`.
    """
    for _ in range(_LOOKS):
        now = time.time_ns()
        try:
            stat = os.lstat(full)
        except FileNotFoundError:
            return None
        key = stat_key(stat)
        if old is not None and old.stat == key:
            return old
        if fault := fault_in_path(path):
            raise LocalError(
                f"the path {path!r} cannot be saved: {fault}; rename it or exclude it", reason="PATH_INVALID"
            )
        trusted = "" if min(stat.st_mtime_ns, stat.st_ctime_ns) + TICK_NS > now else key
        if modes.S_ISDIR(stat.st_mode):
            return Entry(DIRECTORY, path, modes.S_IMODE(stat.st_mode), stat.st_mtime_ns, stat=trusted)
        if modes.S_ISLNK(stat.st_mode):
            target = os.readlink(full)
            if fault := fault_in_target(path, target):
                raise LocalError(
                    f"the link {path!r} to {target!r} cannot be saved: {fault}; remove or exclude it",
                    reason="PATH_INVALID",
                )
            return Entry(
                LINK, path, LINK_MODE, 0, len(target.encode()), sha256(target.encode()).digest(), target, stat=trusted
            )
        if not modes.S_ISREG(stat.st_mode):
            return None
        with open(full, "rb") as file:
            # Never past the size that was seen: a file that grows all the time would have no end.
            spans = (min(_READ, stat.st_size - at) for at in range(0, stat.st_size, _READ))
            leaves = b"".join(hash_leaves(file.read(size)) for size in spans)
        if stat_key(os.lstat(full)) == key:
            mode, root = modes.S_IMODE(stat.st_mode), sha256(leaves).digest()
            return Entry(FILE, path, mode, stat.st_mtime_ns, stat.st_size, root, leaves=leaves, stat=trusted)
    raise changing(path)


def walk(directory: Path, capture: Capture, known: Mapping[str, Entry]) -> dict[str, Entry]:
    """Looks at everything that travels, in order of the paths; what still is as `known` says is not read again."""
    found, pending = [], [""]
    with file_system():
        while pending:
            prefix = pending.pop()
            with os.scandir(f"{directory}/{prefix}") as items:
                for item in items:
                    path = prefix + item.name
                    if capture.verdict(path) and (entry := look(item.path, path, known.get(path))):
                        found.append(entry)
                        if entry.kind == DIRECTORY:
                            pending.append(path + "/")
    return in_order(found)


def changing(path: str) -> LocalError:
    """A file that does not stand still."""
    return LocalError(
        f"{path!r} changes while it is read: wait until the browser has exited, then try again",
        reason="PROFILE_CHANGING",
    )


def restat(directory: Path, entries: Iterable[Entry]) -> dict[str, Entry]:
    """The entries with what the system says of them in `directory` now."""
    top = f"{directory}/"
    return {entry.path: entry._replace(stat=stat_key(os.lstat(top + entry.path))) for entry in entries}


@contextmanager
def file_system() -> Iterator[None]:
    """Translates what the file system refuses."""
    try:
        yield
    except OSError as error:
        raise LocalError(f"the file system refused: {error}", reason="FILE_SYSTEM") from error
