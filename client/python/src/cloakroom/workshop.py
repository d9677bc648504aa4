# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""What loads keep beside a directory, and what those that were killed left there.

While a load takes a directory away, its workshop has an `aside`, and no sidecar lies at the directory. So a directory
without a sidecar beside which there is an `aside` is not what any load or save made of it. The other clients' loads do
the same under names of their own.
"""

import glob
import os
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

from .errors import LocalError
from .sidecar import Sidecar, beside
from .tree import file_system

if sys.platform != "win32":
    import fcntl

#: Where a directory is that a load takes away, in the load's workshop.
ASIDE = "aside"
_LOCK = "lock"
_UNFINISHED = (
    f".{{}}.loading-*/{ASIDE}",
    ".{}.cloakroom-load/former",
    ".{}.cloakroom-load/replaced",
    "{}.cloakroom-*-*-*/old",
)
_TRIES = 10
_HOUR = 3600.0


def finished(directory: Path) -> None:
    """Refuses a directory that a load has taken away and not brought back: what is there now is not what it was."""
    name = glob.escape(directory.name)
    with file_system():
        found = (path for kind in _UNFINISHED for path in directory.parent.glob(kind.format(name)))
        if (leftover := next(found, None)) and not os.path.lexists(Sidecar.path(directory)):
            raise LocalError(
                f"a load into {directory} is under way or was cut off in the middle ({leftover.parent}): load it "
                "again; nothing was saved",
                reason="LOAD_UNFINISHED",
            )


class Space:
    """A directory beside another one for a load. Who holds its lock is alive."""

    def __init__(self, directory: Path) -> None:
        directory.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(_TRIES):
            self.path = beside(directory, "loading")
            self.path.mkdir(mode=0o700)
            # Whoever sweeps in this very moment may be faster.
            with suppress(FileNotFoundError):
                self._lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
                if _locked(self._lock) is not False and (self.path / _LOCK).exists():
                    return
                os.close(self._lock)
        raise LocalError(f"no directory beside {directory} stays there", reason="FILE_SYSTEM")

    def close(self, *, keep: bool = False) -> None:
        """Removes it with all that is left in it, or leaves that to the next load."""
        try:
            if not keep:
                _discard(self.path)
        finally:
            os.close(self._lock)


def sweep(directory: Path) -> None:
    """Removes what loads into a directory left there that nobody goes on with, as far as that can be known."""
    name = glob.escape(directory.name)
    with suppress(OSError):
        for path in directory.parent.glob(f".{name}.loading-*"):
            with suppress(OSError):
                _sweep(path)
        for path in directory.parent.glob(f".{name}.sidecar-*"):
            with suppress(OSError):
                if path.lstat().st_mtime < time.time() - _HOUR:  # writing one takes no time
                    path.unlink()


def _sweep(space: Path) -> None:
    try:
        lock = os.open(space / _LOCK, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        space.rmdir()  # just made, or all but removed; what has something in it is not ours to judge
        return
    try:
        if _locked(lock):
            _discard(space)
    finally:
        os.close(lock)


def _locked(file: int) -> bool | None:
    """Whether a lock was to be had; nothing where the file system has no locks."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _discard(space: Path) -> None:
    """Removes a workshop, its lock last: without it nobody could tell that it is left over."""
    with suppress(FileNotFoundError):
        for path in sorted(space.iterdir()):
            if path.is_dir() and not path.is_symlink():
                remove_tree(path)
            elif path.name != _LOCK:
                path.unlink()
        (space / _LOCK).unlink(missing_ok=True)
        space.rmdir()


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
