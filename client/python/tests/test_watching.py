# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""How a watch ends, and what a worker hands on, against a real daemon."""

import asyncio
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import scan
from daemon import Daemon
from test_daemon import fill

from cloakroom import Client, errors, selector, sync


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    running = Daemon(tmp_path_factory.mktemp("daemon") / "data")
    yield running
    running.stop()


PROGRAM = """
import asyncio, signal, sys
from cloakroom import Client

async def main():
    async with Client(sys.argv[1]) as client, client.watch() as watch:
        if sys.argv[2] == "stop":
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, watch.stop)
        async for event in watch:
            print(event, flush=True)
    print("done", flush=True)

asyncio.run(main())
"""


def interrupted(daemon: Daemon, how: str) -> tuple[str, str, int]:
    """Runs a watcher, interrupts it after its first event, and answers what it said."""
    command = [sys.executable, "-X", "dev", "-c", PROGRAM, daemon.target, how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        rest, failure = process.communicate(timeout=30)
        return first + rest, failure, process.returncode


def test_a_signal_handler_ends_a_watch_as_after_its_last_event(daemon: Daemon) -> None:
    said, failure, code = interrupted(daemon, "stop")
    assert said.startswith("opened at revision ") and said.endswith("\ndone\n")
    assert (failure, code) == ("", 0)


def test_an_interrupt_without_a_handler_tells_nothing_of_the_inside(daemon: Daemon) -> None:
    said, failure, code = interrupted(daemon, "not")
    assert "done" not in said and code == -signal.SIGINT
    assert failure.rstrip().endswith("KeyboardInterrupt")
    frames = [line.split('"')[1] for line in failure.splitlines() if line.strip().startswith("File ")]
    ours = [frame for frame in frames if "cloakroom" in frame or "grpc" in frame]
    assert [Path(frame).name for frame in ours] == ["watch.py"], "one line: where the program waited"
    assert "never" not in failure and "ignored" not in failure, "nothing is left lying about"


async def test_a_stopped_watch_stays_stopped_and_a_cancelled_one_is_cancelled(daemon: Daemon) -> None:
    async with Client(daemon.target) as client:
        async with client.watch() as watch:
            asyncio.get_running_loop().call_later(0.2, watch.stop)
            assert [event.kind async for event in watch] == ["opened"]
            assert [event async for event in watch] == []
        async with client.watch() as watch:
            await client.sessions.create("b")
            async for event in watch:
                if event.changes:
                    watch.stop()
            assert watch.resume_token == event.resume_token, "it was applied"
        async with client.watch() as watch:
            assert (await anext(watch)).kind == "opened"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(watch), 0.2)
        async with client.watch() as watch:

            async def follow() -> None:
                async for _ in watch:
                    pass

            following = asyncio.create_task(follow())
            await asyncio.sleep(0.2)
            following.cancel()
            watch.stop()
            with pytest.raises(asyncio.CancelledError):
                await following


async def test_a_watch_survives_who_gives_up_waiting(daemon: Daemon) -> None:
    async with (
        Client(daemon.target) as client,
        client.watch([selector(business_id="patient")], bookmark_interval=60.0) as watch,
    ):
        assert (await anext(watch)).kind == "opened"
        token = watch.resume_token
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(watch), 0.05)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await anext(watch)
        made = await client.sessions.create("patient")
        await asyncio.sleep(0.3)  # it comes while nobody waits
        event = await asyncio.wait_for(anext(watch), 20)
        assert [change.session_id for change in event.changes] == [made.session.id]
        assert event.resume_token != watch.resume_token != token, "the one before is applied, this one not yet"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(watch), 0.05)
        assert watch.resume_token == event.resume_token
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0.05)
        await watch.close()
        with pytest.raises(StopAsyncIteration):
            await waiting
        assert [event async for event in watch] == []


def test_the_synchronous_watch_stops_alike(daemon: Daemon) -> None:
    with sync.Client(daemon.target) as client, client.watch() as watch:
        threading.Timer(0.3, watch.stop).start()
        assert [event.kind for event in watch] == ["opened"]


async def test_what_one_worker_told_of_a_profile_the_next_hands_on(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "a" / "Default").mkdir(parents=True)
    (tmp_path / "a" / "Default" / "Preferences").write_text("{}")
    (tmp_path / "a" / "Last Version").write_text("156.0.8078.79")
    async with Client(daemon.target) as client:
        session = (await client.sessions.create("b")).session.id
        first = await client.save(session, tmp_path / "a", brand="chromium", password_store="basic")
        loaded = await client.load(session, tmp_path / "b")
        (tmp_path / "b" / "Default" / "Preferences").write_text('{"a":1}')
        (tmp_path / "b" / "Last Version").unlink()
        second = await client.save(session, tmp_path / "b")
        third = await client.save(session, tmp_path / "b")
        given = await client.save(session, tmp_path / "b", brand="chrome")
    facts = first.snapshot.portability
    assert (facts.brand, facts.password_store, facts.browser_version) == ("chromium", "basic", "156.0.8078.79")
    assert loaded.snapshot.portability == second.snapshot.portability == third.snapshot.portability == facts
    assert (given.snapshot.portability.brand, given.snapshot.portability.password_store) == ("chrome", "basic")


async def test_saving_what_is_no_profile_is_warned_of(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    async with Client(daemon.target) as client:
        session = (await client.sessions.create("b")).session.id
        with pytest.warns(errors.NotAProfileWarning, match="empty has nothing to save: give the browser's user data"):
            await client.save(session, tmp_path / "empty", force=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error", errors.NotAProfileWarning)  # whoever wants an error gets one, in time
            before = (await client.sessions.get(session)).session.etag
            with pytest.raises(errors.NotAProfileWarning):
                await client.save(session, tmp_path / "empty", force=True)
            assert (await client.sessions.get(session)).session.etag == before


async def test_a_load_makes_the_directories_above(daemon: Daemon, tmp_path: Path) -> None:
    async with Client(daemon.target) as client:
        session = (await client.sessions.create("b")).session.id
        top = fill(tmp_path / "p", {"prefs.js": b"x"})
        await client.save(session, top)
        await client.load(session, tmp_path / "a" / "b" / "q")
        assert scan(tmp_path / "a" / "b" / "q") == scan(top)
        assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == ["q", "q.cloakroom.json"]
        with pytest.raises(errors.NotFound):
            await client.load("never-was", tmp_path / "c" / "q")
        assert not (tmp_path / "c").exists()


async def test_a_load_says_whose_profile_is_there(daemon: Daemon, tmp_path: Path) -> None:
    async with Client(daemon.target) as client:
        session = (await client.sessions.create("b")).session.id
        top = fill(tmp_path / "p", {"prefs.js": b"x"})
        await client.save(session, top)
        other = (await client.sessions.create("b")).session.id
        for one in (session, other):
            with pytest.raises(errors.LocalError) as caught:
                await client.load(one, top)
            assert str(caught.value) == (
                f"{top} is there already (it is the profile of session {session}): load into another directory, or say "
                "replace=True [TARGET_EXISTS]"
            )
