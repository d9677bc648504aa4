# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""Who has which directory of a mount, and what becomes of it when things go wrong."""

import asyncio
import gc
import inspect
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import scan
from daemon import Daemon, free_port
from test_mounts import HOST, claim_of, ended, fill

from cloakroom import Client, PruneResult, errors, playwright, slots, sync
from cloakroom.capture import Capture
from cloakroom.install import Workshop
from cloakroom.mount import SaveOptions
from cloakroom.sidecar import Sidecar, holds
from cloakroom.slots import Claim, home, prune, take
from cloakroom.tree import walk

PLAIN = {"Default/Cookies": b"c", "Default/Cache/x": b"x", "f": b"f"}
#: Takes a slot in its own process over and over, and ends as soon as anybody else is in it as well.
CONTENDER = """
import os, sys, time
from pathlib import Path
from cloakroom.slots import take

print(flush=True)
sys.stdin.readline()
for _ in range(100):
    slot = take(Path(sys.argv[1]))
    slot.profile.mkdir(exist_ok=True)
    inside = slot.profile / "inside"
    os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
    time.sleep(0.001)
    inside.unlink()
    slot.release()
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    running = Daemon(tmp_path / "data")
    yield running
    running.stop()


def left(sessions: Path) -> list[str]:
    """The claims of a session's slots."""
    return sorted(claim_of(slot) for slot in sessions.iterdir())


def test_where_mounts_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLOAKROOM_MOUNTS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    assert home(None, "", "a.B_1-") == Path("/home/me/.cache/cloakroom/mounts/-/a.B_1-")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert home(None, "team-1", "s") == Path("/cache/cloakroom/mounts/team-1/s")
    monkeypatch.setenv("CLOAKROOM_MOUNTS", "/mounts")
    assert home("", "", "s") == Path("/mounts/mounts/-/s")
    monkeypatch.chdir(tmp_path)
    assert home("here", "", "s") == tmp_path / "here" / "mounts" / "-" / "s"


@pytest.mark.parametrize(("namespace", "session"), [("", ".."), ("", "a/b"), ("", ""), ("..", "s"), ("-", "s")])
def test_a_name_that_leads_elsewhere_is_refused(namespace: str, session: str) -> None:
    with pytest.raises(errors.LocalError, match="must match") as caught:
        home("/mounts", namespace, session)
    assert caught.value.reason == "INVALID_FIELD"


def test_nobody_else_looks_into_it(tmp_path: Path) -> None:
    slot = take(tmp_path / "root" / "mounts" / "-" / "s")
    place = slot.profile.parent
    assert [path.stat().st_mode & 0o777 for path in (place, *place.parents[:4])] == [0o700] * 5
    slot.clear()
    assert slot.profile.stat().st_mode & 0o777 == 0o700


def test_a_slot_in_which_nothing_came_goes(tmp_path: Path) -> None:
    slot = take(tmp_path / "s")
    assert left(tmp_path / "s")[0].startswith(f"claim.{HOST}.{os.getpid()}.") and slot.held
    slot.release()
    slot.release()
    assert list((tmp_path / "s").iterdir()) == [] and not slot.held


def test_the_last_one_in_use_comes_first(tmp_path: Path) -> None:
    held = [take(tmp_path) for _ in range(4)]
    for slot in held:
        slot.clear()
    for slot in held:
        slot.release()
        time.sleep(0.02)
    assert left(tmp_path) == ["claim.free"] * 2
    assert [take(tmp_path).profile for _ in range(1)] == [held[3].profile]


def test_what_nothing_refers_to_is_free(tmp_path: Path) -> None:
    slot = take(tmp_path)
    slot.clear()
    del slot
    gc.collect()
    assert left(tmp_path) == ["claim.free"]


def test_what_a_program_does_not_release_is_free_when_it_ends(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from cloakroom import slots; s = slots.take(Path({str(tmp_path)!r})); s.clear()"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert left(tmp_path) == ["claim.free"]


def test_a_forked_child_does_not_release_what_its_parent_has(tmp_path: Path) -> None:
    slot = take(tmp_path)
    slot.clear()
    child = multiprocessing.get_context("fork").Process(target=slot.release)
    child.start()
    child.join()
    assert child.exitcode == 0 and left(tmp_path)[0].startswith(f"claim.{HOST}.{os.getpid()}.")
    slot.release()
    assert left(tmp_path) == ["claim.free"]


def test_claims_of_the_dead_and_of_the_living(tmp_path: Path) -> None:
    def is_left(name: str) -> bool:
        return Claim(tmp_path / name, 0).is_left()

    own = slots._own().rpartition(".")[2]
    started = int(own)
    assert is_left("claim.free")
    assert not is_left(f"claim.{HOST}.{os.getpid()}.{started}") and not is_left(f"claim.{HOST}.{os.getpid()}.0")
    assert is_left(f"claim.{HOST}.{os.getpid()}.{started + 1}"), "another process had this id"
    gone = ended()
    assert is_left(f"claim.{HOST}.{gone}.1") and is_left(f"claim.{HOST}.{gone}.0")
    assert is_left(f"claim.{HOST}.{10**30}.1")
    for foreign in (f"claim.{'f' * 8}.{gone}.1", f"claim.{HOST}.{gone}", "claim.free.1", f"claim.{HOST}.x.1", "claim."):
        assert not is_left(foreign)


def test_a_process_that_nobody_waited_for_is_dead(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        status = slots._status(process.pid)
        assert status is not None
        name = tmp_path / f"claim.{HOST}.{process.pid}.{status.start}"
        assert not Claim(name, 0).is_left()
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{process.pid}").exists() and Claim(name, 0).is_left()


def test_where_there_is_no_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_status", lambda process: None)
    assert slots._own() == f"claim.{HOST}.{os.getpid()}.0"
    assert not Claim(tmp_path / slots._own(), 0).is_left()
    assert Claim(tmp_path / f"claim.{HOST}.{ended()}.0", 0).is_left()


def test_of_many_takers_each_has_one_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CONTENDER, str(tmp_path)]
    contenders = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for contender in contenders:
        assert contender.stdout is not None and contender.stdout.readline() == "\n"
    for contender in contenders:
        assert contender.stdin is not None
        contender.stdin.write("go\n")
        contender.stdin.flush()
    for contender in contenders:
        contender.communicate()
    assert [contender.returncode for contender in contenders] == [0] * 4
    assert left(tmp_path) == ["claim.free"] * 2


def test_who_is_beaten_takes_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = take(tmp_path), take(tmp_path)
    for slot in (second, first):
        slot.clear()
        slot.release()
        time.sleep(0.02)
    real = slots._taken

    def taken(claim: Claim) -> Path | None:
        if claim.path.parent == first.profile.parent and claim.path.exists():
            claim.path.rename(claim.path.with_name(f"claim.{'f' * 8}.1.1"))
        return real(claim)

    monkeypatch.setattr(slots, "_taken", taken)
    assert take(tmp_path).profile == second.profile
    assert claim_of(first.profile.parent) == f"claim.{'f' * 8}.1.1"


def test_what_is_used_again_meanwhile_is_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slot = take(tmp_path / "mounts" / "-" / "s")
    slot.clear()
    slot.release()
    free = slot.profile.with_name("claim.free")
    os.utime(free, (1, 1))
    real = slots._taken

    def taken(claim: Claim) -> Path | None:
        os.utime(free)
        return real(claim)

    monkeypatch.setattr(slots, "_taken", taken)
    assert prune(tmp_path / "mounts", 60) == PruneResult(0, 0)
    assert free.exists() and slot.profile.is_dir()


def test_pruning_leaves_no_empty_directories_and_what_is_not_ours(tmp_path: Path) -> None:
    slot = take(tmp_path / "mounts" / "-" / "s")
    slot.clear()
    (slot.profile / "locked").mkdir()
    (slot.profile / "locked" / "f").write_bytes(bytes(10))
    (slot.profile / "locked").chmod(0o500)
    slot.release()
    (tmp_path / "mounts" / "-" / "other").mkdir()
    (tmp_path / "mounts" / "-" / "other" / "mine").mkdir()
    (tmp_path / "mounts" / "README").write_text("mine")
    os.utime(slot.profile.with_name("claim.free"), (1, 1))
    assert prune(tmp_path / "mounts", 60) == PruneResult(1, 10)
    os.utime(tmp_path / "mounts" / "-" / "s", (1, 1))
    os.utime(tmp_path / "mounts" / "-" / "other", (1, 1))
    assert prune(tmp_path / "mounts", 60) == PruneResult(0, 0)
    assert [path.name for path in (tmp_path / "mounts" / "-").iterdir()] == ["other"]
    assert prune(tmp_path / "nowhere", 0) == PruneResult(0, 0)


def kept(top: Path) -> dict[str, Any]:
    """A directory of which a sidecar's entries are the plain files."""
    fill(top, PLAIN)
    (top / "l").symlink_to("f")
    (top / "d").mkdir()
    time.sleep(0.05)
    return walk(top, Capture(), {})


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda top: None, True),
        (lambda top: fill(top, {"Default/Cache/y": b"y"}), True),
        (lambda top: (top / "f").touch(), False),
        (lambda top: (top / "added").touch(), False),
        (lambda top: (top / "d").rmdir(), False),
        (lambda top: (top / "d").chmod(0o711), False),
        (lambda top: ((top / "l").unlink(), (top / "l").symlink_to("d")), False),
        (lambda top: (top / "SingletonLock").symlink_to("elsewhere-1"), False),
        (lambda top: (top / "out").symlink_to("/etc"), False),
    ],
)
def test_what_holds_still(change: Any, same: bool, tmp_path: Path) -> None:
    top = tmp_path / "p"
    entries = kept(top)
    times = [(path, path.lstat().st_mtime_ns) for path in (top / "Default",)]
    change(top)
    for path, mtime in times:
        os.utime(path, ns=(mtime, mtime))
    assert holds(top, entries, "default") == same
    assert not holds(top, entries, "full"), "caches belong to it"
    assert not holds(top, entries, "of a newer client")
    assert not holds(tmp_path / "nowhere", entries, "default")
    assert not holds(top, entries, None)
    shutil.rmtree(top / "Default" / "Cache")
    for path, mtime in times:
        os.utime(path, ns=(mtime, mtime))
    assert holds(top, entries, None) == (same and holds(top, entries, "full"))
    assert holds(top, entries, None) == same
    fill(top, {"Default/LOCK": b""})  # travels under no policy
    for path, mtime in times:
        os.utime(path, ns=(mtime, mtime))
    assert holds(top, entries, "full") == same and not holds(top, entries, None)


def test_what_was_saved_at_once_is_hashed_and_not_loaded_again(tmp_path: Path) -> None:
    top = tmp_path / "p"
    fill(top, PLAIN)
    entries = {path: entry._replace(stat="") for path, entry in walk(top, Capture(), {}).items()}
    Sidecar("", "s", "one", entries).write(top)
    time.sleep(0.05)
    found = Sidecar.clean(top, "", "s")
    assert found is not None and all(entry.stat for entry in found.entries.values() if entry.kind == 1)
    (top / "f").write_bytes(b"g")
    assert Sidecar.clean(top, "", "s") is None


async def test_a_mount_that_fails_leaves_nobody_in_its_slot(tmp_path: Path) -> None:
    async with Client(f"127.0.0.1:{free_port()}", patience=0.1) as client:
        with pytest.raises(errors.Unavailable):
            await client.mount("s", root=tmp_path)
        assert list((tmp_path / "mounts" / "-" / "s").iterdir()) == []
        slot = take(tmp_path / "mounts" / "-" / "s")
        slot.clear()
        slot.release()
        with pytest.raises(errors.Unavailable):
            async with client.mount("s", root=tmp_path):
                raise AssertionError("there is none")
        assert left(tmp_path / "mounts" / "-" / "s") == ["claim.free"]
        mounting = asyncio.ensure_future(client.mount("s", root=tmp_path).make())
        await asyncio.sleep(0.02)
        mounting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await mounting
        del mounting
        gc.collect()
        assert left(tmp_path / "mounts" / "-" / "s") == ["claim.free"]
        with pytest.raises(errors.LocalError, match="older_than is -1 s"):
            await client.prune_mounts(older_than=-1)


async def test_what_another_language_left_of_a_load_is_in_nobodys_way(daemon: Daemon, tmp_path: Path) -> None:
    async with Client(daemon.target) as client:
        session = (await client.sessions.create("b")).session.id
        slot = tmp_path / "mounts" / "-" / session / "0000dead"
        left_there = {".profile.cloakroom-load/former/f": b"f", "storage-state.json": b"{}"}
        fill(slot, {**left_there, "profile/f": b"f", f"claim.{HOST}.{ended()}.1": b""})
        taken = take(slot.parent)
        assert taken.profile.parent == slot and not (slot / "storage-state.json").exists()
        taken.release()
        for _ in range(2):
            fill(slot, left_there)
            async with client.mount(session, root=tmp_path) as mount:
                assert mount.directory.parent == slot
                assert {path.name for path in slot.iterdir()} - {"profile.cloakroom.json"} == {
                    "profile",
                    claim_of(slot),
                }
                if not mount.snapshot:
                    assert list(mount.directory.iterdir()) == []
                    fill(mount.directory, PLAIN)
                    await mount.save()
        assert mount.snapshot is not None and mount.content_bytes == 0


async def test_who_is_cancelled_twice_leaves_nothing_that_writes(tmp_path: Path) -> None:
    async def load(busy: threading.Event, going: threading.Event, done: list[str]) -> None:
        def job() -> None:
            busy.set()
            going.wait(20)
            done.append(str(shop.work))

        async with Workshop(tmp_path / "p", replace=True) as shop:
            await shop.run(job)

    busy, going, done = threading.Event(), threading.Event(), list[str]()
    loading = asyncio.ensure_future(load(busy, going, done))
    await asyncio.to_thread(busy.wait)
    for _ in range(3):
        loading.cancel()
        await asyncio.sleep(0.02)
        assert not loading.done() and not done
    going.set()
    with pytest.raises(asyncio.CancelledError):
        await loading
    assert len(done) == 1 and list(tmp_path.iterdir()) == []


async def test_a_plain_load_in_place_leaves_nothing_else_there(daemon: Daemon, tmp_path: Path) -> None:
    async with Client(daemon.target) as client:
        session = (await client.sessions.create("b")).session.id
        place = tmp_path / "p"
        fill(place, PLAIN)
        await client.save(session, place)
        loaded = await client.load(session, place, replace=True)
        assert loaded.content_bytes == 0 and not (place / "Default" / "Cache").exists()
        before = [(path, path.lstat()) for path in (*place.rglob("*"), Sidecar.path(place), tmp_path)]
        await client.load(session, place, replace=True)
        for path, stat in before:
            now = path.lstat()
            assert (now.st_ino, now.st_mtime_ns, now.st_ctime_ns) == (stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)


async def test_a_release_waits_for_the_save_that_runs(daemon: Daemon, tmp_path: Path) -> None:
    async with Client(daemon.target) as client:
        session = (await client.sessions.create("b")).session.id
        mount = await client.mount(session, root=tmp_path)
        fill(mount.directory, {**PLAIN, "big": os.urandom(8 << 20)})
        saving = asyncio.ensure_future(mount.save())
        await asyncio.sleep(0)
        await mount.release()
        assert saving.done() and (await saving).snapshot == mount.snapshot
        assert repr(mount) == f"<Mount of session {session}, released>"


async def test_an_earlier_snapshot_is_mounted_and_not_saved_over_the_head(daemon: Daemon, tmp_path: Path) -> None:
    async with Client(daemon.target) as client:
        session = (await client.sessions.create("b")).session.id
        async with client.mount(session, root=tmp_path) as mount:
            fill(mount.directory, PLAIN)
            first = (await mount.save()).snapshot.id
            fill(mount.directory, {"f": b"second"})
            await mount.save(storage_state={"cookies": [], "origins": []})
            assert mount.storage_state == b'{"cookies":[],"origins":[]}'
        async with client.mount(session, root=tmp_path, snapshot_id=first) as mount:
            assert (mount.directory / "f").read_bytes() == b"f" and mount.storage_state is None
            fill(mount.directory, {"f": b"third"})
            with pytest.raises(errors.ParentNotHead):
                await mount.save()
            await mount.save(replace=True)
        async with client.mount(session, root=tmp_path, with_storage_state=False) as mount:
            assert (mount.directory / "f").read_bytes() == b"third"


def test_the_synchronous_client_does_the_same(daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sync.Client(daemon.target) as client:
        session = client.sessions.create("b").session.id
        with client.mount(session, root=tmp_path) as mount:
            assert mount.snapshot is None and mount.storage_state is None and mount.session_id == session
            fill(mount.directory, PLAIN)
            assert mount.save(storage_state=b'{"cookies":[],"origins":[]}').snapshot == mount.snapshot
            place = mount.directory
        assert repr(mount) == f"<Mount of session {session}, released>"
        with pytest.raises(errors.LocalError, match="mount again"):
            mount.save()
        before = scan(place)
        with client.mount(session, root=str(tmp_path)) as mount:
            assert mount.directory == place and mount.content_bytes == 0 and mount.base_snapshot_id
            assert mount.storage_state == b'{"cookies":[],"origins":[]}'
            called = list[Any]()
            monkeypatch.setattr(playwright, "launch_sync", lambda *args, **options: called.append((args, options)))
            mount.open_context("chromium", headless=True)  # type: ignore[arg-type]
            assert called[0][0] == ("chromium", place) and called[0][1]["storage_state"] == mount.storage_state
            mount.discard()
        assert scan(place) == before
        assert client.prune_mounts(older_than=0, root=tmp_path).slots == 1


def test_a_mount_saves_with_all_options_of_a_save() -> None:
    options = inspect.signature(Client.save).parameters.keys() - {"self", "session_id", "directory"}
    assert SaveOptions.__annotations__.keys() == options
    loads = inspect.signature(Client.load).parameters.keys()
    mounts = inspect.signature(Client.mount).parameters.keys()
    assert mounts - loads == {"root"} and mounts == inspect.signature(sync.Client.mount).parameters.keys()
