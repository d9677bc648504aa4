# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""The scenarios of `client/scenarios.md`, each under its name, against a real daemon."""

import asyncio
import json
import os
import random
import re
import shutil
import socket
import sqlite3
import time
import uuid
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from conftest import CLIENT, scan
from daemon import Daemon, free_port

from cloakroom import (
    Client,
    CloakroomError,
    SaveResult,
    Watch,
    enum_name,
    errors,
    kind_name,
    selector,
    tree,
    wire,
)
from cloakroom.capture import Capture
from cloakroom.profiles import diff
from cloakroom.sidecar import Sidecar
from cloakroom.tree import walk
from cloakroom.v1 import admin_pb2, invalidation_pb2, profile_pb2, profile_pb2_grpc, session_pb2

LEAF = 4096
SIZES = [0, 1, 4095, 4096, 4097, (1 << 20) + 1]
COOKIE = (
    '"name":"sid","value":"1","domain":"a.test","path":"/","expires":-1,"httpOnly":true,"secure":true,"sameSite":"Lax"'
)
STATE = ('{"cookies":[{' + COOKIE + '}],"origins":[],"x-own":{"a":[1]}}').encode()


@pytest.fixture
def business() -> str:
    return f"business-{uuid.uuid4()}"


@pytest.fixture
async def session(client: Client, business: str) -> str:
    return (await client.sessions.create(business, session_id=f"s{uuid.uuid4().hex}")).session.id


@asynccontextmanager
async def refused(
    client: Client, session_id: str, *reasons: str
) -> AsyncIterator[pytest.ExceptionInfo[CloakroomError]]:
    """The block must fail for one of the reasons, and the session must be as before."""
    before = (await client.sessions.get(session_id)).session
    with pytest.raises(CloakroomError) as caught:
        yield caught
    assert caught.value.reason in reasons, caught.value
    after = (await client.sessions.get(session_id)).session
    assert (after.etag, after.head_snapshot_id) == (before.etag, before.head_snapshot_id)


def failure(caught: pytest.ExceptionInfo[CloakroomError]) -> str:
    return caught.value.reason


def fill(top: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(data)
    return top


async def settle() -> None:
    """Lets the file system's clock move on, so that what was written before counts as old."""
    await asyncio.sleep(0.05)


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


async def kinds(watch: Watch, count: int, patience: float = 20.0) -> list[invalidation_pb2.Change]:
    """The next changes, at least that many."""
    changes: list[invalidation_pb2.Change] = []
    async with asyncio.timeout(patience):
        while len(changes) < count:
            event = await anext(watch)
            assert event.kind != "reset", event
            changes += event.changes
    return changes


def names(changes: list[invalidation_pb2.Change]) -> list[str]:
    return [invalidation_pb2.ChangeKind.Name(change.kind).removeprefix("CHANGE_KIND_") for change in changes]


def test_every_scenario_has_a_test() -> None:
    listed = re.findall(r"^- `([a-z-]+)`:", (CLIENT / "scenarios.md").read_text(encoding="utf-8"), re.MULTILINE)
    files = [Path(__file__), Path(__file__).with_name("test_mounts.py")]
    tests = re.findall(r"^(?:async )?def test_(\w+)", "".join(map(Path.read_text, files)), re.MULTILINE)
    assert len(tests) == len(set(tests))
    here = {name.replace("_", "-") for name in tests}
    assert len(listed) == len(set(listed)) > 50
    assert here - {"every-scenario-has-a-test"} == set(listed)


# --- the daemon


async def test_server_info(client: Client) -> None:
    info = await client.server_info()
    assert info.version and info.instance_id and info.namespace == "default" and info.history
    assert info.metadata.health == info.blobs.health == admin_pb2.STORE_HEALTH_OK
    limits = info.limits
    assert (
        min(
            limits.message_bytes,
            limits.storage_state_bytes,
            limits.profile_entries,
            limits.profile_bytes,
            limits.page_size,
        )
        > 0
    )


async def test_daemon_gone(tmp_path: Path) -> None:
    target = f"127.0.0.1:{free_port()}"
    began = time.monotonic()
    async with Client(target) as lonely:
        with pytest.raises(errors.Unavailable, match=f"{target}.*connection refused"):
            await lonely.sessions.get("s")
    assert time.monotonic() - began < 5


# --- sessions


async def test_create_get_update_delete(client: Client, business: str) -> None:
    name = f"s{uuid.uuid4().hex}"
    made = await client.sessions.create(
        business, session_id=name, email="User@Example.test", labels={"a": "1", "b": "2"}, ttl=3600
    )
    got = await client.sessions.get(name, min_revision=made.revision)
    assert got.session == made.session
    assert (got.session.business_id, got.session.email, dict(got.session.labels)) == (
        business,
        "User@Example.test",
        {"a": "1", "b": "2"},
    )
    assert (got.session.state, got.session.ttl.seconds) == (session_pb2.SESSION_STATE_PENDING, 3600)
    changed = await client.sessions.update(name, labels={"c": "3"}, email="other@example.test")
    assert (changed.session.email, dict(changed.session.labels)) == ("other@example.test", {"c": "3"})
    assert (changed.session.business_id, changed.session.ttl.seconds) == (business, 3600)
    assert changed.session.etag != made.session.etag
    gone = await client.sessions.delete(name)
    assert gone.session.state == session_pb2.SESSION_STATE_DELETED
    with pytest.raises(errors.SessionDeleted) as caught:
        await client.sessions.get(name)
    assert failure(caught) == "SESSION_DELETED"
    await client.sessions.delete(name)
    assert made.revision < changed.revision < gone.revision


async def test_create_twice(client: Client, business: str) -> None:
    name, request_id = f"s{uuid.uuid4().hex}", str(uuid.uuid4())
    made = await client.sessions.create(business, session_id=name, request_id=request_id)
    with pytest.raises(errors.AlreadyExists) as caught:
        await client.sessions.create(business, session_id=name)
    assert failure(caught) == "SESSION_EXISTS"
    again = await client.sessions.create(business, session_id=name, request_id=request_id)
    assert (again.session.id, again.revision) == (name, made.revision)


async def test_batch_get_mixed(client: Client, business: str) -> None:
    one = (await client.sessions.create(business)).session.id
    two = (await client.sessions.create(business)).session.id
    answer = await client.sessions.batch_get([two, "no-such-session", one])
    assert [found.id for found in answer.sessions] == [two, one]
    assert list(answer.missing_session_ids) == ["no-such-session"]


async def test_undelete(client: Client, session: str, tmp_path: Path) -> None:
    await client.sessions.transition(session, "ACTIVE")
    await client.sessions.storage_state.put(session, STATE)
    saved = await client.save(session, fill(tmp_path / "p", {"f": b"x"}))
    await client.sessions.delete(session)
    await client.sessions.undelete(session)
    back = (await client.sessions.get(session)).session
    assert (back.state, back.head_snapshot_id) == (session_pb2.SESSION_STATE_ACTIVE, saved.snapshot.id)
    assert (await client.sessions.storage_state.get(session)).storage_state == STATE


async def test_list_pages(client: Client, business: str) -> None:
    made = [
        (await client.sessions.create(business, labels={"odd": str(number % 2)})).session.id for number in range(25)
    ]
    await client.sessions.transition(made[3], "ACTIVE")
    assert [found.id async for found in client.sessions.list(business_id=business, page_size=10)] == made
    odd = [found.id async for found in client.sessions.list(business_id=business, labels={"odd": "1"}, page_size=10)]
    assert odd == made[1::2]
    active = [found.id async for found in client.sessions.list(business_id=business, states=["ACTIVE"])]
    assert active == [made[3]]


async def test_active_most_recent(client: Client, business: str) -> None:
    email = f"{uuid.uuid4().hex}@example.test"
    one = (await client.sessions.create(business, email=email)).session.id
    two = (await client.sessions.create(business)).session.id
    with pytest.raises(errors.NotFound):
        await client.sessions.active(business_id=business)
    for name in (one, two, one):
        await client.sessions.transition(name, "ACTIVE")
        await client.sessions.touch(name)
        assert (await client.sessions.active(business_id=business)).session.id == name
    assert (await client.sessions.active(email=f"  {email.upper()} ")).session.id == one


async def test_touch_moves_expiry(client: Client, session: str) -> None:
    before = (await client.sessions.get(session)).session
    await asyncio.sleep(0.02)
    touched = await client.sessions.touch(session)
    after = (await client.sessions.get(session)).session
    assert touched.expire_time.ToNanoseconds() > before.expire_time.ToNanoseconds()
    assert after.expire_time.ToNanoseconds() >= touched.expire_time.ToNanoseconds()
    assert after.etag == before.etag


async def test_transition_and_illegal(client: Client, session: str) -> None:
    active = await client.sessions.transition(session, "ACTIVE", reason="logged in")
    assert (active.session.state, active.session.state_reason) == (session_pb2.SESSION_STATE_ACTIVE, "logged in")
    needs = await client.sessions.transition(session, "NEEDS_LOGIN", reason="logged out by the site")
    assert needs.session.state_reason == "logged out by the site"
    await client.sessions.transition(session, "ACTIVE")
    async with refused(client, session, "ILLEGAL_TRANSITION") as caught:
        await client.sessions.transition(session, "PENDING")
    assert isinstance(caught.value, errors.Refused)


async def test_resolve_prefix(client: Client, business: str) -> None:
    stem = uuid.uuid4().hex
    for end in ("ab1", "ab2", "c"):
        await client.sessions.create(business, session_id=stem + end)
    assert (await client.sessions.resolve(stem + "c")).session.id == stem + "c"
    with pytest.raises(errors.Refused) as ambiguous:
        await client.sessions.resolve(stem + "ab")
    assert failure(ambiguous) == "PREFIX_AMBIGUOUS"
    with pytest.raises(errors.NotFound) as nothing:
        await client.sessions.resolve(stem + "x")
    assert failure(nothing) == "SESSION_NOT_FOUND"


async def test_stale_etag(client: Client, session: str) -> None:
    old = (await client.sessions.get(session)).session.etag
    new = (await client.sessions.update(session, labels={"a": "1"})).session.etag
    async with refused(client, session, "ETAG_MISMATCH") as caught:
        await client.sessions.update(session, labels={"a": "2"}, etag=old)
    assert isinstance(caught.value, errors.EtagMismatch)
    await client.sessions.update(session, labels={"a": "2"}, etag=new)
    first = await client.sessions.storage_state.put(session, STATE)
    second = await client.sessions.storage_state.put(session, STATE, etag=first.etag)
    assert first.etag != second.etag
    with pytest.raises(errors.EtagMismatch):
        await client.sessions.storage_state.put(session, STATE, etag=first.etag)


async def test_lease_token_wrong(client: Client, session: str, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {"f": b"x"})
    never = 123_456_789
    calls: list[Callable[[], Any]] = [
        lambda: client.sessions.update(session, labels={"a": "1"}, lease_token=never),
        lambda: client.sessions.storage_state.put(session, STATE, lease_token=never),
        lambda: client.save(session, top, lease_token=never),
    ]
    for call in calls:
        async with refused(client, session, "LEASE_FENCED") as caught:
            await call()
        assert isinstance(caught.value, errors.LeaseFenced)
    assert not Sidecar.path(top).exists()


async def test_bad_input_names_field(client: Client, business: str) -> None:
    async def first_page(size: int) -> None:
        async for _ in client.sessions.list(page_size=size):
            return

    calls: list[tuple[str, Callable[[], Any]]] = [
        ("business_id", lambda: client.sessions.create("")),
        ("ttl", lambda: client.sessions.create(business, ttl=1)),
        ("labels", lambda: client.sessions.create(business, labels={"UPPER": "x"})),
        ("page_size", lambda: first_page(501)),
    ]
    for field, call in calls:
        with pytest.raises(errors.Invalid) as caught:
            await call()
        assert failure(caught) == "INVALID_FIELD"
        assert any(field in named for named, _ in caught.value.violations), caught.value.violations


async def test_not_found_is_typed(client: Client, tmp_path: Path) -> None:
    with pytest.raises(errors.NotFound) as caught:
        await client.sessions.get("never-was")
    assert failure(caught) == "SESSION_NOT_FOUND"
    with pytest.raises(errors.NotFound) as caught:
        await client.save("never-was", fill(tmp_path / "p", {"f": b"x"}))
    assert failure(caught) == "SESSION_NOT_FOUND"


# --- storage states


async def test_storage_state_roundtrip(client: Client, session: str) -> None:
    with pytest.raises(errors.NotFound) as caught:
        await client.sessions.storage_state.get(session)
    assert failure(caught) == "STORAGE_STATE_NOT_FOUND"
    put = await client.sessions.storage_state.put(session, STATE)
    got = await client.sessions.storage_state.get(session)
    assert (got.storage_state, got.etag) == (STATE, put.etag)
    assert (await client.sessions.get(session)).session.storage_state_revision == put.revision
    await client.sessions.storage_state.put(session, {"cookies": [], "origins": []})
    assert json.loads((await client.sessions.storage_state.get(session)).storage_state) == {
        "cookies": [],
        "origins": [],
    }


async def test_storage_state_invalid(client: Client, session: str) -> None:
    await client.sessions.storage_state.put(session, STATE)
    for bad in (b"no JSON", b'{"origins":[]}', b'{"cookies":{},"origins":[]}'):
        async with refused(client, session, "STORAGE_STATE_INVALID"):
            await client.sessions.storage_state.put(session, bad)
    assert (await client.sessions.storage_state.get(session)).storage_state == STATE


async def test_storage_state_with_profile(client: Client, session: str, tmp_path: Path) -> None:
    entries = [{"name": f"key{number}", "value": noise(600, number).hex()} for number in range(3000)]
    state = json.dumps({"cookies": [], "origins": [{"origin": "https://a.test", "localStorage": entries}]}).encode()
    assert len(state) > 3 << 20
    saved = await client.save(session, fill(tmp_path / "p", {"f": b"x"}), storage_state=state)
    assert saved.snapshot.has_storage_state
    loaded = await client.load(session, tmp_path / "q")
    assert loaded.storage_state == state
    assert (await client.load(session, tmp_path / "r", with_storage_state=False)).storage_state is None
    with pytest.raises(errors.Refused) as caught:
        await client.sessions.storage_state.get(session)
    assert failure(caught) == "STORAGE_STATE_TOO_LARGE"


# --- save and load


async def test_save_load_roundtrip(client: Client, session: str, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {f"d{size % 7}/f{size}": noise(size) for size in SIZES})
    saved = await client.save(session, top)
    loaded = await client.load(session, tmp_path / "q")
    assert scan(tmp_path / "q") == scan(top)
    mine = tree.manifest_root(scan(top).values())
    assert loaded.snapshot.manifest_root == saved.snapshot.manifest_root == mine
    assert (saved.snapshot.head, saved.snapshot.total_bytes) == (True, sum(SIZES))
    assert (await client.sessions.get(session)).session.head_snapshot_id == saved.snapshot.id == loaded.snapshot.id


async def test_empty_dirs_links_modes(client: Client, session: str, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {"d/f": b"f", "read only": b"r", "\u00e9/\U0001f36a": b"n", "run": b"x"})
    (top / "empty" / "in empty").mkdir(parents=True)
    (top / "d" / "up").symlink_to("../run")
    (top / "dangling").symlink_to("gone/far")
    (top / "read only").chmod(0o400)
    (top / "run").chmod(0o755)
    (top / "d").chmod(0o750)
    os.utime(top / "run", ns=(0, 1_700_000_000_123_456_789))
    os.utime(top / "read only", ns=(0, -86_400_000_000_001))
    os.utime(top / "empty", ns=(0, 1))
    await client.save(session, top)
    await client.load(session, tmp_path / "q")
    assert scan(tmp_path / "q") == scan(top)
    assert (tmp_path / "q" / "run").stat().st_mtime_ns == 1_700_000_000_123_456_789
    assert (tmp_path / "q" / "dangling").readlink() == Path("gone/far")


async def test_load_empty_session(client: Client, session: str, tmp_path: Path) -> None:
    async with refused(client, session, "PROFILE_EMPTY") as caught:
        await client.load(session, tmp_path / "q")
    assert isinstance(caught.value, errors.ProfileEmpty)
    assert list(tmp_path.iterdir()) == []


async def test_load_target_exists(client: Client, session: str, tmp_path: Path) -> None:
    await client.save(session, fill(tmp_path / "p", {"f": b"new"}))
    target = fill(tmp_path / "q", {"old": b"old"})
    with pytest.raises(errors.LocalError) as caught:
        await client.load(session, target)
    assert failure(caught) == "TARGET_EXISTS"
    assert (target / "old").read_bytes() == b"old"
    await client.load(session, target, replace=True)
    assert [path.name for path in target.iterdir()] == ["f"]


async def test_capture_rules_apply(client: Client, session: str, tmp_path: Path) -> None:
    kept = {
        "Default/Cookies": b"c",
        "Default/Cookies-journal": b"j",
        "Default/IndexedDB/x/CURRENT": b"i",
        "Local State": b"{}",
    }
    dropped = {
        "Default/Cache/data_0": b"x",
        "Default/GPUCache/x": b"x",
        "DevToolsActivePort": b"1",
        "Default/IndexedDB/x/LOCK": b"",
    }
    top = fill(tmp_path / "p", kept | dropped | {"Default/History": b"h"})
    saved = await client.save(session, top, exclude=["History"])
    await client.load(session, tmp_path / "q")
    files = {
        str(path.relative_to(tmp_path / "q")): path.read_bytes()
        for path in (tmp_path / "q").rglob("*")
        if path.is_file()
    }
    assert files == kept
    assert saved.snapshot.portability.capture_policy == "default"
    assert saved.snapshot.portability.quiesced


async def test_live_browser_refused(client: Client, session: str, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {"f": b"x"})
    (top / "SingletonLock").symlink_to(f"{socket.gethostname()}-{os.getpid()}")
    async with refused(client, session, "PROFILE_BUSY") as caught:
        await client.save(session, top)
    assert str(os.getpid()) in caught.value.message
    saved = await client.save(session, top, force=True)
    assert saved.snapshot.portability.quiesced is False


async def test_first_save_without_sidecar(client: Client, session: str, tmp_path: Path) -> None:
    first = await client.save(session, fill(tmp_path / "p", {"old": b"old", "same": noise(9000)}))
    assert first.snapshot.parent_snapshot_id == ""
    other = fill(tmp_path / "other", {"new": b"new", "same": noise(9000)})
    async with refused(client, session, "PARENT_NOT_HEAD") as caught:
        await client.save(session, other)
    assert caught.value.metadata["head_snapshot_id"] == first.snapshot.id
    assert not Sidecar.path(other).exists()
    second = await client.save(session, other, replace=True)
    assert second.snapshot.parent_snapshot_id == first.snapshot.id
    await client.load(session, tmp_path / "q")
    assert scan(tmp_path / "q") == scan(other)
    assert (await client.save(session, other, replace=True)).messages == 2, "from the head itself, a difference"


@asynccontextmanager
async def unheard() -> AsyncIterator[Client]:
    """A client whose daemon hears nothing in this block: not a connection is made."""
    heard = asyncio.Event()

    def hear(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set()
        writer.close()

    async with await asyncio.start_server(hear, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Client(f"127.0.0.1:{port}", patience=0.5, timeout=2) as lonely:
            yield lonely
            await settle()
            assert not heard.is_set()
            with pytest.raises(errors.Unavailable):
                await lonely.sessions.get("s")
            assert heard.is_set(), "it would have been heard"


async def test_save_into_another_session(client: Client, business: str, session: str, tmp_path: Path) -> None:
    theirs = (await client.sessions.create(business)).session.id
    await client.save(theirs, fill(tmp_path / "p", {"f": b"theirs"}))
    await client.load(theirs, tmp_path / "q")
    before = await client.save(session, fill(tmp_path / "mine", {"f": b"mine"}))
    async with unheard() as lonely, refused(client, session, "OTHER_SESSION") as caught:
        await lonely.save(session, tmp_path / "q")
    assert isinstance(caught.value, errors.LocalError)
    assert f"the profile of session {theirs} " in caught.value.message
    assert f"{tmp_path / 'q.cloakroom.json'} says so), not of {session}" in caught.value.message
    saved = await client.save(session, tmp_path / "q", replace=True)
    assert saved.snapshot.parent_snapshot_id == before.snapshot.id
    assert (await client.sessions.get(session)).session.head_snapshot_id == saved.snapshot.id
    await client.load(session, tmp_path / "back")
    assert scan(tmp_path / "back") == scan(tmp_path / "q")
    assert (await client.save(session, tmp_path / "q")).snapshot.parent_snapshot_id == saved.snapshot.id, "its own now"


async def test_save_nothing_refused(client: Client, session: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    fill(tmp_path / "caches", {"ShaderCache/data_0": b"x", "SingletonLock": b""})
    for name in ("empty", "caches"):
        async with unheard() as lonely, refused(client, session, "NOTHING_TO_SAVE") as caught:
            await lonely.save(session, tmp_path / name)
        assert isinstance(caught.value, errors.LocalError)
        assert f"nothing in {tmp_path / name} belongs to a profile (capture policy default)" in caught.value.message
    saved = await client.save(session, tmp_path / "caches", force=True)
    assert saved.snapshot.entry_count == 0


async def test_replace_after_lost_race(client: Client, session: str, tmp_path: Path) -> None:
    await client.save(session, fill(tmp_path / "p", {"f": b"0", "same": noise(9000)}))
    for worker in ("one", "two"):
        await client.load(session, tmp_path / worker)
        fill(tmp_path / worker, {"f": worker.encode()})
    won = await client.save(session, tmp_path / "one")
    async with refused(client, session, "PARENT_NOT_HEAD"):
        await client.save(session, tmp_path / "two")
    second = await client.save(session, tmp_path / "two", replace=True)
    assert second.snapshot.parent_snapshot_id == won.snapshot.id
    found = [snapshot.id async for snapshot in client.snapshots(session)]
    assert found[:2] == [second.snapshot.id, won.snapshot.id]
    await client.load(session, tmp_path / "q")
    assert scan(tmp_path / "q") == scan(tmp_path / "two")


async def test_load_never_replaces_unasked(client: Client, session: str, tmp_path: Path) -> None:
    await client.save(session, fill(tmp_path / "p", {"f": noise(2 << 20)}))
    target = tmp_path / "q"

    def progress(*_: int) -> None:
        fill(target, {"mine": b"mine"})

    with pytest.raises(errors.LocalError) as caught:
        await client.load(session, target, progress=progress)
    assert failure(caught) == "TARGET_EXISTS"
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {"mine": b"mine"}
    assert {path.name for path in tmp_path.iterdir()} == {"p", "p.cloakroom.json", "q"}


async def test_storage_state_left_out_warns(client: Client, session: str, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {"f": b"x"})
    for place in (top, tmp_path / "q"):
        saved = await client.save(session, top, storage_state=STATE)
        if place != top:
            await client.load(session, place)
        with pytest.warns(errors.StorageStateWarning, match="session cookies are no longer in what is loaded"):
            without = await client.save(session, place)
        assert without.snapshot.parent_snapshot_id == saved.snapshot.id
        assert not without.snapshot.has_storage_state
        with warnings.catch_warnings():
            warnings.simplefilter("error", errors.StorageStateWarning)
            await client.save(session, place)


async def test_delta_save_bytes(client: Client, session: str, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {f"f{number}": noise(1 << 20, number) for number in range(8)})
    await client.save(session, top)
    with (top / "f3").open("r+b") as file:
        file.seek(77 * LEAF)
        file.write(noise(LEAF, 99))
    saved = await client.save(session, top)
    assert LEAF <= saved.wire_bytes < 64 << 10
    await client.load(session, tmp_path / "q")
    assert scan(tmp_path / "q") == scan(top)


async def test_idle_save_no_content(client: Client, session: str, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {"d/f": noise(100_000)})
    first = await client.save(session, top)
    second = await client.save(session, top)
    assert second.messages == 2, "begin and end"
    assert second.snapshot.manifest_root == first.snapshot.manifest_root
    assert second.wire_bytes < 1024


async def test_moved_file_copies(client: Client, session: str, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {"old": noise(1 << 20)})
    await client.save(session, top)
    (top / "old").rename(top / "new")
    saved = await client.save(session, top)
    assert saved.wire_bytes < 16 << 10
    await client.load(session, tmp_path / "q")
    assert scan(tmp_path / "q") == scan(top)


async def one_behind(client: Client, session: str, tmp_path: Path) -> tuple[Path, SaveResult]:
    """A directory that another worker's save left one snapshot behind."""
    top = fill(tmp_path / "p", {f"d/f{number}": noise(300_000, number) for number in range(10)})
    await client.save(session, top)
    await client.load(session, tmp_path / "behind")
    await settle()
    with (top / "d" / "f1").open("r+b") as file:
        file.write(noise(LEAF, 50))
    (top / "d" / "f2").unlink()
    (top / "d" / "f3").rename(top / "moved")
    return tmp_path / "behind", await client.save(session, top)


async def test_delta_load(client: Client, session: str, tmp_path: Path) -> None:
    behind, saved = await one_behind(client, session, tmp_path)
    before = (behind / "d" / "f5").stat().st_ino
    beside = await client.load(session, tmp_path / "beside", have=behind)
    assert beside.base_snapshot_id == saved.snapshot.parent_snapshot_id
    assert LEAF <= beside.content_bytes < 64 << 10
    assert scan(tmp_path / "beside") == scan(tmp_path / "p")
    in_place = await client.load(session, behind, replace=True)
    assert in_place.content_bytes == beside.content_bytes
    assert scan(behind) == scan(tmp_path / "p")
    assert (behind / "d" / "f5").stat().st_ino == before, "an unchanged file is the very same one"


async def test_delta_load_dirty_have(client: Client, session: str, tmp_path: Path) -> None:
    behind, _ = await one_behind(client, session, tmp_path)
    (behind / "d" / "f6").write_bytes(b"changed since")
    loaded = await client.load(session, tmp_path / "beside", have=behind)
    assert loaded.base_snapshot_id == ""
    assert scan(tmp_path / "beside") == scan(tmp_path / "p")
    assert (behind / "d" / "f6").read_bytes() == b"changed since"
    await client.load(session, behind, replace=True)
    assert scan(behind) == scan(tmp_path / "p")


@pytest.mark.parametrize("left", [".p.cloakroom-load/former", ".p.loading-12ab/aside", "p.cloakroom-h-1-12ab34cd/old"])
async def test_save_after_killed_load(left: str, client: Client, session: str, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {"Default/Cookies": b"logged in"})
    saved = await client.save(session, top)
    Sidecar.path(top).unlink()
    (tmp_path / left).parent.mkdir()
    top.rename(tmp_path / left)
    for made in ({}, {"Default/Preferences": b"a browser's"}):
        fill(top, made)
        async with refused(client, session, "LOAD_UNFINISHED") as caught:
            await client.save(session, top)
        assert str(top) in str(caught.value) and str((tmp_path / left).parent) in str(caught.value)
    assert [found.id async for found in client.snapshots(session)] == [saved.snapshot.id]
    await client.load(session, top, replace=True)
    assert (top / "Default" / "Cookies").read_bytes() == b"logged in"
    if "loading" not in left:
        assert (tmp_path / left).exists(), "what another client left is that client's"
    fill(top, {"Default/Cookies": b"again"})
    again = await client.save(session, top)
    assert again.snapshot.parent_snapshot_id == saved.snapshot.id


async def test_big_file(client: Client, session: str, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {"noise": noise(40 << 20), "zeros": bytes(40 << 20)})
    await client.save(session, top)
    await client.load(session, tmp_path / "q")
    await client.load(session, tmp_path / "packed", compress=True)
    for loaded in ("q", "packed"):
        assert scan(tmp_path / loaded) == scan(top)
    fill(top, {"zeros": bytes(20 << 20), "text": b"sid=1; Path=/\n" * (1 << 20)})
    saved = await client.save(session, top, compress=True)
    assert saved.wire_bytes < 1 << 20
    await client.load(session, tmp_path / "q", replace=True)
    assert scan(tmp_path / "q") == scan(top)


async def test_many_small_files(client: Client, session: str, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {f"d{number % 20}/f{number}": noise(100, number) for number in range(2000)})
    saved = await client.save(session, top)
    assert saved.messages < 20
    await client.load(session, tmp_path / "q")
    assert scan(tmp_path / "q") == scan(top)


async def test_progress(client: Client, session: str, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {f"f{number}": noise(1 << 20, number) for number in range(3)})
    sent: list[tuple[int, int]] = []
    came: list[tuple[int, int]] = []
    await client.save(session, top, progress=lambda *step: sent.append(step))
    await client.load(session, tmp_path / "q", progress=lambda *step: came.append(step))
    for steps in (sent, came):
        assert steps == sorted(steps)
        assert steps[-1] == (3 << 20, 3 << 20)
        assert {total for _, total in steps} == {3 << 20}
        assert len(steps) > 2


async def test_parent_not_head(client: Client, session: str, tmp_path: Path) -> None:
    await client.save(session, fill(tmp_path / "p", {"f": b"0"}))
    for worker in ("one", "two"):
        await client.load(session, tmp_path / worker)
        fill(tmp_path / worker, {"f": worker.encode()})
    won = await client.save(session, tmp_path / "one")
    async with refused(client, session, "PARENT_NOT_HEAD") as caught:
        await client.save(session, tmp_path / "two")
    assert isinstance(caught.value, errors.ParentNotHead)
    assert won.snapshot.id in caught.value.metadata.values()


async def test_upload_id_repeat(client: Client, session: str, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {"f": b"0"})
    await client.save(session, top)
    note, kept = Sidecar.path(top), tmp_path / "kept"
    shutil.copy(note, kept)
    fill(top, {"f": b"1"})
    upload_id = str(uuid.uuid4())
    first = await client.save(session, top, upload_id=upload_id)
    shutil.copy(kept, note)
    again = await client.save(session, top, upload_id=upload_id)
    assert (again.snapshot.id, again.revision) == (first.snapshot.id, first.revision)
    status = await client.save_status(session, upload_id)
    assert (status.state, status.snapshot.id) == (profile_pb2.SAVE_STATE_COMMITTED, first.snapshot.id)
    unknown = await client.save_status(session, str(uuid.uuid4()))
    assert unknown.state == profile_pb2.SAVE_STATE_UNKNOWN
    assert len([found async for found in client.snapshots(session)]) == 2


def requests(session: str, top: Path, parent: str = "") -> list[profile_pb2.SaveProfileRequest]:
    """The messages of a save, for streams that no client of ours would send."""
    new = walk(top, Capture("full"), {})
    begin = profile_pb2.SaveBegin(session_id=session, parent_snapshot_id=parent, upload_id=str(uuid.uuid4()))
    messages = [profile_pb2.SaveProfileRequest(begin=begin)]
    messages += [profile_pb2.SaveProfileRequest(records=records) for records in wire.pack(diff({}, new), top, 1)]
    return [
        *messages,
        profile_pb2.SaveProfileRequest(end=profile_pb2.SaveEnd(manifest_root=tree.manifest_root(new.values()))),
    ]


@asynccontextmanager
async def raw(daemon: Daemon) -> AsyncIterator[profile_pb2_grpc.ProfileServiceStub]:
    async with grpc.aio.insecure_channel(daemon.target) as channel:
        yield profile_pb2_grpc.ProfileServiceStub(channel)  # type: ignore[no-untyped-call]


async def send(daemon: Daemon, messages: list[profile_pb2.SaveProfileRequest]) -> Any:
    """Sends messages as they are; what fails is translated as the client does."""
    async with raw(daemon) as stub:
        try:
            return await stub.SaveProfile(iter(messages), timeout=30)
        except grpc.aio.AioRpcError as error:
            raise errors.from_rpc(error, daemon.target) from None


async def stuck(
    messages: list[profile_pb2.SaveProfileRequest], reached: asyncio.Event
) -> AsyncIterator[profile_pb2.SaveProfileRequest]:
    """A worker that stands still after some messages."""
    for message in messages:
        yield message
    reached.set()
    await asyncio.sleep(60)


async def test_torn_stream_changes_nothing(client: Client, daemon: Daemon, session: str, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {"a": noise(2 << 20), "b": b"x"})
    whole = len(requests(session, top))
    assert whole >= 4
    for cut in range(whole):
        reasons = ("STREAM_TRUNCATED",) if cut else ("STREAM_TRUNCATED", "STREAM_PROTOCOL")
        async with refused(client, session, *reasons):
            await send(daemon, requests(session, top)[:cut])

        reached = asyncio.Event()
        async with raw(daemon) as stub:
            call = stub.SaveProfile(stuck(requests(session, top)[:cut], reached))
            await reached.wait()
            await asyncio.sleep(0.02)
            call.cancel()
        assert (await client.sessions.get(session)).session.head_snapshot_id == ""
    assert [found async for found in client.snapshots(session)] == []
    await client.save(session, top)


async def test_wrong_digest_refused(client: Client, daemon: Daemon, session: str, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {"f": noise(10_000)})
    messages = requests(session, top)
    data = messages[1].records.data
    messages[1].records.data = data[:-1] + bytes([data[-1] ^ 1])
    async with refused(client, session, "DIGEST_MISMATCH"):
        await send(daemon, messages)
    messages = requests(session, top)
    messages[-1].end.manifest_root = bytes(32)
    async with refused(client, session, "DIGEST_MISMATCH"):
        await send(daemon, messages)


async def test_second_begin_refused(client: Client, daemon: Daemon, session: str, tmp_path: Path) -> None:
    messages = requests(session, fill(tmp_path / "p", {"f": b"x"}))
    async with refused(client, session, "STREAM_PROTOCOL"):
        await send(daemon, [messages[0], *messages])


async def test_unknown_parent_refused(client: Client, daemon: Daemon, session: str, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {"f": b"x"})
    async with refused(client, session, "SNAPSHOT_NOT_FOUND", "PARENT_NOT_HEAD"):
        await send(daemon, requests(session, top, parent="0123456789abcdef" * 2))


async def test_path_escape_refused(client: Client, daemon: Daemon, session: str) -> None:
    entries = [
        profile_pb2.Entry(kind=profile_pb2.ENTRY_KIND_DIRECTORY, path=path, mode=0o700)
        for path in ("../x", "/x", "a/../x", "a\0b", "a\\b")
    ]
    link = profile_pb2.Entry(kind=profile_pb2.ENTRY_KIND_SYMLINK, path="l", mode=0o777, size=4, symlink_target="../x")
    for entry in [*entries, link]:
        begin = profile_pb2.SaveBegin(session_id=session, upload_id=str(uuid.uuid4()))
        messages = [
            profile_pb2.SaveProfileRequest(begin=begin),
            profile_pb2.SaveProfileRequest(records=profile_pb2.ProfileRecords(entries=[entry])),
            profile_pb2.SaveProfileRequest(end=profile_pb2.SaveEnd(manifest_root=bytes(32))),
        ]
        async with refused(client, session, "PATH_INVALID"):
            await send(daemon, messages)


async def test_symlink_out_refused(client: Client, session: str, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {"f": b"x"})
    (top / "out").symlink_to("/etc/passwd")
    async with refused(client, session, "PATH_INVALID") as caught:
        await client.save(session, top)
    assert isinstance(caught.value, errors.LocalError)
    assert "'out'" in caught.value.message
    assert [found async for found in client.snapshots(session)] == []


async def test_load_at_snapshot(client: Client, session: str, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {"f": b"one"})
    first = await client.save(session, top)
    fill(top, {"f": b"two"})
    await client.save(session, top)
    await client.load(session, tmp_path / "old", snapshot_id=first.snapshot.id)
    await client.load(session, tmp_path / "new")
    assert ((tmp_path / "old" / "f").read_bytes(), (tmp_path / "new" / "f").read_bytes()) == (b"one", b"two")


async def test_snapshots_and_entries(client: Client, session: str, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {"d/f": b"one"})
    first = await client.save(session, top)
    fill(top, {f"many/{number:04}": b"" for number in range(2500)})
    second = await client.save(session, top)
    found = [snapshot async for snapshot in client.snapshots(session, page_size=1)]
    assert [(snapshot.id, snapshot.head) for snapshot in found] == [
        (second.snapshot.id, True),
        (first.snapshot.id, False),
    ]
    assert [entry.path for entry in (await client.snapshot(session, first.snapshot.id, with_entries=True)).entries] == [
        "d",
        "d/f",
    ]
    head = await client.snapshot(session, with_entries=True)
    assert head.snapshot.id == second.snapshot.id
    assert [entry.path for entry in head.entries] == list(walk(top, Capture(), {}))
    assert list((await client.snapshot(session)).entries) == []


async def test_snapshot_not_found(client: Client, session: str, tmp_path: Path) -> None:
    await client.save(session, fill(tmp_path / "p", {"f": b"x"}))
    async with refused(client, session, "SNAPSHOT_NOT_FOUND"):
        await client.load(session, tmp_path / "q", snapshot_id="0123456789abcdef" * 2)
    assert not (tmp_path / "q").exists()


# --- undo, keep, compare


def cookies(top: Path, value: str, other: str) -> None:
    """A cookie database as Chromium would leave it, with one cookie of this value and one of this name."""
    place = top / "Default" / "Cookies"
    place.unlink(missing_ok=True)
    with closing(sqlite3.connect(place)) as database, database:
        columns = "host_key TEXT, name TEXT, value TEXT, encrypted_value BLOB, path TEXT, expires_utc INTEGER"
        database.execute(f"CREATE TABLE cookies({columns}, last_access_utc INTEGER)")
        for name, content in (("sid", value), (other, "same")):
            row = ("login.test", name, content.encode())
            database.execute("INSERT INTO cookies VALUES(?, ?, '', ?, '/', 5, random())", row)


def state_of(snapshot: str) -> bytes:
    return json.dumps({"cookies": [], "origins": [], "of": snapshot}).encode()


async def good_and_bad(client: Client, session: str, top: Path) -> tuple[str, str]:
    """Two snapshots of one directory, the second one bad."""
    cookies(fill(top, {"Default/kept": b"kept"}), "good-secret", "old")
    good = await client.save(session, top, storage_state=state_of("good"))
    cookies(top, "bad-secret", "new")
    fill(top, {"Default/added": b"7" * 5000})
    await settle()
    bad = await client.save(session, top, storage_state=state_of("bad"))
    return good.snapshot.id, bad.snapshot.id


async def test_undo_and_redo(client: Client, session: str, tmp_path: Path) -> None:
    top = tmp_path / "p"
    good, bad = await good_and_bad(client, session, top)
    async with client.watch([selector(session_id=session)]) as watch:
        restored = await client.restore(session, request_id="undo")
        (change,) = await kinds(watch, 1)
    assert (restored.snapshot.id, restored.snapshot.head, restored.former_head_snapshot_id) == (good, True, bad)
    assert (kind_name(change), change.snapshot_id) == ("PROFILE_RESTORED", good)
    assert change.revision == restored.revision
    assert (await client.sessions.get(session)).session.etag == restored.session_etag
    assert (await client.sessions.storage_state.get(session)).storage_state == state_of("good")
    loaded = await client.load(session, top, replace=True, with_storage_state=True)
    assert (loaded.base_snapshot_id, loaded.snapshot.id, loaded.storage_state) == (bad, good, state_of("good"))
    await client.load(session, tmp_path / "fresh")
    assert scan(top) == scan(tmp_path / "fresh") and not (top / "Default" / "added").exists()
    assert (await client.restore(session, request_id="undo")).revision == restored.revision
    async with refused(client, session, "PARENT_NOT_HEAD"):
        await client.restore(session, head_snapshot_id=bad)
    async with refused(client, session, "ETAG_MISMATCH"):
        await client.restore(session, etag='"1"')
    async with refused(client, session, "SNAPSHOT_NOT_FOUND"):
        await client.restore(session)
    redone = await client.restore(session, restored.former_head_snapshot_id, head_snapshot_id=good)
    assert (redone.snapshot.id, redone.former_head_snapshot_id) == (bad, good)


async def test_pin_delete_undelete(client: Client, session: str, tmp_path: Path) -> None:
    async def listed(*, show_deleted: bool = False) -> list[str]:
        return [found.id async for found in client.snapshots(session, show_deleted=show_deleted)]

    good, bad = await good_and_bad(client, session, tmp_path / "p")
    pinned = (await client.pin(session, good, "the good one")).snapshot
    assert (pinned.id, pinned.pin_note, pinned.HasField("pin_time")) == (good, "the good one", True)
    for held in (good, bad):
        async with refused(client, session, "SNAPSHOT_HELD") as caught:
            await client.delete_snapshot(session, held)
        assert isinstance(caught.value, errors.Refused)
    assert not (await client.unpin(session, good)).snapshot.HasField("pin_time")
    async with client.watch([selector(session_id=session)]) as watch:
        deleted = (await client.delete_snapshot(session, good)).snapshot
        (change,) = await kinds(watch, 1)
    assert (kind_name(change), change.snapshot_id) == ("SNAPSHOT_CHANGED", good)
    assert deleted.expire_time.ToDatetime() > deleted.delete_time.ToDatetime()
    assert (await listed(), await listed(show_deleted=True)) == ([bad], [bad, good])
    for read in (client.snapshot, client.restore):
        async with refused(client, session, "SNAPSHOT_DELETED") as caught:
            await read(session, good)
        assert isinstance(caught.value, errors.SnapshotDeleted)
        assert "undeleted until" in caught.value.message
    await client.undelete_snapshot(session, good)
    assert await listed() == [bad, good]


async def test_diff_names_files_and_cookies(client: Client, session: str, tmp_path: Path) -> None:
    good, bad = await good_and_bad(client, session, tmp_path / "p")
    whole = await client.diff(session)
    assert (whole.snapshot.id, whole.base_snapshot.id) == (bad, good)
    told = [(enum_name(one, "kind"), one.after.path) for one in whole.differences if one.after.path != "Default"]
    assert told == [("CHANGED", "Default/Cookies"), ("ADDED", "Default/added")]
    assert (whole.added_count, whole.removed_count) == (1, 0)
    assert whole.changed_count == len(whole.differences) - 1
    (database,) = whole.cookie_databases
    assert (database.path, enum_name(database, "comparison")) == ("Default/Cookies", "KNOWN")
    assert [(enum_name(one, "kind"), one.host, one.name, one.value_changed) for one in database.cookies] == [
        ("ADDED", "login.test", "new", False),
        ("REMOVED", "login.test", "old", False),
        ("CHANGED", "login.test", "sid", True),
    ]
    assert b"secret" not in whole.SerializeToString()
    assert await client.diff(session, good, bad, page_size=1) == whole, "all pages in one"
    assert not (await client.diff(session, bad, bad)).differences


# --- watch


async def test_watch_sees_changes(client: Client, business: str, tmp_path: Path) -> None:
    async with client.watch([selector(business_id=business)]) as watch:
        name = (await client.sessions.create(business)).session.id
        await client.sessions.update(name, labels={"a": "1"})
        await client.sessions.transition(name, "ACTIVE", reason="in")
        await client.sessions.storage_state.put(name, STATE)
        saved = await client.save(name, fill(tmp_path / "p", {"f": b"x"}))
        last = await client.sessions.delete(name)
        changes = await kinds(watch, 6)
    expected = ["CREATED", "UPDATED", "TRANSITIONED"]
    assert names(changes) == [f"SESSION_{kind}" for kind in expected] + [
        "STORAGE_STATE_PUT",
        "PROFILE_SAVED",
        "SESSION_DELETED",
    ]
    revisions = [change.revision for change in changes]
    assert revisions == sorted(set(revisions)) and revisions[-1] == last.revision
    assert {change.session_id for change in changes} == {name}
    assert changes[4].snapshot_id == saved.snapshot.id
    assert (changes[2].state, changes[2].reason) == (session_pb2.SESSION_STATE_ACTIVE, "in")


async def test_watch_selectors(client: Client, business: str) -> None:
    email = f"{uuid.uuid4().hex}@example.test"
    mine = (await client.sessions.create(business, email=email)).session.id
    other = (await client.sessions.create(business + "-other")).session.id
    wanted = [
        ([selector(business_id=business)], 2),
        ([selector(email=email)], 2),
        ([selector(session_id=mine)], 2),
        ([selector(business_id=business, kinds=["SESSION_TRANSITIONED"])], 1),
        ([selector(session_id=mine), selector(session_id=other)], 4),
    ]
    opened = [client.watch(selectors) for selectors, _ in wanted]
    for watch in opened:
        await watch.__aenter__()
    for name in (other, mine):
        await client.sessions.update(name, labels={"a": "1"})
        last = await client.sessions.transition(name, "ACTIVE")
    for watch, (_, count) in zip(opened, wanted, strict=True):
        changes = await kinds(watch, count)
        assert len(changes) == count
        assert changes[-1].revision == last.revision
        assert {change.session_id for change in changes} == ({mine, other} if count == 4 else {mine})
        await watch.close()


async def test_watch_resume_no_gap_no_dup(client: Client, session: str) -> None:
    async with client.watch([selector(session_id=session)]) as watch:
        made = [(await client.sessions.update(session, labels={"n": str(number)})).revision for number in range(20)]
        seen = [change.revision for change in await kinds(watch, 7)]
        async with asyncio.timeout(20):  # asking for more says that those were applied
            event = await anext(watch)
        token = event.resume_token
        seen += [change.revision for change in event.changes]
    made += [(await client.sessions.update(session, labels={"n": str(number)})).revision for number in range(20, 40)]
    async with client.watch([selector(session_id=session)], resume_token=token) as watch:
        seen += [change.revision for change in await kinds(watch, 40 - len(seen))]
        assert watch.resume_token
    assert seen == made


async def test_watch_daemon_killed(tmp_path: Path) -> None:
    running = Daemon(tmp_path / "data", f"127.0.0.1:{free_port()}")
    try:
        async with Client(running.target) as client:
            name = (await client.sessions.create("b")).session.id
            made: list[int] = []
            seen: list[int] = []
            resets: list[str] = []

            async def follow(watch: Watch) -> None:
                async for event in watch:
                    seen.extend(change.revision for change in event.changes)
                    if event.kind == "reset":
                        resets.append(event.reset_reason)
                    if made and len(made) == 40 and event.revision >= made[-1]:
                        return

            async with client.watch([selector(session_id=name)], bookmark_interval=1.0) as watch:
                following = asyncio.create_task(follow(watch))
                for number in range(40):
                    if number == 20:
                        running.kill()
                        await asyncio.to_thread(running.start)
                    made.append((await client.sessions.update(name, labels={"n": str(number)})).revision)
                async with asyncio.timeout(60):
                    await following
            assert seen == sorted(set(seen)), "none twice"
            assert seen == made or resets, "each acknowledged change, or a reset that says that it is to be read"
    finally:
        running.stop()


async def test_watch_bookmarks(client: Client) -> None:
    async with client.watch([selector(session_id="nobody")], bookmark_interval=1.0) as watch, asyncio.timeout(15):
        found = [event async for event, _ in zip_async(watch, 3)]
    assert [event.kind for event in found] == ["opened", "bookmark", "bookmark"]
    assert all(event.resume_token for event in found)


async def zip_async(watch: Watch, count: int) -> AsyncIterator[tuple[Any, int]]:
    for number in range(count):
        yield await anext(watch), number


async def test_watch_reset(tmp_path: Path) -> None:
    first = Daemon(tmp_path / "data")
    try:
        async with Client(first.target) as client, client.watch() as watch:
            token = (await anext(watch)).resume_token
    finally:
        first.stop()
    shutil.copytree(tmp_path / "data", tmp_path / "restored")
    second = Daemon(tmp_path / "restored")
    try:
        async with Client(second.target) as client, client.watch(resume_token=token) as watch, asyncio.timeout(20):
            assert (await anext(watch)).kind == "opened"
            event = await anext(watch)
    finally:
        second.stop()
    assert (event.kind, event.reset_reason) == ("reset", "HISTORY_CHANGED")
    assert 0 <= event.smear() <= event.spread


async def test_watch_after_revision(client: Client, session: str) -> None:
    await client.sessions.update(session, labels={"n": "0"})
    read = await client.sessions.get(session)
    made = [(await client.sessions.update(session, labels={"n": str(number)})).revision for number in (1, 2)]
    async with client.watch([selector(session_id=session)], after_revision=read.revision) as watch:
        assert [change.revision for change in await kinds(watch, 2)] == made


async def test_watch_bad_token(client: Client) -> None:
    async with asyncio.timeout(20):
        with pytest.raises(errors.Invalid) as caught:
            async with client.watch(resume_token=b"no token of ours"):
                pass
    assert failure(caught) == "INVALID_RESUME_TOKEN"


async def test_invalidate(client: Client, business: str) -> None:
    made = {(await client.sessions.create(business)).session.id for _ in range(2)}
    async with client.watch([selector(business_id=business)]) as watch:
        preview = await client.invalidate([selector(business_id=business)], validate_only=True)
        done = await client.invalidate([selector(business_id=business)], reason="key rotated")
        changes = await kinds(watch, 2)
    assert preview.session_count == done.session_count == 2
    assert {(change.session_id, change.reason) for change in changes} == {(name, "key rotated") for name in made}
    assert names(changes) == ["INVALIDATED", "INVALIDATED"]
    assert changes[-1].revision == done.revision
