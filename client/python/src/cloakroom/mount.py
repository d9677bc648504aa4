# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""Mounts: a session's profile in a directory of this machine, kept from run to run and shared with nobody meanwhile.

How processes agree on who has which directory is in `slots`; what travels is up to `load` and `save`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack, cast

from . import playwright, slots
from .arguments import checked
from .errors import LocalError, ProfileEmpty
from .opening import check_options
from .profiles import Directory, Profiles, Progress
from .results import LoadResult, PruneResult, SaveResult
from .sessions import State, Ttl, duration, state_bytes
from .slots import Slot
from .v1.profile_pb2 import Snapshot

if TYPE_CHECKING:
    from playwright import async_api

    from .client import Client

_WEEK = timedelta(days=7)


class SaveOptions(TypedDict, total=False):
    """What `Mount.save` takes: the options of `Client.save`."""

    storage_state: State | None
    policy: str
    include: Iterable[str]
    exclude: Iterable[str]
    brand: str
    password_store: str
    force: bool
    replace: bool
    upload_id: str
    etag: str
    lease_token: int
    compress: bool | None
    progress: Progress | None


class Mount:
    """A session's profile, ready in a directory that is nobody else's until this is released.

    Leaving `async with` releases it, and so does the end of the program, or that nothing refers to it any more. What
    was not saved by then is not kept: the next mount gives the session's head.
    """

    def __init__(self, client: Profiles, session_id: str, slot: Slot, loaded: LoadResult | None) -> None:
        self._client, self._slot, self._busy = client, slot, asyncio.Lock()
        #: The session.
        self.session_id = session_id
        #: What the directory was loaded or last saved as; none if nothing was ever saved.
        self.snapshot: Snapshot | None = loaded.snapshot if loaded else None
        #: The JSON document that was saved with it, if there is one and it was asked for.
        self.storage_state: bytes | None = loaded.storage_state if loaded else None
        #: The snapshot of which the directory was found unchanged, so that only the difference was sent; else empty.
        self.base_snapshot_id: str = loaded.base_snapshot_id if loaded else ""
        #: Bytes of file content that were sent for the mount, unpacked.
        self.content_bytes: int = loaded.content_bytes if loaded else 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.release()

    def __repr__(self) -> str:
        return f"<Mount of session {self.session_id}{'' if self._slot.held else ', released'}>"

    @property
    def directory(self) -> Path:
        """Where the profile is. Without a snapshot it is empty at first."""
        if not self._slot.held:
            raise LocalError(
                f"this mount of session {self.session_id} was released: mount again", reason="MOUNT_RELEASED"
            )
        return self._slot.profile

    async def save(self, **options: Unpack[SaveOptions]) -> SaveResult:
        """Saves the directory as the session's new head, as `Client.save` does with the same options.

        It can be done several times, each going on from the one before.
        """
        async with self._busy:
            saved = await self._client.save(self.session_id, self.directory, **options)
            self.snapshot, self.storage_state = saved.snapshot, state_bytes(options.get("storage_state")) or None
            return saved

    async def discard(self) -> None:
        """Releases it without saving: the session's head stays as it is."""
        await self.release()

    async def release(self) -> None:
        """Lets the next mount have the directory, once a save that runs is done. Once more does nothing."""
        async with self._busy:
            await asyncio.to_thread(self._slot.release)

    async def open_context(
        self,
        browser: "async_api.BrowserType | async_api.Playwright",
        *,
        args: Sequence[str] = (),
        **options: Any,
    ) -> "async_api.BrowserContext":
        """Opens a persistent context on the directory, with the profile's session cookies.

        `browser` is such as `playwright.chromium`, or `playwright` itself for that one. `options` are those of
        Playwright's `launch_persistent_context`. Take the storage state with `playwright.capture` before the context is
        closed, and give it to `save` afterwards. If the head was saved without one, one that was put into the session
        by itself serves, as for `cloakroom.playwright.open_context`.
        """
        check_options(options)
        kind, (fresh, state) = playwright.browser_of(browser), await self._brings()
        if fresh:
            return await playwright.adding(await playwright.launch(kind, self.directory, args=args, **options), state)
        return await playwright.launch(kind, self.directory, storage_state=state, args=args, **options)

    async def _brings(self) -> tuple[bool, bytes | None]:
        """Whether the profile is a fresh one, and the storage state whose cookies go with it."""
        state, saved = self.storage_state, self.snapshot
        if state is None and (saved is None or (saved.head and not saved.has_storage_state)):
            state = await playwright.put_state(cast("Client", self._client), self.session_id)
        return saved is None and not any(self.directory.iterdir()), state


class Mounting:
    """A mount to be: `await` it, or say `async with` to have it released in the end."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, Mount]]) -> None:
        #: Makes one.
        self.make = make

    def __await__(self) -> Generator[Any, None, Mount]:
        return self.make().__await__()

    async def __aenter__(self) -> Mount:
        self._mount = await self.make()
        return self._mount

    async def __aexit__(self, *_: object) -> None:
        await self._mount.release()


@checked
class Mounts(Profiles):
    """The verbs `mount` and `prune_mounts` of the client."""

    def mount(
        self,
        session_id: str,
        *,
        root: Directory | None = None,
        snapshot_id: str = "",
        with_storage_state: bool = True,
        min_revision: int = 0,
        progress: Progress | None = None,
    ) -> Mounting:
        """Gives a session's head, or the named snapshot, in a directory of this machine: `async with`, or `await`.

        The directory of the last mount is handed back if nobody has it: untouched if it still is what is wanted, else
        with the difference or, if something in it was changed and not saved, loaded anew. A session in which nothing
        was saved yet gives an empty directory. Directories are below `root`, or else where the environment variable
        CLOAKROOM_MOUNTS says, or else in `~/.cache/cloakroom` (`$XDG_CACHE_HOME/cloakroom`).
        """
        home = slots.home(root, self._connection.namespace, session_id)

        async def make() -> Mount:
            slot = await asyncio.to_thread(slots.take, home)
            try:
                loaded = await self.load(
                    session_id,
                    slot.profile,
                    snapshot_id=snapshot_id,
                    replace=True,
                    with_storage_state=with_storage_state,
                    min_revision=min_revision,
                    progress=progress,
                    _beside=True,
                )
                await asyncio.to_thread(slot.tidy)
            except ProfileEmpty:
                await asyncio.to_thread(slot.clear)
                return Mount(self, session_id, slot, None)
            except BaseException:
                await asyncio.to_thread(slot.release)
                raise
            return Mount(self, session_id, slot, loaded)

        return Mounting(make)

    async def prune_mounts(self, *, older_than: Ttl = _WEEK, root: Directory | None = None) -> PruneResult:
        """Removes the directories of mounts on this machine that nobody has and that were not used for so long.

        This is for all sessions and namespaces, and asks no daemon. What another host, or a live browser, has stays.
        """
        age = duration(older_than).ToTimedelta().total_seconds()
        if age < 0:
            rule = "must not be negative"
            raise LocalError(
                f"older_than is {age:g} s: it {rule}", reason="INVALID_FIELD", violations=[("older_than", rule)]
            )
        return await asyncio.to_thread(slots.prune, slots.mounts(root), age)
