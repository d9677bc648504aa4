# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""Files of a load, read and written piece by piece."""

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from typing import Any, TypeVar

from .errors import LoadFailed
from .tree import file_system

T = TypeVar("T")

_SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_BLOCK = 1 << 20


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


async def ahead(items: Iterator[T]) -> AsyncGenerator[T, None]:
    """Runs an iterator that blocks in a thread, one item ahead of who takes them.

    Close it: then nothing of it runs any more.
    """
    coming = asyncio.ensure_future(asyncio.to_thread(next, items, None))
    try:
        while True:
            await asyncio.wait([coming])  # not itself: it would end, and the thread would not
            if (item := coming.result()) is None:
                return
            coming = asyncio.ensure_future(asyncio.to_thread(next, items, None))
            yield item
    finally:
        await ended(coming)


async def ended(work: asyncio.Future[Any]) -> None:
    """Waits until something has ended, however often who waits is cancelled meanwhile; what came of it is not told."""
    cancelled = False
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError:
            cancelled = True
    if not work.cancelled():
        work.exception()  # asked for, so that nobody is told that it was not
    if cancelled:
        raise asyncio.CancelledError
