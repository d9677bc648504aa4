# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""What a directory held when it was loaded or saved, in a file beside it.

The format is laid down in `client/vectors/README.md`.
"""

import binascii
import json
import os
import stat
import struct
import time
import uuid
import warnings
from collections.abc import Container, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from .capture import ORIGIN, Capture, locked, policies, running_browser
from .errors import LocalError, SidecarWarning
from .tree import DIGEST, DIRECTORY, FILE, LEAF, LINK, TICK_NS, Entry, in_order, look, manifest_root, stat_key, walk
from .v1.profile_pb2 import Portability, Snapshot

_KINDS = {FILE: "file", DIRECTORY: "directory", LINK: "link"}
_NUMBERS = {name: number for number, name in _KINDS.items()}
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What a directory held when it was loaded or saved."""

    namespace: str
    session_id: str
    snapshot_id: str
    entries: dict[str, Entry] = field(repr=False, default_factory=dict)
    #: Where the profile comes from, as its snapshot says; empty if that is not known.
    origin: Portability = field(repr=False, default_factory=Portability)
    #: Whether the snapshot carried a storage state, as far as that is known.
    storage_state: bool = False

    @staticmethod
    def path(directory: Path) -> Path:
        """Where the sidecar of a directory is: beside it."""
        return directory.with_name(directory.name + ".cloakroom.json")

    @property
    def whose(self) -> str:
        """The session, in the words of an error."""
        return f"session {self.session_id}{f' in namespace {self.namespace}' if self.namespace else ''}"

    def of(self, namespace: str, session_id: str) -> bool:
        """Whether it is of that session."""
        return (self.namespace, self.session_id) == (namespace, session_id)

    @classmethod
    def read(cls, directory: Path, namespace: str, session_id: str) -> "Sidecar | None":
        """The sidecar of a directory, if there is a sound one of that session."""
        found = cls.found(directory)
        return found if found and found.of(namespace, session_id) else None

    @classmethod
    def found(cls, directory: Path) -> "Sidecar | None":
        """The sidecar of a directory, if there is a sound one of any session."""
        try:
            body = json.loads(cls.path(directory).read_bytes())
            if body["version"] != _VERSION:
                return None
            entries = in_order(map(_from_json, body["entries"]))
            if manifest_root(entries.values()).hex() != body["manifest_root"]:
                return None
            facts: dict[str, Any] = {name: str(body.get("origin", {}).get(name, "")) for name in ORIGIN}
            namespace, session_id = str(body["namespace"]), str(body["session_id"])
            state = body.get("storage_state") is True
            return cls(namespace, session_id, str(body["snapshot_id"]), entries, Portability(**facts), state)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
            return None

    @classmethod
    def after(
        cls, namespace: str, session_id: str, snapshot: Snapshot, entries: Mapping[str, Entry] | None = None
    ) -> "Sidecar":
        """That of a directory which was loaded or saved as a snapshot."""
        facts = snapshot.portability, snapshot.has_storage_state
        return cls(namespace, session_id, snapshot.id, dict(entries or {}), *facts)

    def note(self, directory: Path, upload_id: str) -> None:
        """Writes it after a save, which is one whether that can be noted or not."""
        try:
            self.write(directory)
        except OSError as error:
            told = f"saved as {self.snapshot_id}, but that cannot be noted beside {directory}: {error}"
            advice = f"once it can, save again with upload_id={upload_id!r}, or the next save is refused as another's"
            warnings.warn(f"{told}; {advice}", SidecarWarning, stacklevel=2)

    def write(self, directory: Path) -> None:
        """Puts the sidecar beside its directory, whole or not at all."""
        body = {
            "version": _VERSION,
            "namespace": self.namespace,
            "session_id": self.session_id,
            "snapshot_id": self.snapshot_id,
            "manifest_root": manifest_root(self.entries.values()).hex(),
            "origin": {name: fact for name in ORIGIN if (fact := getattr(self.origin, name))},
            "entries": [_to_json(entry) for entry in self.entries.values()],
        }
        if self.storage_state:
            body["storage_state"] = True
        target = self.path(directory)
        aside = beside(directory, "sidecar")
        try:
            with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
                out.write(json.dumps(body, separators=(",", ":")))
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)

    @classmethod
    def clean(cls, directory: Path | None, namespace: str, session_id: str) -> "Sidecar | None":
        """The sidecar of a directory whose files all are as it says, and on which no browser runs."""
        if (
            directory is None
            or running_browser(directory)
            or not (sidecar := cls.read(directory, namespace, session_id))
        ):
            return None
        with suppress(OSError, LocalError):
            files = [entry for entry in sidecar.entries.values() if entry.kind == FILE]
            if all(stat_key(os.lstat(f"{directory}/{entry.path}")) == entry.stat for entry in files if entry.stat):
                return sidecar._looked_at(directory, [entry for entry in files if not entry.stat])
        return None

    def _looked_at(self, directory: Path, entries: list[Entry]) -> "Sidecar | None":
        """Itself with what the system says of some files now, if they are what it says."""
        found = dict(self.entries)
        if entries:
            time.sleep(TICK_NS / 1e9)  # at worst they were written just now
        for entry in entries:
            now = look(f"{directory}/{entry.path}", entry.path, None)
            if not now or not now.stat or now.differs(entry):
                return None
            found[entry.path] = now
        return replace(self, entries=found)


def _to_json(entry: Entry) -> dict[str, Any]:
    out: dict[str, Any] = {
        "kind": _KINDS[entry.kind],
        "path": entry.path,
        "mode": entry.mode,
        "mtime_ns": str(entry.mtime_ns),
        "size": entry.size,
    }
    if entry.kind == FILE:
        out |= {"root": entry.root.hex(), "leaves": binascii.b2a_base64(entry.leaves, newline=False).decode()}
    elif entry.kind == LINK:
        out["target"] = entry.target
    return out | {"stat": entry.stat}


def _from_json(body: dict[str, Any]) -> Entry:
    kind, size = _NUMBERS[body["kind"]], body["size"]
    root, target, leaves = bytes(32), body.get("target", ""), b""
    if kind == FILE:
        root, leaves = bytes.fromhex(body["root"]), binascii.a2b_base64(body["leaves"])
        if len(leaves) != -(-size // LEAF) * DIGEST or sha256(leaves).digest() != root:
            raise ValueError("leaves are missing, or another file's")
    elif kind == LINK:
        root = sha256(target.encode()).digest()
    return Entry(kind, body["path"], body["mode"], int(body["mtime_ns"]), size, root, target, leaves, body["stat"])


class _Known(Capture):
    """The rules of a policy for a directory in which nothing else may be kept than what is known.

    That may be kept by the globs of who saved it. Without a policy everything is kept.
    """

    def __init__(self, policy: str | None, known: Container[str]) -> None:
        super().__init__(policy if policy in policies() else "full")
        self._known, self._all = known, policy is None

    def verdict(self, path: str) -> bool:
        if path in self._known:
            return True
        if self._all or super().verdict(path):
            raise LookupError(path)  # before it is read: it may be much
        return False


def holds(directory: Path, entries: Mapping[str, Entry], policy: str | None) -> bool:
    """Whether a directory is these entries to the last detail; what does not travel under a policy may be there too.

    The lock of a browser may not, for it may keep the next one from starting.
    """
    if locked(directory):
        return False
    rules = _Known(policy, entries)
    with suppress(LocalError, LookupError):
        found = walk(directory, rules, entries)
        return found.keys() == entries.keys() and not any(now.differs(entries[path]) for path, now in found.items())
    return False


class _Since(Capture):
    """The rules of a policy for a directory in which nothing may be new since a moment, in ns of the file system's.

    What is older than that and not known was left out by the globs of who saved it. A directory is no news by itself.
    """

    def __init__(self, policy: str, known: Container[str], directory: Path, moment: int) -> None:
        super().__init__(policy if policy in policies() else "full")
        self._known, self._directory, self._moment = known, directory, moment

    def verdict(self, path: str) -> bool:
        if path in self._known:
            return True
        with suppress(FileNotFoundError):
            if super().verdict(path):
                now = os.lstat(self._directory / path)
                if stat.S_ISDIR(now.st_mode):
                    return True
                if now.st_ctime_ns >= self._moment and (stat.S_ISREG(now.st_mode) or stat.S_ISLNK(now.st_mode)):
                    raise LookupError(path)
        return False


def unsaved(directory: Path, entries: Mapping[str, Entry], policy: str) -> bool:
    """Whether a directory is not what its sidecar says of it: a file or link differs, is new or is gone.

    What does not travel under the policy does not count, nor do the attributes of directories.
    """
    with suppress(OSError, LocalError, LookupError):
        moment = os.stat(Sidecar.path(directory)).st_mtime_ns
        found = walk(directory, _Since(policy, entries, directory, moment), entries)
        pairs = [(found.get(path), entry) for path, entry in entries.items()]
        return any(
            now is None or now.kind != entry.kind or (entry.kind != DIRECTORY and now.differs(entry))
            for now, entry in pairs
        )
    return True


def beside(directory: Path, purpose: str) -> Path:
    """A name beside a directory that nobody else has, on the same file system."""
    return directory.with_name(f".{directory.name}.{purpose}-{uuid.uuid4().hex[:12]}")
