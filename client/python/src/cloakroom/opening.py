# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""What comes before a browser is opened on a session: a look at the arguments, and the load into its directory."""

import asyncio
import inspect
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import look, wrong
from .capture import running_browser
from .errors import CloakroomError, LocalError, NotFound, ProfileEmpty
from .results import LoadResult
from .sidecar import Sidecar, unsaved

if TYPE_CHECKING:
    from . import client as asynchronous

_WORDS = {True: ("cloakroom.Client", "playwright.async_api"), False: ("cloakroom.sync.Client", "playwright.sync_api")}


def check_arguments(
    client: Any,
    session_id: Any,
    browser_type: Any,
    directory: Any,
    snapshot_id: Any,
    replace: Any,
    options: Mapping[str, Any],
    *,
    waits: bool,
) -> None:
    """Refuses what `open_context`, or without `waits` its synchronous twin, cannot take."""
    if not hasattr(client, "_connection" if waits else "_inner") or not hasattr(client, "load"):
        raise wrong("client", client, f"must be a {_WORDS[waits][0]}")
    look("session_id", session_id, str)
    check_browser(browser_type, waits=waits)
    look("directory", directory, str | os.PathLike[str])
    look("snapshot_id", snapshot_id, str)
    look("replace", replace, bool | None)
    check_options(options)


def check_options(options: Mapping[str, Any]) -> None:
    """Refuses what is no option of `open_context`, although it is one of `launch`."""
    if "storage_state" in options:
        rule = "must be left out: the session's own is used; launch(…, storage_state=…) takes another one"
        raise LocalError(
            f"storage_state is given: it {rule}", reason="INVALID_FIELD", violations=[("storage_state", rule)]
        )


def check_browser(browser_type: Any, *, waits: bool) -> None:
    """Refuses what is no browser type, or one of the other of Playwright's two APIs."""
    module = _WORDS[waits][1]
    start = getattr(browser_type, "launch_persistent_context", None)
    if start is None or inspect.iscoroutinefunction(start) != waits:
        raise wrong("browser_type", browser_type, f"must be a browser type of {module}, such as playwright.chromium")


def check_context(context: Any, able: str) -> None:
    """Refuses what is no browser context, such as a browser or a page, which are not able to do this."""
    if not hasattr(context, able):
        raise wrong("context", context, "must be a browser context, such as open_context gives")


async def load(
    client: "asynchronous.Client", session_id: str, top: Path, snapshot_id: str, replace: bool | None
) -> LoadResult | None:
    """Loads a session's profile into a directory that may give way; answers nothing if nothing was saved yet.

    An empty directory is taken away for the load, so that nothing that appears in it is lost. If nothing comes in its
    place it is back.
    """
    taken = False
    if replace is None:
        with suppress(OSError):
            top.rmdir()
            taken = True
    try:
        if replace is None:
            replace = await _gives_way(client, session_id, top)
        return await client.load(session_id, top, snapshot_id=snapshot_id, replace=replace, with_storage_state=True)
    except BaseException as error:
        if taken:
            top.mkdir(mode=0o700, exist_ok=True)
        empty = isinstance(error, ProfileEmpty)
        if empty or (isinstance(error, LocalError) and error.reason == "TARGET_EXISTS"):
            await _check_fresh(client, session_id, top, empty=empty)
        if empty:
            return None
        raise


async def _gives_way(client: "asynchronous.Client", session_id: str, top: Path) -> bool:
    """Whether what is at a directory can be had from the session again; what cannot may be a login."""
    note = await asyncio.to_thread(Sidecar.read, top, client._connection.namespace, session_id)
    if note is None or not top.is_dir():
        return False
    if process := running_browser(top):
        advice = "close it before the directory is loaded anew"
        raise LocalError(f"process {process} runs a browser on {top}: {advice}", reason="PROFILE_BUSY")
    policy = ""
    with suppress(NotFound):
        policy = (await client.snapshot(session_id, note.snapshot_id)).snapshot.portability.capture_policy
    if await asyncio.to_thread(unsaved, top, note.entries, policy or "default"):
        advice = "save it (client.save), or say replace=True to throw it away"
        message = f"{top} was changed since it was loaded or saved, and that is not saved: {advice}"
        raise LocalError(message, reason="UNSAVED_CHANGES")
    return True


async def _check_fresh(client: "asynchronous.Client", session_id: str, top: Path, *, empty: bool) -> None:
    """Refuses, with what to do, a directory that holds something for a session in which nothing was saved yet."""
    if not top.is_dir() or not any(top.iterdir()):
        return
    link = client._connection
    if not empty:
        with suppress(CloakroomError):
            empty = not await link.head(session_id)
    if not empty:
        return
    note = await asyncio.to_thread(Sidecar.found, top)
    found = f"{top} holds something: save it if that is the login, or launch on it, or choose another directory"
    if note and not note.of(link.namespace, session_id):
        found = f"{top} is the profile of {note.whose}: choose another directory"
    raise LocalError(f"nothing was saved in session {session_id} yet, and {found}", reason="TARGET_EXISTS") from None
