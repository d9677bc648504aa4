# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""The same client for programs without asyncio: the same verbs with the same arguments, each waited for.

Everything runs on one event loop in a thread of its own.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar

from . import client, mount, playwright, profiles, sessions, watch
from .errors import LocalError
from .opening import check_options
from .v1 import invalidation_pb2, profile_pb2

if TYPE_CHECKING:
    from playwright import sync_api

P = ParamSpec("P")
R = TypeVar("R")


class _Loop:
    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cloakroom", daemon=True)
        self._thread.start()

    def run(self, job: Coroutine[Any, Any, R]) -> R:
        if self.closed:
            job.close()
            raise LocalError("this client was closed: make another one", reason="CLOSED")
        future = asyncio.run_coroutine_threadsafe(job, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def soon(self, job: Callable[[], None]) -> None:
        if not self.closed:
            self._loop.call_soon_threadsafe(job)

    @property
    def closed(self) -> bool:
        """Whether it was stopped."""
        return self._loop.is_closed()

    def stop(self) -> None:
        self.run(self._loop.shutdown_asyncgens())
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _waiting(verb: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]) -> Callable[Concatenate[Any, P], R]:
    @wraps(verb)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._loop.run(verb(self._inner, *args, **kwargs))  # type: ignore[no-any-return]

    return call


def _stepping(
    verb: Callable[Concatenate[Any, P], AsyncGenerator[R, None]],
) -> Callable[Concatenate[Any, P], Iterator[R]]:
    @wraps(verb)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[R]:
        items: Any = verb(self._inner, *args, **kwargs)
        try:
            while True:
                try:
                    item = self._loop.run(anext(items))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            self._loop.run(items.aclose())

    return call


class StorageStates:
    """As `cloakroom.sessions.StorageStates`."""

    def __init__(self, loop: _Loop, inner: sessions.StorageStates) -> None:
        self._loop, self._inner = loop, inner

    get = _waiting(sessions.StorageStates.get)
    put = _waiting(sessions.StorageStates.put)


class Sessions:
    """As `cloakroom.sessions.Sessions`."""

    def __init__(self, loop: _Loop, inner: sessions.Sessions) -> None:
        self._loop, self._inner = loop, inner
        #: The verbs on Playwright storage states.
        self.storage_state = StorageStates(loop, inner.storage_state)

    create = _waiting(sessions.Sessions.create)
    get = _waiting(sessions.Sessions.get)
    batch_get = _waiting(sessions.Sessions.batch_get)
    update = _waiting(sessions.Sessions.update)
    delete = _waiting(sessions.Sessions.delete)
    undelete = _waiting(sessions.Sessions.undelete)
    list = _stepping(sessions.Sessions.list)
    active = _waiting(sessions.Sessions.active)
    touch = _waiting(sessions.Sessions.touch)
    transition = _waiting(sessions.Sessions.transition)
    resolve = _waiting(sessions.Sessions.resolve)


class Watch:
    """As `cloakroom.watch.Watch`, as an ordinary iterator. Close it from the thread that iterates; stop it anywhere."""

    def __init__(self, loop: _Loop, inner: watch.Watch) -> None:
        self._loop, self._inner = loop, inner

    @property
    def resume_token(self) -> bytes:
        """Where to go on: the token of the last event that was applied."""
        return self._inner.resume_token

    def __enter__(self) -> Self:
        self._loop.run(self._inner.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> watch.WatchEvent:
        try:
            return self._loop.run(self._inner.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def stop(self) -> None:
        """Ends the loop over the events, as after the last one, also while it waits: for a signal handler."""
        self._loop.soon(self._inner.stop)

    close = _waiting(watch.Watch.close)


class Mount:
    """As `cloakroom.Mount`, with Playwright's synchronous API."""

    def __init__(self, loop: _Loop, inner: mount.Mount) -> None:
        self._loop, self._inner = loop, inner

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return repr(self._inner)

    @property
    def session_id(self) -> str:
        """The session."""
        return self._inner.session_id

    @property
    def directory(self) -> Path:
        """Where the profile is. Without a snapshot it is empty at first."""
        return self._inner.directory

    @property
    def snapshot(self) -> profile_pb2.Snapshot | None:
        """What the directory was loaded or last saved as; none if nothing was ever saved."""
        return self._inner.snapshot

    @property
    def storage_state(self) -> bytes | None:
        """The JSON document that was saved with it, if there is one and it was asked for."""
        return self._inner.storage_state

    @property
    def base_snapshot_id(self) -> str:
        """The snapshot of which the directory was found unchanged, so that only the difference was sent; else empty."""
        return self._inner.base_snapshot_id

    @property
    def content_bytes(self) -> int:
        """Bytes of file content that were sent for the mount, unpacked."""
        return self._inner.content_bytes

    save = _waiting(mount.Mount.save)
    discard = _waiting(mount.Mount.discard)
    release = _waiting(mount.Mount.release)

    def open_context(
        self,
        browser: "sync_api.BrowserType | sync_api.Playwright",
        *,
        args: Sequence[str] = (),
        **options: Any,
    ) -> "sync_api.BrowserContext":
        """As `cloakroom.Mount.open_context`."""
        check_options(options)
        kind, (fresh, state) = playwright.browser_of(browser), self._loop.run(self._inner._brings())
        if fresh:
            return playwright.adding_sync(playwright.launch_sync(kind, self.directory, args=args, **options), state)
        return playwright.launch_sync(kind, self.directory, storage_state=state, args=args, **options)


class Client:
    """As `cloakroom.Client`, with the same arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._loop = _Loop()
        self._inner = self._loop.run(self._make(*args, **kwargs))
        #: The verbs on sessions.
        self.sessions = Sessions(self._loop, self._inner.sessions)

    @staticmethod
    async def _make(*args: Any, **kwargs: Any) -> client.Client:
        return client.Client(*args, **kwargs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection, what runs on it, and the thread."""
        if not self._loop.closed:
            self._loop.run(self._inner.close())
            self._loop.stop()

    load = _waiting(client.Client.load)
    save = _waiting(client.Client.save)
    save_status = _waiting(client.Client.save_status)
    snapshots = _stepping(client.Client.snapshots)
    snapshot = _waiting(client.Client.snapshot)
    restore = _waiting(client.Client.restore)
    pin = _waiting(client.Client.pin)
    unpin = _waiting(client.Client.unpin)
    delete_snapshot = _waiting(client.Client.delete_snapshot)
    undelete_snapshot = _waiting(client.Client.undelete_snapshot)
    diff = _waiting(client.Client.diff)
    invalidate = _waiting(client.Client.invalidate)
    server_info = _waiting(client.Client.server_info)
    prune_mounts = _waiting(client.Client.prune_mounts)

    def mount(
        self,
        session_id: str,
        *,
        root: profiles.Directory | None = None,
        snapshot_id: str = "",
        with_storage_state: bool = True,
        min_revision: int = 0,
        progress: profiles.Progress | None = None,
    ) -> Mount:
        """As `cloakroom.Client.mount`; it is released at the end of `with`."""
        options: Any = {"root": root, "snapshot_id": snapshot_id, "with_storage_state": with_storage_state}
        mounting = self._inner.mount(session_id, min_revision=min_revision, progress=progress, **options)
        return Mount(self._loop, self._loop.run(mounting.make()))

    def watch(
        self,
        selectors: Sequence[invalidation_pb2.Selector] = (),
        *,
        resume_token: bytes = b"",
        after_revision: int | None = None,
        bookmark_interval: float = 5.0,
    ) -> Watch:
        """As `cloakroom.Client.watch`."""
        options: Any = {
            "resume_token": resume_token,
            "after_revision": after_revision,
            "bookmark_interval": bookmark_interval,
        }
        return Watch(self._loop, self._inner.watch(selectors, **options))
