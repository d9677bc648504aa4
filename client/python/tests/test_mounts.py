# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""The scenarios of `client/scenarios.md` about mounts, each under its name, against a real daemon."""

import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from conftest import scan
from daemon import Daemon

from cloakroom import Client, Mount, PruneResult, errors, install
from cloakroom.connection import Connection
from cloakroom.sidecar import Sidecar
from cloakroom.tree import FILE

LEAF = 4096
FILES = {"Default/Cookies": b"logged in", "Default/big": random.Random(1).randbytes(40 * LEAF), "Local State": b"{}"}
STATE = b'{"cookies":[],"origins":[]}'
HOST = sha256(f"{socket.gethostname()}\n{os.readlink('/proc/self/ns/pid')}".encode()).hexdigest()[:8]
#: Another worker: mounts, changes what it is told to, says where, and waits.
WORKER = """
import asyncio, sys
from cloakroom import Client

async def main(target, session, root, change):
    async with Client(target) as client, client.mount(session, root=root) as mount:
        if change:
            (mount.directory / change).write_bytes(b"of the worker")
            (mount.directory / "added").write_bytes(b"of the worker")
        print(f"{mount.directory}|{mount.base_snapshot_id}|{mount.content_bytes}", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def session(client: Client) -> str:
    return (await client.sessions.create("mounts", session_id=f"s{uuid.uuid4().hex}")).session.id


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLOAKROOM_MOUNTS", str(tmp_path / "root"))
    return tmp_path / "root"


def fill(top: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(data)


async def saved(client: Client, session: str) -> Path:
    """Begins a session by a mount, which is saved and released; answers where it was."""
    async with client.mount(session) as mount:
        fill(mount.directory, {**FILES, "Default/Cache/f": b"dropped"})
        (mount.directory / "link").symlink_to("Default")
        await mount.save(storage_state=STATE)
        return mount.directory


async def elsewhere(client: Client, session: str, place: Path) -> None:
    """Makes a new head by a save from another directory."""
    await client.load(session, place, replace=True)
    with (place / "Default" / "big").open("r+b") as file:
        file.seek(7 * LEAF)
        file.write(bytes(LEAF))
    (place / "Local State").unlink()
    fill(place, {"Default/new": b"new"})
    await client.save(session, place, storage_state=STATE)


def times(top: Path) -> dict[str, tuple[int, int, int]]:
    """What the system says of everything in a slot but its claim."""
    found = {str(path.relative_to(top)): path.lstat() for path in [*top.rglob("*")] if "claim." not in path.name}
    return {name: (stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns) for name, stat in found.items()}


def slots(root: Path, session: str) -> set[Path]:
    return set((root / "mounts" / "-" / session).iterdir())


def claim_of(slot: Path) -> str:
    (claim,) = slot.glob("claim.*")
    return claim.name


async def equals_the_head(client: Client, mount: Mount, tmp_path: Path) -> bool:
    await client.load(mount.session_id, tmp_path / "full", replace=True)
    same = scan(mount.directory) == scan(tmp_path / "full")
    shutil.rmtree(tmp_path / "full")
    Sidecar.path(tmp_path / "full").unlink()
    return same


@contextmanager
def worker(daemon: Daemon, session: str, root: Path, change: str = "") -> Iterator[tuple[int, Path, str, int]]:
    """Another process with a mount: its id, the directory, the base and the bytes that were sent."""
    command = [sys.executable, "-c", WORKER, daemon.target, session, str(root), change]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        directory, base, size = process.stdout.readline().strip().split("|")
        yield process.pid, Path(directory), base, int(size)


def ended() -> int:
    """The id of a process that is no more."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


async def test_mount_current_touches_nothing(
    client: Client, session: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await saved(client, session)
    before, told = times(first.parent), list[tuple[int, int]]()
    assert {"profile", "profile.cloakroom.json", "profile/Default/Cookies", "profile/link"} < before.keys()
    assert "profile/Default/Cache/f" in before
    monkeypatch.setattr(install, "Space", lambda _: pytest.fail("a workspace was made"))
    monkeypatch.setattr(Connection, "unary", lambda *_: pytest.fail("there is one call only"))
    real, kinds = Connection.download, list[str]()

    async def download(*args: Any, **options: Any) -> AsyncIterator[Any]:
        async for message in real(*args, **options):
            kinds.append(message.WhichOneof("message"))
            yield message

    monkeypatch.setattr(Connection, "download", download)
    for _ in range(2):
        async with client.mount(session, progress=lambda *now: told.append(now)) as mount:
            assert mount.directory == first and first.is_relative_to(root)
            assert mount.snapshot is not None and mount.base_snapshot_id == mount.snapshot.id
            assert mount.content_bytes == 0 and mount.storage_state == STATE
            assert times(first.parent) == before
            assert claim_of(first.parent).startswith(f"claim.{HOST}.{os.getpid()}.")
        assert times(first.parent) == before
        assert claim_of(first.parent) == "claim.free"
    assert set(told) <= {(0, 0)} and kinds == ["begin", "storage_state", "end"] * 2


async def test_mount_head_moved(client: Client, session: str, root: Path, tmp_path: Path) -> None:
    first = await saved(client, session)
    before = (await client.snapshot(session)).snapshot.id
    kept = (first / "Default" / "Cookies").stat().st_ino
    await elsewhere(client, session, tmp_path / "p")
    async with client.mount(session) as mount:
        assert mount.directory == first and mount.base_snapshot_id == before
        assert LEAF <= mount.content_bytes < 2 * LEAF
        assert await equals_the_head(client, mount, tmp_path)
        assert (first / "Default" / "Cookies").stat().st_ino == kept
        assert not (first / "Local State").exists()


async def test_mount_two_never_share(client: Client, daemon: Daemon, session: str, root: Path, tmp_path: Path) -> None:
    await saved(client, session)
    whole = sum(map(len, FILES.values()))
    async with client.mount(session) as one:
        assert one.content_bytes == 0
        with worker(daemon, session, root) as (_, theirs, base, size):
            assert (base, size) == ("", whole)
            assert sum(map(len, FILES.values())) == sum(e.size for e in scan(theirs).values() if e.kind == FILE)
            async with client.mount(session) as two:
                again = {theirs, two.directory}
                assert len(again | {one.directory}) == 3
                assert (two.base_snapshot_id, two.content_bytes) == ("", whole)
                assert await equals_the_head(client, two, tmp_path)
        async with client.mount(session) as three:
            assert three.directory in again and three.content_bytes == 0
    mounts = await asyncio.gather(*(client.mount(session) for _ in range(5)))
    assert len({mount.directory for mount in mounts}) == 5
    for mount in mounts:
        await mount.release()
    assert len(slots(root, session)) == 2, "of the free slots two are kept"


async def test_mount_after_kill(client: Client, daemon: Daemon, session: str, root: Path, tmp_path: Path) -> None:
    first = await saved(client, session)
    with worker(daemon, session, root, "Default/Cookies") as (process, theirs, _, _):
        assert theirs == first and (first / "added").exists()
        os.kill(process, signal.SIGKILL)
    assert claim_of(first.parent).startswith(f"claim.{HOST}.{process}.")
    async with client.mount(session) as mount:
        assert mount.directory == first
        assert (first / "Default" / "Cookies").read_bytes() == b"logged in" and not (first / "added").exists()
        assert await equals_the_head(client, mount, tmp_path)
    assert slots(root, session) == {first.parent}


async def test_mount_empty_session(client: Client, session: str, root: Path) -> None:
    for _ in range(2):
        mount = await client.mount(session)
        assert mount.snapshot is None and mount.storage_state is None
        assert list(mount.directory.iterdir()) == []
        fill(mount.directory, {"Default/Cookies": b"never saved"})
        await mount.discard()
        assert not (await client.sessions.get(session)).session.head_snapshot_id
    async with client.mount(session) as mount:
        fill(mount.directory, FILES)
        result = await mount.save()
        assert mount.snapshot == result.snapshot and not result.snapshot.parent_snapshot_id
        fill(mount.directory, {"Default/Cookies": b"once more"})
        again = await mount.save()
        assert again.snapshot.parent_snapshot_id == result.snapshot.id
    assert (await client.sessions.get(session)).session.head_snapshot_id == again.snapshot.id


async def test_mount_discard(client: Client, session: str, root: Path, tmp_path: Path) -> None:
    first = await saved(client, session)
    head = (await client.sessions.get(session)).session.head_snapshot_id
    mount = await client.mount(session)
    fill(mount.directory, {"Default/Cookies": b"changed", "added": b"added"})
    (mount.directory / "Local State").unlink()
    await mount.discard()
    await mount.release()
    with pytest.raises(errors.LocalError, match="was released") as caught:
        await mount.save()
    assert caught.value.reason == "MOUNT_RELEASED"
    with pytest.raises(errors.LocalError, match="MOUNT_RELEASED"):
        _ = mount.directory
    browser: Any = None
    with pytest.raises(errors.LocalError, match="MOUNT_RELEASED"):
        await mount.open_context(browser)
    assert (await client.sessions.get(session)).session.head_snapshot_id == head
    async with client.mount(session) as mount:
        assert mount.directory == first
        assert await equals_the_head(client, mount, tmp_path)


async def test_mount_live_browser_left_alone(client: Client, session: str, root: Path) -> None:
    first = await saved(client, session)
    lock = first / "SingletonLock"
    lock.symlink_to(f"{socket.gethostname()}-{os.getpid()}")
    before = times(first.parent)
    async with client.mount(session) as mount:
        assert mount.directory != first
        assert claim_of(first.parent) == "claim.free" and times(first.parent) == before
    lock.unlink()
    lock.symlink_to(f"{socket.gethostname()}-{ended()}")
    os.utime(first.with_name("claim.free"))  # the newest is tried first
    async with client.mount(session) as mount:
        assert mount.directory == first and mount.content_bytes == 0
        assert not lock.is_symlink(), "a dead browser's lock is in nobody's way"


async def test_mount_other_language(client: Client, session: str, root: Path, tmp_path: Path) -> None:
    home = root / "mounts" / "-" / session
    await client.save(session, made(tmp_path / "p"))
    dead, foreign = f"claim.{HOST}.{ended()}.12345", f"claim.{'0' * 8}.1.1"
    for slot, claim in (("0000dead", dead), ("0000f0e1", foreign)):
        await client.load(session, made(home / slot, {}) / "profile")
        (home / slot / claim).touch()
    before = times(home / "0000f0e1")
    async with client.mount(session) as mount:
        assert mount.directory == home / "0000dead" / "profile" and mount.content_bytes == 0
        assert not (home / "0000dead" / dead).exists()
        async with client.mount(session) as another:
            assert another.directory.parent not in (home / "0000dead", home / "0000f0e1")
    assert claim_of(home / "0000dead") == "claim.free"
    assert claim_of(home / "0000f0e1") == foreign and times(home / "0000f0e1") == before


def made(top: Path, files: dict[str, bytes] = FILES) -> Path:
    top.mkdir(parents=True)
    fill(top, files)
    return top


async def test_prune_mounts(client: Client, daemon: Daemon, session: str, root: Path) -> None:
    other = (await client.sessions.create("mounts")).session.id
    home = root / "mounts" / "-" / session
    free = (await saved(client, session)).with_name("claim.free")
    dead, foreign = (
        made(home / "0000dead") / f"claim.{HOST}.{ended()}.1",
        made(home / "0000f0e1") / "claim.0123abcd.1.1",
    )
    browser, unmade = made(home / "0000babe") / "claim.free", made(home / "00000000")
    (home / "0000babe" / "profile").mkdir()
    (home / "0000babe" / "profile" / "SingletonLock").symlink_to(f"{socket.gethostname()}-{os.getpid()}")
    for claim in (dead, foreign, browser):
        claim.touch()
    async with client.mount(other) as mine:
        with worker(daemon, other, root) as (_, theirs, _, _):
            assert await client.prune_mounts() == PruneResult(0, 0)
            claims = [*root.glob("mounts/*/*/*/claim.*"), unmade]
            assert len(claims) == 7
            for claim in claims:
                os.utime(claim, (time.time() - 8 * 86400,) * 2)
            gone = [free.parent, dead.parent, unmade]
            size = sum(path.lstat().st_size for top in gone for path in top.rglob("*") if not path.is_dir())
            assert await client.prune_mounts(older_than=9 * 86400) == PruneResult(1, sum(map(len, FILES.values())))
            result = await client.prune_mounts()
            assert result == PruneResult(2, size - sum(map(len, FILES.values())))
            assert slots(root, session) == {foreign.parent, browser.parent}
            assert mine.directory.is_dir() and theirs.is_dir()
            assert slots(root, other) == {mine.directory.parent, theirs.parent}
    assert (await client.prune_mounts(older_than=0)).slots == 2
