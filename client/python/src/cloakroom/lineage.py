# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""What a save goes on from: what its directory came from, or, replacing, the session's head."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from .connection import Connection
from .errors import LocalError, ParentNotHead, StorageStateWarning
from .sidecar import Sidecar
from .tree import Entry


class Parent(NamedTuple):
    """The snapshot that a save follows."""

    snapshot_id: str
    #: Everything travels, although there is a parent.
    full: bool
    #: What the difference is made against.
    base: Mapping[str, Entry]


def check_session(directory: Path, note: Sidecar | None, link: Connection, session_id: str) -> None:
    """Refuses a directory that is the profile of another session, or of a session of that id in another namespace."""
    if note is None or note.of(link.namespace, session_id):
        return
    theirs, ours = f"session {note.session_id}", session_id
    if note.namespace != link.namespace:
        theirs, ours = f"{theirs} in {_told(note.namespace)}", f"{ours} in {_told(link.namespace)}"
    raise LocalError(
        f"{directory} is the profile of {theirs} (its sidecar {Sidecar.path(directory)} says so), not of {ours}: save "
        f"it there, or say replace=True to make it the head of {session_id}",
        reason="OTHER_SESSION",
        metadata={"session_id": note.session_id, "namespace": note.namespace},
    )


def check_something(directory: Path, new: Mapping[str, Entry], policy: str, *, force: bool) -> None:
    """Refuses to save nothing at all, unless forced."""
    if not new and not force:
        raise LocalError(
            f"nothing in {directory} belongs to a profile (capture policy {policy}): is it the browser's user data "
            "directory? force=True saves it nevertheless",
            reason="NOTHING_TO_SAVE",
        )


def check_state(directory: Path, note: Sidecar | None, state: bytes) -> None:
    """Warns of a storage state that the save leaves out."""
    if note and note.storage_state and not state:
        message = (
            f"{directory}: the snapshot that this one follows carried a storage state and this one does not: session "
            "cookies are no longer in what is loaded; give one with storage_state"
        )
        warnings.warn(message, StorageStateWarning, stacklevel=2)


async def parent_of(note: Sidecar | None, link: Connection, session_id: str, *, replace: bool) -> Parent:
    """What a save of a directory with this sidecar follows; of a directory without one, nothing.

    Replacing, it follows the session's head, as a difference only if the directory came from just that one.
    """
    if not replace:
        return Parent(note.snapshot_id, False, note.entries) if note else Parent("", False, {})
    head = await link.head(session_id)
    if note and note.of(link.namespace, session_id) and note.snapshot_id == head:
        return Parent(head, False, note.entries)
    return Parent(head, bool(head), {})


@contextmanager
def without_sidecar(directory: Path, note: Sidecar | None) -> Iterator[None]:
    """Says of a refused save what the daemon cannot know: that there is no sidecar, which may have been left behind."""
    try:
        yield
    except ParentNotHead as error:
        if note is None:
            path = Sidecar.path(directory)
            advice = f"there is no {path} that could be read: if the directory was moved, move that with it"
            error.help.append(advice)
            error.message += f"; {advice}"
        raise


def _told(namespace: str) -> str:
    return f"namespace {namespace}" if namespace else "the caller's own namespace"
