# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""Files and directories of a load: made, copied, taken over, and put in their place in one step."""

import asyncio
import ctypes
import os
import shutil
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from io import FileIO
from pathlib import Path
from typing import ParamSpec, Protocol, Self, TypeVar

from .capture import running_browser
from .errors import LoadFailed, LocalError
from .sidecar import Sidecar, beside
from .tree import Entry, changing, file_system, stat_key

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")

_SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_BLOCK = 1 << 20
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def clone(source: str, target: str, size: int) -> None:
    """Copies a file, cut to size, to a new one.

    Blocks are shared where the file system can, but never by a hard link: browsers write in place.
    """
    with _new(target) as new, open(source, "rb", buffering=0) as old:
        left = size
        with suppress(OSError, AttributeError):
            while left and (count := os.copy_file_range(old.fileno(), new.fileno(), left)):
                left -= count
        if left:  # the rest, where the system cannot do it, or the old file is shorter
            shutil.copyfileobj(old, new, _BLOCK)
        new.truncate(size)


def read_at(path: str, offset: int, size: int) -> bytes:
    """Reads a part of a file."""
    with file_system(), open(path, "rb", buffering=0) as file:
        file.seek(offset)
        return file.read(size)


def write_at(path: str, offset: int, content: bytes | memoryview, *, new: bool) -> None:
    """Writes a part of a file; of a new one, which must not be there yet, with the directories above it."""
    with file_system(), _new(path) if new else open(os.open(path, os.O_WRONLY | _SAFELY), "wb", buffering=0) as file:
        file.seek(offset)
        file.write(content)


@contextmanager
def _new(path: str) -> Iterator[FileIO]:
    try:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY, 0o600)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY, 0o600)
    except (FileExistsError, NotADirectoryError) as error:
        raise LoadFailed(
            f"{error.filename!r} clashes with another entry of the profile", reason="PATH_INVALID"
        ) from error
    with open(handle, "wb", buffering=0) as file:
        yield file


def take(source: str, target: str, entry: Entry, *, move: bool) -> None:
    """Takes over a file that did not change since it was looked at."""
    try:
        if stat_key(os.lstat(source)) != entry.stat:
            raise changing(entry.path)
        if move:
            os.rename(source, target)
            return
        clone(source, target, entry.size)
        if stat_key(os.lstat(source)) != entry.stat:
            raise changing(entry.path)
    except OSError as error:
        raise changing(entry.path) from error


def exchange(one: Path, other: Path) -> bool:
    """Swaps two directories in one step, if the system can."""
    if sys.platform != "linux":
        return False
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        return bool(libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0)
    return False


def remove_tree(directory: Path) -> None:
    """Removes a directory of ours with all its content, also where its modes forbid that."""
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        pass
    except PermissionError:
        for folder, _, _ in os.walk(directory):
            for path in [
                Path(folder),
                *(item for item in Path(folder).iterdir() if item.is_dir() and not item.is_symlink()),
            ]:
                path.chmod(0o700)
        shutil.rmtree(directory)


async def ahead(items: Iterator[T]) -> AsyncGenerator[T, None]:
    """Runs an iterator that blocks in a thread, one item ahead of who takes them."""
    coming = asyncio.ensure_future(asyncio.to_thread(next, items, None))
    try:
        while (item := await coming) is not None:
            coming = asyncio.ensure_future(asyncio.to_thread(next, items, None))
            yield item
    finally:
        coming.cancel()


class Workshop:
    """Where a load is put together: a directory beside the wanted one, and a thread for the work on it.

    What is left of the directory in the end is removed.
    """

    def __init__(self, directory: Path, *, replace: bool) -> None:
        self.work = beside(directory, "loading")
        self._directory, self._replace = directory, replace
        self._thread = ThreadPoolExecutor(1, "cloakroom-load")

    async def run(self, job: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Does a job in the thread, after those before it."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(job, *args, **kwargs))

    async def __aenter__(self) -> Self:
        await self.run(self._check)
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await asyncio.shield(self.run(remove_tree, self.work))
        finally:
            self._thread.shutdown(wait=False)

    def _check(self) -> None:
        top = self._directory
        if not os.path.lexists(top):
            return
        if not self._replace:
            raise LocalError(
                f"{top} is there already: load into another directory, or ask to replace it", reason="TARGET_EXISTS"
            )
        if top.is_symlink() or not top.is_dir():
            raise LocalError(f"{top} is not a directory and will not be replaced", reason="TARGET_EXISTS")
        if process := running_browser(top):
            raise LocalError(
                f"process {process} runs a browser on {top}: close it before replacing the directory",
                reason="PROFILE_BUSY",
            )

    def install(self, finish: "Finish", source: Path | None, sidecar: Sidecar) -> None:
        """Has the work finished and puts it in the directory's place, whole or not at all; the sidecar follows."""
        top, note = self._directory, Sidecar.path(self._directory)
        with file_system():
            if source == top:
                # Its files are taken out of it: nobody is to see it half empty.
                aside = beside(top, "replaced")
                top.rename(aside)
                try:
                    sidecar.entries.update(finish(aside, move=True))
                except BaseException:
                    aside.rename(top)
                    raise
                note.unlink(missing_ok=True)
                self.work.rename(top)
                remove_tree(aside)
            else:
                sidecar.entries.update(finish(source, move=False))
                self._check()
                note.unlink(missing_ok=True)
                if not os.path.lexists(top):
                    self.work.rename(top)
                elif not exchange(self.work, top):
                    aside = beside(top, "replaced")
                    top.rename(aside)
                    self.work.rename(top)
                    remove_tree(aside)
            sidecar.write(top)


class Finish(Protocol):
    """The last step of a load."""

    def __call__(self, source: Path | None, *, move: bool) -> dict[str, Entry]:
        """Completes the work with what the base has unchanged."""
