# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""What the verbs of the client answer where the contract has no message for it."""

from dataclasses import dataclass, field
from pathlib import Path

from .v1.profile_pb2 import Snapshot


@dataclass(frozen=True, slots=True)
class LoadResult:
    """A loaded profile."""

    #: Where it is.
    directory: Path
    #: What it is.
    snapshot: Snapshot
    #: The JSON document that was saved with it, if asked for and if there is one.
    storage_state: bytes | None = field(repr=False)
    #: The snapshot against which only the difference was sent; empty if all of it was.
    base_snapshot_id: str
    #: Bytes of file content that were sent, unpacked.
    content_bytes: int

    def __str__(self) -> str:
        base = f"the difference to {self.base_snapshot_id}" if self.base_snapshot_id else "all of it"
        return f"{_told(self.snapshot)} in {self.directory}; {base} was sent, {self.content_bytes} bytes of content"


@dataclass(frozen=True, slots=True)
class SaveResult:
    """A saved profile."""

    #: The session's new head.
    snapshot: Snapshot
    #: The revision of the change.
    revision: int
    #: The session's etag after the save; empty if the answer was lost and the save was found committed afterwards.
    session_etag: str
    #: Names this save; give it back to repeat the save.
    upload_id: str
    #: Messages and bytes that were sent; 0 if the answer was lost.
    messages: int
    wire_bytes: int

    def __str__(self) -> str:
        return f"{_told(self.snapshot)}; {self.wire_bytes} bytes were sent"


def _told(snapshot: Snapshot) -> str:
    entries, size = snapshot.entry_count, snapshot.total_bytes
    return f"snapshot {snapshot.id} of session {snapshot.session_id}, {entries} entries with {size} bytes"


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What was removed from the mounts of a machine."""

    #: Directories, each with what lay beside it.
    slots: int
    #: Bytes in their files.
    bytes: int

    def __str__(self) -> str:
        return f"{self.slots} directories of former mounts with {self.bytes} bytes were removed"
