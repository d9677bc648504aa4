# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""The end of a load: what was verified is completed and takes its place in one step."""

import asyncio
import ctypes
import errno
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, ParamSpec, Self, TypeVar

from .capture import running_browser
from .disk import clone, ended
from .errors import LocalError
from .sidecar import Sidecar, holds
from .tree import DIRECTORY, FILE, LINK, Entry, changing, file_system, restat, stat_key
from .workshop import ASIDE, Space, sweep

R = TypeVar("R")
P = ParamSpec("P")

_AT_FDCWD, _RENAME_NOREPLACE, _RENAME_EXCHANGE = -100, 1, 2
_THERE = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


class Loaded(NamedTuple):
    """What a load arrived at."""

    #: All of the profile, in order of the paths.
    entries: dict[str, Entry]
    #: The paths that came with the load; the others are the base's.
    fresh: Collection[str]


class Workshop:
    """Where a load is put together: a directory beside the wanted one, once it is needed, and a thread for the work.

    What is left of the workshop in the end is removed.
    """

    def __init__(self, directory: Path, *, replace: bool) -> None:
        self._space: Space | None = None
        self._stuck = False
        self._directory, self._replace = directory, replace
        self._thread = ThreadPoolExecutor(1, "cloakroom-load")

    async def run(self, job: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Does a job in the thread, after those before it."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(job, *args, **kwargs))

    async def __aenter__(self) -> Self:
        try:
            await self.run(self._open)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        closing = asyncio.ensure_future(self.run(self._close))
        try:
            await ended(closing)  # who is cancelled, however often, has nothing that goes on writing
        finally:
            self._thread.shutdown(wait=False)
        closing.result()

    def _open(self) -> None:
        with file_system():
            self._check()

    @property
    def work(self) -> Path:
        """Where the new files are made. It is there from the first time on that it is asked for."""
        with file_system():
            if not self._space:
                self._space = Space(self._directory)
                (self._space.path / "new").mkdir(mode=0o700)
            return self._space.path / "new"

    def _close(self) -> None:
        if self._space:
            with file_system():
                self._space.close(keep=self._stuck)

    def _check(self) -> None:
        top = self._directory
        if not os.path.lexists(top):
            return
        if not self._replace:
            advice = "load into another directory, or say replace=True"
            told = f" (it is the profile of {note.whose})" if (note := Sidecar.found(top)) else ""
            raise LocalError(f"{top} is there already{told}: {advice}", reason="TARGET_EXISTS")
        if top.is_symlink() or not top.is_dir():
            raise LocalError(f"{top} is not a directory and will not be replaced", reason="TARGET_EXISTS")
        if process := running_browser(top):
            advice = "close it before replacing the directory"
            raise LocalError(f"process {process} runs a browser on {top}: {advice}", reason="PROFILE_BUSY")

    def install(
        self, loaded: Loaded, source: Path | None, sidecar: Sidecar, *, same: bool = False, policy: str | None = None
    ) -> None:
        """Completes the work with the base's files in `source` and puts it in its place; the sidecar follows.

        If that is the `same` snapshot as the base, there may be nothing to do. With a capture policy, what does not
        travel under it may be there too.
        """
        top = self._directory
        with file_system():
            self._check()
            if source == top and same and holds(top, loaded.entries, policy):
                return
            shop = self.work.parent
            if source == top:
                # What did not change stays where it is. Nobody is to see the directory half changed.
                with self._taken_away() as former:
                    top.rename(former)
                    sidecar.entries.update(patch(former, self.work, shop / "old", loaded))
                    former.rename(top)
            else:
                sidecar.entries.update(complete(self.work, loaded, source))
                self._check()  # that took its time: again right before
                # Without `replace`, what has appeared since that look stays too.
                there = self._replace and os.path.lexists(top)
                with self._taken_away() as former:
                    if not there:
                        self._appear()
                    elif not exchange(self.work, top):
                        top.rename(former)
                        self._appear()
            sidecar.write(top)
            sweep(top)

    def _appear(self) -> None:
        """Gives the new directory its name, never in place of anything."""
        if not put(self.work, self._directory):
            advice = "it stays; load into another directory"
            raise LocalError(f"{self._directory} appeared while it was loaded: {advice}", reason="TARGET_EXISTS")

    @contextmanager
    def _taken_away(self) -> Iterator[Path]:
        """While the directory is not to be relied upon its sidecar is gone, and what says so is there before that.

        So nothing is saved of what anybody finds, or makes, in its place after a load that was killed. Where the
        directory went, if anywhere, it comes back from if this fails.
        """
        top, note, aside = self._directory, Sidecar.path(self._directory), self.work.parent / ASIDE
        former, kept = aside / "former", aside / "sidecar"
        aside.mkdir(mode=0o700)
        with suppress(FileNotFoundError):
            note.rename(kept)
        try:
            yield former
        except BaseException:
            try:
                if os.path.lexists(former):
                    former.rename(top)
                if os.path.lexists(kept) and not put(kept, note):
                    kept.unlink()  # another load's is there now
                aside.rmdir()
            except OSError as error:
                self._stuck = True
                message = f"{top} cannot be put back ({error}): what it held stays in {aside} until it is loaded again"
                raise LocalError(message, reason="FILE_SYSTEM") from error
            raise


def complete(work: Path, loaded: Loaded, source: Path | None) -> dict[str, Entry]:
    """Adds what is not in `work` yet: directories, links, and copies of the base's unchanged files."""
    for path, entry in loaded.entries.items():
        place = f"{work}/{path}"
        if entry.kind == DIRECTORY:
            os.makedirs(place, exist_ok=True)
        elif entry.kind == LINK:
            os.symlink(entry.target, place)
        elif path not in loaded.fresh:
            _take_over(f"{source}/{path}", place, entry)
    _dress(work, [entry for entry in loaded.entries.values() if entry.kind != LINK])
    return restat(work, loaded.entries.values())


def patch(top: Path, work: Path, old: Path, loaded: Loaded) -> dict[str, Entry]:
    """Makes the new profile of the directory that holds the base, touching nothing but what differs.

    What goes is moved to `old`. Each step is a renaming, so that all of them can be taken back.
    """
    done: list[tuple[str, str]] = []
    entries, fresh = loaded
    old.mkdir()

    def move(source: str, target: str) -> None:
        os.rename(source, target)
        done.append((source, target))

    def made(make: Callable[[str], None], path: str) -> None:
        make(aside := f"{old}/{len(done)}")
        move(aside, f"{top}/{path}")

    try:
        kept = set()
        for path, stays in _listing(top, entries, fresh):
            if stays:
                kept.add(path)
            else:
                move(f"{top}/{path}", f"{old}/{len(done)}")
        for path, entry in entries.items():
            if path in kept:
                continue
            if entry.kind == FILE:
                move(f"{work}/{path}", f"{top}/{path}")
            else:
                made(os.mkdir if entry.kind == DIRECTORY else partial(os.symlink, entry.target), path)
        changed = [entry for path, entry in entries.items() if entry.kind != FILE or path in fresh]
        _dress(top, [entry for entry in changed if entry.kind != LINK])
        return {**entries, **restat(top, changed)}
    except BaseException as error:
        for source, target in reversed(done):
            os.rename(target, source)
        if isinstance(error, OSError):
            raise changing(str(error.filename)) from error
        raise


def _listing(top: Path, entries: Mapping[str, Entry], fresh: Collection[str]) -> Iterator[tuple[str, bool]]:
    """Everything in a directory, each with whether it stays; what is in something that goes is not looked at."""
    pending = [""]
    while pending:
        prefix = pending.pop()
        with os.scandir(f"{top}/{prefix}") as items:
            for item in list(items):
                path = prefix + item.name
                kind = entries[path].kind if path in entries else 0
                if kind == DIRECTORY and item.is_dir(follow_symlinks=False):
                    pending.append(path + "/")
                    yield path, True
                else:
                    yield path, kind == FILE and path not in fresh and item.is_file(follow_symlinks=False)


def _take_over(source: str, target: str, entry: Entry) -> None:
    try:
        clone(source, target, entry.size)
        if stat_key(os.lstat(source)) != entry.stat:
            raise changing(entry.path)
    except OSError as error:
        raise changing(entry.path) from error


def _dress(top: Path, entries: list[Entry]) -> None:
    """Sets modes and times, of a directory after those of what is in it."""
    for entry in reversed(entries):
        os.chmod(f"{top}/{entry.path}", entry.mode)
        os.utime(f"{top}/{entry.path}", ns=(entry.mtime_ns, entry.mtime_ns))


def exchange(one: Path, other: Path) -> bool:
    """Swaps two directories in one step, if the system can."""
    return _rename(one, other, _RENAME_EXCHANGE) == 0


def put(source: Path, target: Path) -> bool:
    """Renames a directory or a file where nothing is; answers whether nothing was there.

    Where the system has no such step, an empty directory that appears in this very moment may give way to another one.
    """
    error = _rename(source, target, _RENAME_NOREPLACE)
    if error in _THERE or (error and os.path.lexists(target)):
        return False
    if error:
        try:
            source.rename(target)
        except OSError as failure:
            if failure.errno in _THERE:
                return False
            raise
    return True


def _rename(source: Path, target: Path, flags: int) -> int:
    """Linux' `renameat2`; answers the number of the error, as of a call that the system does not have elsewhere."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None, use_errno=True)
            names = _AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target)
            return ctypes.get_errno() if libc.renameat2(*names, flags) else 0
    return errno.ENOSYS
