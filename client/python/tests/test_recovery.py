# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""What the client does when the daemon goes away at a bad moment, against a real one."""

import asyncio
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import scan
from daemon import Daemon, free_port
from test_daemon import STATE, fill, noise

from cloakroom import Client, connection, errors, selector, sync, tree, wire
from cloakroom.sidecar import Sidecar
from cloakroom.v1 import profile_pb2


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that a test may kill; it listens where it listened before when it is started again."""
    running = Daemon(tmp_path / "data", f"127.0.0.1:{free_port()}")
    yield running
    running.stop()


async def test_a_watch_says_so_when_the_daemon_lost_everything(mortal: Daemon) -> None:
    async with Client(mortal.target) as client, client.watch(bookmark_interval=1.0) as watch, asyncio.timeout(60):
        assert (await anext(watch)).kind == "opened"
        assert (await anext(watch)).kind == "bookmark"
        mortal.kill()
        shutil.rmtree(mortal.data)
        await asyncio.to_thread(mortal.start)
        while (event := await anext(watch)).kind in ("bookmark", "opened"):
            pass
        assert (event.kind, event.reset_reason) == ("reset", "HISTORY_CHANGED")
        assert 0 < event.spread <= 60 and 0 <= event.smear() <= event.spread
        made = await client.sessions.create("b")
        while not (event := await anext(watch)).changes:
            assert event.kind == "bookmark"
        assert [change.session_id for change in event.changes] == [made.session.id]


async def test_a_save_goes_on_after_the_daemon_was_killed(mortal: Daemon, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {f"f{number}": noise(1 << 20, number) for number in range(12)})
    async with Client(mortal.target) as client:
        session = (await client.sessions.create("b")).session.id
        killed = False
        restarting: list[asyncio.Task[None]] = []

        def progress(gone: int, total: int) -> None:
            nonlocal killed
            if not killed and gone > total // 2:
                killed = True
                mortal.kill()
                restarting.append(asyncio.create_task(asyncio.to_thread(mortal.start)))

        upload_id = str(uuid.uuid4())
        saved = await client.save(session, top, progress=progress, upload_id=upload_id, storage_state=STATE)
        assert killed and saved.snapshot.upload_id == upload_id
        assert len([found async for found in client.snapshots(session)]) == 1
        loaded = await client.load(session, tmp_path / "q", with_storage_state=True)
        assert scan(tmp_path / "q") == scan(top)
        assert loaded.storage_state == STATE
        with pytest.warns(errors.StorageStateWarning):
            assert (await client.save(session, top)).messages == 2, "the sidecar is that of the save"
        await asyncio.gather(*restarting)


async def test_a_save_whose_answer_was_lost_is_not_done_twice(
    mortal: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = fill(tmp_path / "p", {"f": b"x"})
    async with Client(mortal.target) as client:
        session = (await client.sessions.create("b")).session.id
        real, calls = connection.Connection.upload, list[str]()

        async def upload(self: connection.Connection, method: str, requests: object, answer: object) -> object:
            calls.append(method)
            await real(self, method, requests, answer)  # type: ignore[arg-type]
            raise errors.Unavailable("the answer was lost")

        monkeypatch.setattr(connection.Connection, "upload", upload)
        saved = await client.save(session, top)
        assert calls == ["SaveProfile"]
        assert (saved.messages, saved.session_etag) == (0, "")
        assert [found.id async for found in client.snapshots(session)] == [saved.snapshot.id]
        status = await client.save_status(session, saved.upload_id)
        assert (status.state, status.revision >= saved.revision) == (profile_pb2.SAVE_STATE_COMMITTED, True)


@pytest.mark.parametrize("what", ["files", "state"])
async def test_another_content_under_a_committed_upload_id_is_refused_also_when_the_stream_broke(
    what: str, mortal: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top, upload_id = fill(tmp_path / "p", {"f": b"x"}), str(uuid.uuid4())
    async with Client(mortal.target) as client:
        session = (await client.sessions.create("b")).session.id
        saved = await client.save(session, top, upload_id=upload_id)
        note = Sidecar.path(top).read_bytes()
        if what == "files":
            fill(top, {"f": b"another"})
        real, calls = connection.Connection.upload, list[str]()

        async def upload(self: connection.Connection, method: str, requests: object, answer: object) -> object:
            calls.append(method)
            if len(calls) == 1:
                raise errors.Unavailable("the stream broke")
            return await real(self, method, requests, answer)  # type: ignore[arg-type]

        monkeypatch.setattr(connection.Connection, "upload", upload)
        with pytest.raises(errors.Invalid) as caught:
            await client.save(session, top, upload_id=upload_id, storage_state=STATE if what == "state" else None)
        assert caught.value.reason == "REQUEST_ID_REUSED"
        assert len(calls) == 2
        assert Sidecar.path(top).read_bytes() == note
        assert [found.id async for found in client.snapshots(session)] == [saved.snapshot.id]


async def test_who_replaces_is_not_beaten_by_who_saves_in_between(
    mortal: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, top = fill(tmp_path / "p", {"f": b"x"}), fill(tmp_path / "q", {"g": noise(9000)})
    async with Client(mortal.target) as client, Client(mortal.target) as other:
        session = (await client.sessions.create("b")).session.id
        await client.save(session, first)
        real, heads, saved = connection.Connection.head, list[str](), list[str]()

        async def head(self: connection.Connection, session_id: str) -> str:
            heads.append(await real(self, session_id))
            if len(heads) <= 2:
                fill(first, {"f": str(len(heads)).encode()})
                saved.append((await other.save(session, first)).snapshot.id)
            return heads[-1]

        monkeypatch.setattr(connection.Connection, "head", head)
        replaced = await client.save(session, top, replace=True)
        assert len(heads) == 3 and replaced.snapshot.parent_snapshot_id == saved[-1] == heads[-1]
        assert len([found async for found in client.snapshots(session)]) == 4
        await client.load(session, tmp_path / "r")
        assert scan(tmp_path / "r") == scan(top)
        with pytest.raises(errors.ParentNotHead):
            await client.save(session, first)
        assert len(heads) == 3, "nothing is looked up without `replace`"


async def test_a_directory_of_another_namespace_is_another_sessions(mortal: Daemon, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {"f": b"x"})
    async with Client(mortal.target) as client, Client(mortal.target, namespace="default") as named:
        session = (await client.sessions.create("b")).session.id
        first = await client.save(session, top)
        told = f"session {session} in the caller's own namespace .* not of {session} in namespace default: "
        with pytest.raises(errors.LocalError, match=told) as caught:
            await named.save(session, top)
        assert caught.value.reason == "OTHER_SESSION"
        second = await named.save(session, top, replace=True)
        assert second.snapshot.parent_snapshot_id == first.snapshot.id


async def test_a_save_that_cannot_be_noted_is_a_save(mortal: Daemon, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {"f": b"x"})
    (Sidecar.path(top) / "in the way").mkdir(parents=True)
    async with Client(mortal.target) as client:
        session = (await client.sessions.create("b")).session.id
        with pytest.warns(errors.SidecarWarning, match="cannot be noted beside .*; once it can, save again with"):
            saved = await client.save(session, top)
        assert (await client.sessions.get(session)).session.head_snapshot_id == saved.snapshot.id
        shutil.rmtree(Sidecar.path(top))
        again = await client.save(session, top, upload_id=saved.upload_id)
        assert again.snapshot.id == saved.snapshot.id
        sidecar = Sidecar.read(top, "", session)
        assert sidecar is not None and sidecar.snapshot_id == saved.snapshot.id
        assert len([found async for found in client.snapshots(session)]) == 1


async def test_a_load_goes_on_after_the_daemon_was_killed(mortal: Daemon, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {f"f{number}": noise(1 << 20, number) for number in range(60)})
    async with Client(mortal.target) as client:
        session = (await client.sessions.create("b")).session.id
        await client.save(session, top)
        restarting: list[asyncio.Task[None]] = []

        def progress(came: int, total: int) -> None:
            if not restarting and came > 1 << 20:
                mortal.kill()
                restarting.append(asyncio.create_task(asyncio.to_thread(mortal.start)))

        await client.load(session, tmp_path / "q", progress=progress)
        await asyncio.gather(*restarting)
        assert restarting
        assert scan(tmp_path / "q") == scan(top)
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


async def test_a_load_that_is_cancelled_leaves_nothing_behind(mortal: Daemon, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {f"f{number}": noise(1 << 20, number) for number in range(20)})
    async with Client(mortal.target) as client:
        session = (await client.sessions.create("b")).session.id
        await client.save(session, top)
        began = asyncio.Event()
        loading = asyncio.create_task(client.load(session, tmp_path / "q", progress=lambda *_: began.set()))
        await began.wait()
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        assert {path.name for path in tmp_path.iterdir()} == {"p", "p.cloakroom.json", "data", "data.log"}


KILLED = """
import asyncio, os, signal, sys
from cloakroom import Client, install

def killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(install, sys.argv[4], killed)

async def main():
    async with Client(sys.argv[1]) as client:
        await client.load(sys.argv[2], sys.argv[3], replace=True)

asyncio.run(main())
"""


@pytest.mark.parametrize(("where", "behind"), [("_dress", True), ("exchange", False)])
async def test_what_a_killed_load_left_is_not_saved_and_goes_with_the_next(
    where: str, behind: bool, mortal: Daemon, tmp_path: Path
) -> None:
    top, target = fill(tmp_path / "p", {"Default/Cookies": b"logged in", "same": noise(9000)}), tmp_path / "q"
    async with Client(mortal.target) as client:
        session = (await client.sessions.create("b")).session.id
        await client.save(session, top)
        await client.load(session, target)
        fill(top, {"Default/Cookies": b"and again"})
        head = (await client.save(session, top)).snapshot.id
        await asyncio.sleep(0.05)
        if not behind:
            fill(target, {"same": b"changed"})
        command = [sys.executable, "-c", KILLED, mortal.target, session, str(target), where]
        ended = await asyncio.to_thread(subprocess.run, command, check=False)
        assert ended.returncode == -signal.SIGKILL
        assert not Sidecar.path(target).exists()
        assert target.exists() != behind
        fill(target, {"Default/Preferences": b"a browser's"})
        with pytest.raises(errors.LocalError, match=f"a load into {target} is under way or was cut off") as caught:
            await client.save(session, target)
        assert caught.value.reason == "LOAD_UNFINISHED"
        assert (await client.sessions.get(session)).session.head_snapshot_id == head
        await client.load(session, target, replace=True)
        assert scan(target) == scan(top)
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
        assert (await client.save(session, target)).snapshot.parent_snapshot_id == head


async def test_a_load_that_begins_while_a_save_looks_is_seen(
    mortal: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = fill(tmp_path / "p", {"Cookies": b"logged in", "f": b"x"})
    async with Client(mortal.target) as client:
        session = (await client.sessions.create("b")).session.id
        head = (await client.save(session, top)).snapshot.id
        real = tree.walk

        def walk(*arguments: Any) -> Any:
            aside = tmp_path / ".p.loading-1" / "aside"
            aside.mkdir(parents=True)
            Sidecar.path(top).rename(aside / "sidecar")
            (top / "Cookies").rename(aside / "Cookies")
            return real(*arguments)

        monkeypatch.setattr(tree, "walk", walk)
        with pytest.raises(errors.LocalError, match="LOAD_UNFINISHED"):
            await client.save(session, top)
        assert (await client.sessions.get(session)).session.head_snapshot_id == head


#: A program whose save is refused, and that ends then. The files are many messages, so that some are on their way.
REFUSED = """
import sys

from cloakroom import sync

target, session, top = sys.argv[1:]
with sync.Client(target) as client:
    try:
        client.save(session, top)
    except Exception as error:
        print(type(error).__name__)
"""


@pytest.mark.parametrize("megabytes", [0, 12])
def test_a_program_whose_save_was_refused_ends_quietly(megabytes: int, mortal: Daemon, tmp_path: Path) -> None:
    with sync.Client(mortal.target) as client:
        session = client.sessions.create("b").session.id
        client.save(session, fill(tmp_path / "first", {"prefs.js": b""}))
    files = {f"f{number}": noise(1 << 20, number) for number in range(megabytes)}
    top = fill(tmp_path / "another", {"prefs.js": b"", **files})
    for _ in range(5):
        command = [sys.executable, "-c", REFUSED, mortal.target, session, str(top)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert (ended.stdout, ended.stderr) == ("ParentNotHead\n", "")


@pytest.mark.parametrize("how", ["refused", "cancelled", "killed"])
async def test_nothing_of_a_save_that_failed_runs_on(
    how: str, mortal: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, reading, steps = wire.pack, 0, 0
    loop, some = asyncio.get_running_loop(), asyncio.Event()

    def pack(*args: Any) -> Iterator[profile_pb2.ProfileRecords]:
        nonlocal reading, steps
        for records in real(*args):
            reading, steps = reading + 1, steps + 1
            if steps == 3:
                loop.call_soon_threadsafe(some.set)
            time.sleep(0.2)
            reading -= 1
            yield records

    monkeypatch.setattr(wire, "pack", pack)
    async with Client(mortal.target, patience=0.2) as client:
        session = (await client.sessions.create("b")).session.id
        if how == "refused":
            await client.save(session, fill(tmp_path / "first", {"prefs.js": b""}))
            steps = 0
        top = fill(tmp_path / "p", {f"f{number}": noise(1 << 20, number) for number in range(30)})
        saving = asyncio.create_task(client.save(session, top))
        if how != "refused":
            await some.wait()
            saving.cancel() if how == "cancelled" else mortal.kill()
        await asyncio.wait([saving])
        assert saving.cancelled() if how == "cancelled" else saving.exception()
        assert (reading, steps < 20) == (0, True)
        before = steps
        await asyncio.sleep(0.5)
        assert steps == before
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_a_directory_without_its_sidecar_is_told_so(mortal: Daemon, tmp_path: Path) -> None:
    async with Client(mortal.target) as client:
        session = (await client.sessions.create("b")).session.id
        top = fill(tmp_path / "p", {"prefs.js": b"x"})
        await client.save(session, top)
        moved = top.rename(tmp_path / "moved")
        with pytest.raises(errors.ParentNotHead) as caught:
            await client.save(session, moved)
        advice = f"there is no {moved}.cloakroom.json that could be read: if the directory was moved, move that with it"
        assert caught.value.help[-1] == advice
        assert str(caught.value).endswith(f"; {advice} [PARENT_NOT_HEAD]")
        Sidecar.path(top).rename(Sidecar.path(moved))
        await client.load(session, tmp_path / "q")
        fill(tmp_path / "q", {"prefs.js": b"y"})
        await client.save(session, tmp_path / "q")
        with pytest.raises(errors.ParentNotHead) as caught:
            await client.save(session, moved)
        assert "cloakroom.json" not in f"{caught.value} {caught.value.help}", "it has one"


def test_the_synchronous_client_does_the_same(mortal: Daemon, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {"d/f": noise(100_000)})
    with sync.Client(mortal.target) as client:
        session = client.sessions.create("b").session.id
        client.sessions.storage_state.put(session, STATE)
        assert client.sessions.storage_state.get(session).storage_state == STATE
        with client.watch([selector(session_id=session)]) as watch:
            saved = client.save(session, top)
            kinds = [next(watch).kind, next(watch).kind]
            assert kinds == ["opened", "changes"]
            assert watch.resume_token
        loaded = client.load(session, tmp_path / "q")
        assert loaded.snapshot.id == saved.snapshot.id
        assert scan(tmp_path / "q") == scan(top)
        assert [found.id for found in client.snapshots(session)] == [saved.snapshot.id]
        assert [found.id for found in client.sessions.list(business_id="b")] == [session]
        with pytest.raises(errors.NotFound):
            client.sessions.get("never-was")
