# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""Helpers for Playwright: a persistent context on a loaded profile, and the storage state in and out.

A profile carries everything that the browser itself keeps: cookies with an expiry, localStorage, IndexedDB, service
workers. It does not carry session cookies, which Chromium deletes when it starts. They travel in the storage state that
is saved beside the profile: take it with `capture` before the context is closed, give it to `launch` after the profile
was loaded. Saving comes after closing: only then the browser has written everything. `open_context` loads and launches.

Each helper exists for asyncio and, with `_sync` at the end of its name, for Playwright's synchronous API. Playwright
itself is only needed by the caller.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import CloakroomError, LocalError
from .opening import check_arguments, check_browser, check_context, load
from .sessions import State, state_bytes

if TYPE_CHECKING:
    from playwright import async_api, sync_api

    from . import client as asynchronous
    from . import sync as synchronous

#: Chromium seals its cookies with a key. With these it is one that every machine has, instead of one from a keyring,
#: which does not travel; Cloakroom encrypts what it keeps. Every launch on a profile needs them: cookies that
#: were sealed with one key cannot be read with the other.
PORTABLE_FLAGS = ("--password-store=basic", "--use-mock-keychain", "--hide-crash-restore-bubble")
_COOKIE_FIELDS = ("name", "value", "domain", "path", "expires", "httpOnly", "secure", "sameSite", "partitionKey")


async def open_context(
    client: "asynchronous.Client",
    session_id: str,
    browser_type: "async_api.BrowserType",
    directory: str | os.PathLike[str],
    *,
    snapshot_id: str = "",
    replace: bool | None = None,
    args: Sequence[str] = (),
    **options: Any,
) -> "async_api.BrowserContext":
    """Loads a session's profile and opens a persistent context on it, with its session cookies.

    The session cookies come from the storage state that was saved with the snapshot. If the head was saved without one,
    they come from one that was put into the session by itself, if there is one. A session in which nothing was saved
    yet starts with a fresh profile, which gets all cookies of a storage state that was put.

    What is at `directory` gives way if it is empty, or a profile of this session, as its sidecar says, in which nothing
    was changed since it was loaded or saved. One that was changed is refused with UNSAVED_CHANGES, anything else with
    TARGET_EXISTS. `replace` says otherwise: with True whatever is there gives way, with False nothing. `options` are
    those of Playwright's `launch_persistent_context`, such as `headless`, `executable_path`, `proxy` or `viewport`.
    """
    check_arguments(client, session_id, browser_type, directory, snapshot_id, replace, options, waits=True)
    some, state = await _loaded(client, session_id, directory, snapshot_id, replace)
    if some:
        return await launch(browser_type, directory, storage_state=state, args=args, **options)
    return await adding(await launch(browser_type, directory, args=args, **options), state)


def open_context_sync(
    client: "synchronous.Client",
    session_id: str,
    browser_type: "sync_api.BrowserType",
    directory: str | os.PathLike[str],
    *,
    snapshot_id: str = "",
    replace: bool | None = None,
    args: Sequence[str] = (),
    **options: Any,
) -> "sync_api.BrowserContext":
    """As `open_context`."""
    check_arguments(client, session_id, browser_type, directory, snapshot_id, replace, options, waits=False)
    some, state = client._loop.run(_loaded(client._inner, session_id, directory, snapshot_id, replace))
    if some:
        return launch_sync(browser_type, directory, storage_state=state, args=args, **options)
    return adding_sync(launch_sync(browser_type, directory, args=args, **options), state)


async def launch(
    browser_type: "async_api.BrowserType",
    directory: str | os.PathLike[str],
    *,
    storage_state: State | None = None,
    args: Sequence[str] = (),
    **options: Any,
) -> "async_api.BrowserContext":
    """Opens a persistent context on a profile, with the session cookies of a storage state.

    `options` are those of `launch_persistent_context`.
    """
    check_browser(browser_type, waits=True)
    mend(directory)
    context = await browser_type.launch_persistent_context(
        Path(directory), args=_flags(browser_type.name, args), **options
    )
    try:
        await restore(context, storage_state)
    except BaseException:
        await context.close()
        raise
    return context


def launch_sync(
    browser_type: "sync_api.BrowserType",
    directory: str | os.PathLike[str],
    *,
    storage_state: State | None = None,
    args: Sequence[str] = (),
    **options: Any,
) -> "sync_api.BrowserContext":
    """As `launch`."""
    check_browser(browser_type, waits=False)
    mend(directory)
    context = browser_type.launch_persistent_context(Path(directory), args=_flags(browser_type.name, args), **options)
    try:
        restore_sync(context, storage_state)
    except BaseException:
        context.close()
        raise
    return context


async def capture(context: "async_api.BrowserContext") -> bytes:
    """The storage state of a context, as it is saved. Take it before the context is closed."""
    check_context(context, "storage_state")
    return state_bytes(await context.storage_state(indexed_db=True))


def capture_sync(context: "sync_api.BrowserContext") -> bytes:
    """As `capture`."""
    check_context(context, "storage_state")
    return state_bytes(context.storage_state(indexed_db=True))


async def restore(context: "async_api.BrowserContext", storage_state: State | None) -> None:
    """Adds the session cookies of a storage state to a context on a profile, which has everything else already."""
    check_context(context, "add_cookies")
    if cookies := session_cookies(storage_state):
        await context.add_cookies(cookies)


def restore_sync(context: "sync_api.BrowserContext", storage_state: State | None) -> None:
    """As `restore`."""
    check_context(context, "add_cookies")
    if cookies := session_cookies(storage_state):
        context.add_cookies(cookies)


def session_cookies(storage_state: State | None) -> list[Any]:
    """The cookies of a storage state that a profile does not keep, as `add_cookies` takes them."""
    return [cookie for cookie in _cookies(storage_state) if cookie.get("expires", -1) == -1]


def _cookies(storage_state: State | None) -> list[Any]:
    if not storage_state:
        return []
    state: Any = storage_state
    try:
        if not isinstance(state, Mapping):
            state = json.loads(state_bytes(state))
        cookies: Iterable[Mapping[str, Any]] = state["cookies"]
        return [{field: cookie[field] for field in _COOKIE_FIELDS if field in cookie} for cookie in map(dict, cookies)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LocalError(
            f"this is no storage state of Playwright's: {type(error).__name__}", reason="STATE_UNUSABLE"
        ) from None


def mend(directory: str | os.PathLike[str]) -> None:
    """Makes a Chromium profile say that its browser ended well: the next one asks and restores nothing."""
    for path in Path(directory).glob("*/Preferences"):
        try:
            preferences = json.loads(path.read_bytes())
            profile = preferences["profile"]
            if profile.get("exit_type") in (None, "Normal") and profile.get("exited_cleanly", True):
                continue
            profile |= {"exit_type": "Normal", "exited_cleanly": True}
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # damaged, or of another browser: not for us to judge
        aside = path.with_name(".Preferences.cloakroom")
        aside.write_text(json.dumps(preferences, separators=(",", ":")), encoding="utf-8")
        aside.chmod(path.stat().st_mode)
        aside.replace(path)


def browser_of(given: Any) -> Any:
    """A browser type, also where all of Playwright was given: then Chromium."""
    return getattr(given, "chromium", given)


async def _loaded(
    client: "asynchronous.Client",
    session_id: str,
    directory: str | os.PathLike[str],
    snapshot_id: str,
    replace: bool | None,
) -> tuple[bool, bytes | None]:
    """Loads a session's profile; answers whether there is one, and the storage state whose cookies go with it."""
    loaded = await load(client, session_id, Path(directory).absolute(), snapshot_id, replace)
    state = loaded.storage_state if loaded else None
    if state is None and not snapshot_id:
        state = await put_state(client, session_id)
    return loaded is not None, state


async def put_state(client: "asynchronous.Client", session_id: str) -> bytes | None:
    """The storage state that was put into a session by itself.

    One that came with a save or a restore belongs to that snapshot's profile: for a later one its cookies are too old.
    """
    session = (await client.sessions.get(session_id)).session
    if not session.storage_state_revision or session.storage_state_saved:
        return None
    try:
        return (await client.sessions.storage_state.get(session_id)).storage_state
    except CloakroomError as error:
        # A save or a restore has taken its place a moment ago: what is put is never too large for this call.
        if error.reason in ("STORAGE_STATE_NOT_FOUND", "STORAGE_STATE_TOO_LARGE"):
            return None
        raise


async def adding(context: "async_api.BrowserContext", storage_state: State | None) -> "async_api.BrowserContext":
    """Adds all cookies of a storage state to a context on a fresh profile; without them there is none."""
    try:
        if cookies := _cookies(storage_state):
            await context.add_cookies(cookies)
    except BaseException:
        await context.close()
        raise
    return context


def adding_sync(context: "sync_api.BrowserContext", storage_state: State | None) -> "sync_api.BrowserContext":
    """As `adding`."""
    try:
        if cookies := _cookies(storage_state):
            context.add_cookies(cookies)
    except BaseException:
        context.close()
        raise
    return context


def _flags(browser: str, args: Sequence[str]) -> list[str]:
    given = {arg.partition("=")[0] for arg in args}
    ours = PORTABLE_FLAGS if browser == "chromium" else ()
    return [*(flag for flag in ours if flag.partition("=")[0] not in given), *args]
