# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""`client/minimal.py`, the whole protocol in one file: held to the vectors, to the grown client, and to its length."""

import fcntl
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from conftest import CLIENT, content, entries_of, make, scan, vectors
from daemon import Daemon
from test_daemon import STATE, fill, noise

from cloakroom import errors, sync, tree, wire
from cloakroom.sidecar import Sidecar
from cloakroom.v1 import profile_pb2 as pb

FILE = CLIENT / "minimal.py"
AWKWARD = {f"d{size}/f": noise(size, size) for size in (0, 1, 4095, 4096, 4097, 300_000, (1 << 20) + 1)}


def load_module() -> Any:
    spec = importlib.util.spec_from_file_location("minimal", FILE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


minimal: Any = load_module()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    running = Daemon(tmp_path_factory.mktemp("daemon") / "data")
    yield running
    running.stop()


@pytest.fixture
def client(daemon: Daemon) -> Iterator[sync.Client]:
    with sync.Client(daemon.target) as connected:
        yield connected


@pytest.fixture
def session(client: sync.Client) -> str:
    return client.sessions.create("b", session_id=f"s{uuid.uuid4().hex}").session.id


@pytest.fixture
def channel(daemon: Daemon) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(daemon.target) as connected:
        yield connected


def grown(top: Path) -> Path:
    """A directory with everything that a profile may have."""
    fill(top, AWKWARD | {"Default/Cookies": noise(20_000), "Default/Cache/gone": b"x", "\u00e9\U0001f600/\uffee": b"u"})
    (top / "empty").mkdir()
    (top / "link").symlink_to("Default/Cookies")
    (top / "Default" / "up").symlink_to("../nowhere")
    (top / "SingletonLock").symlink_to("elsewhere-1")
    (top / "Default" / "Cookies").chmod(0o400)
    os.utime(top / "d1" / "f", ns=(-(10**9), -(10**9) + 123))
    (top / "empty").chmod(0o755)
    return top


def kept(top: Path) -> dict[str, tree.Entry]:
    """Everything in a directory but what a capture leaves out."""
    return {path: one for path, one in scan(top).items() if "Cache" not in path and path != "SingletonLock"}


def test_it_is_short_and_stands_on_nothing_but_stubs() -> None:
    lines = FILE.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 300
    assert max(map(len, lines)) <= 120
    imported = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert imported - set(sys.stdlib_module_names) == {"grpc", "cloakroom"}
    ours = [line.split()[1:4] for line in lines if line.startswith("from cloakroom")]
    stubs = {"profile_pb2_grpc", "session_pb2", "session_pb2_grpc"}
    assert all(where == "cloakroom.v1" or where.removeprefix("cloakroom.v1.") in stubs for where, *_ in ours)


# --- the vectors


def as_tree(entries: dict[str, tree.Entry]) -> Any:
    return {path: (wire._to_wire(entry), entry.leaves) for path, entry in entries.items()}


def test_the_vectors_hold(tmp_path: Path) -> None:
    for case in vectors("digests")["files"]:
        (tmp_path / "f").write_bytes(content(case["content"]))
        entry, leaves = minimal.hash_file(tmp_path / "f", pb.Entry())
        assert (entry.root.hex(), entry.size, len(leaves) // 16) == (case["root"], case["size"], case["leaf_count"])
    for case in vectors("manifests")["trees"]:
        assert minimal.manifest_root(as_tree(entries_of(case["tree"]))).hex() == case["manifest_root"]
    for case in vectors("capture")["globs"]:
        assert bool(minimal.expression(case["glob"]).fullmatch(case["path"])) == case["matches"]


def test_what_travels_is_what_the_rules_say(tmp_path: Path) -> None:
    expected = {}
    for case in vectors("capture")["decisions"]:
        place = tmp_path / "p" / case["path"]
        if any(part.is_file() for part in place.parents) or place.exists():
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"")
        expected[case["path"]] = case["default"]
    found = minimal.walk(tmp_path / "p")
    assert len(expected) > 50
    assert {path: path in found for path in expected} == expected


@pytest.mark.parametrize("case", vectors("diffs")["diffs"], ids=lambda case: str(case["name"]))
def test_a_difference_makes_the_new_tree_of_the_base(case: Any, tmp_path: Path) -> None:
    """Not the least one, as moved leaves travel as data; but one that the grown client arrives with."""
    make(tmp_path / "base", case["base"])
    make(tmp_path / "new", case["new"])
    base, new = as_tree(entries_of(case["base"])), as_tree(entries_of(case["new"]))
    parts = list(minimal.messages(minimal.diff(tmp_path / "new", base, new)))
    assert [entry.path for part in parts for entry in part.entries] == case["expected"]["entries"]
    assert sorted(path for part in parts for path in part.removed) == case["expected"]["removed"]
    assert all(part.ByteSize() < 1 << 20 for part in parts)
    stream = [pb.LoadProfileResponse(records=part) for part in parts]
    end = pb.LoadProfileResponse(end=pb.LoadEnd(manifest_root=bytes.fromhex(case["manifest_root"])))
    (tmp_path / "work").mkdir()
    made = minimal.build([*stream, end], tmp_path / "work", tmp_path / "base", base)
    assert minimal.manifest_root(made).hex() == case["manifest_root"]
    assert tree.manifest_root(scan(tmp_path / "work").values()).hex() == case["manifest_root"]


# --- with a daemon


def test_it_and_the_grown_client_load_what_the_other_saved(
    client: sync.Client, channel: grpc.Channel, session: str, tmp_path: Path
) -> None:
    top = grown(tmp_path / "p")
    saved = minimal.save(channel, session, top)
    assert client.snapshot(session).snapshot.manifest_root == tree.manifest_root(kept(top).values())
    loaded = client.load(session, tmp_path / "q")
    assert loaded.snapshot.id == saved.snapshot.id
    assert scan(tmp_path / "q") == kept(top)
    # The other way round, from the other's sidecar, and back.
    (tmp_path / "q" / "Default" / "Cookies").chmod(0o600)
    (tmp_path / "q" / "Default" / "Cookies").write_bytes(noise(30_000))
    (tmp_path / "q" / "d1" / "f").unlink()
    time.sleep(0.05)  # what was written just now is not trusted to stand still
    changed = client.save(session, tmp_path / "q", brand="chromium", password_store="basic")
    begin = minimal.load(channel, session, tmp_path / "r")
    assert (begin.snapshot.id, begin.base_snapshot_id) == (changed.snapshot.id, "")
    assert scan(tmp_path / "r") == scan(tmp_path / "q")
    fill(tmp_path / "r", {"Default/more": noise(5000)})
    again = minimal.save(channel, session, tmp_path / "r")
    facts = again.snapshot.portability
    assert (facts.brand, facts.password_store, facts.quiesced) == ("chromium", "basic", True)
    back = client.load(session, tmp_path / "q", replace=True)
    assert back.base_snapshot_id == changed.snapshot.id and scan(tmp_path / "q") == scan(tmp_path / "r")
    sidecar = Sidecar.read(tmp_path / "r", "", session)
    assert sidecar and sidecar.snapshot_id == again.snapshot.id and sidecar.origin.brand == "chromium"
    assert {path: one._replace(stat="") for path, one in sidecar.entries.items()} == scan(tmp_path / "r")
    assert (client.save(session, tmp_path / "r").messages) == 2, "nothing changed since the other client's save"


def test_a_delta_save_sends_the_changed_leaves_and_nothing_else(
    client: sync.Client,
    channel: grpc.Channel,
    session: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    top, sent, real = fill(tmp_path / "p", AWKWARD), list[pb.ProfileRecords](), minimal.messages

    def messages(pieces: Any) -> Iterator[pb.ProfileRecords]:
        for part in real(pieces):
            sent.append(part)
            yield part

    monkeypatch.setattr(minimal, "messages", messages)
    minimal.save(channel, session, top)
    assert sum(part.data_size for part in sent) == sum(map(len, AWKWARD.values()))
    sent.clear()
    with (top / "d300000" / "f").open("r+b") as file:
        file.seek(10 * 4096 + 7)
        file.write(b"changed")
        file.seek(20 * 4096)
        file.write(bytes(4096))
    with (top / "d4096" / "f").open("ab") as longer:
        longer.write(b"longer")
    second = minimal.save(channel, session, top)
    (part,) = sent
    runs = [(part.entries[run.entry].path, run.first_leaf, run.leaf_count) for run in part.runs]
    assert runs == [("d300000/f", 10, 1), ("d300000/f", 20, 1), ("d4096/f", 1, 1)]
    assert (part.data_size, part.codec) == (2 * 4096 + 6, pb.CODEC_RAW)
    assert client.load(session, tmp_path / "q").snapshot.id == second.snapshot.id
    assert scan(tmp_path / "q") == scan(top)
    sent.clear()
    assert minimal.save(channel, session, top).snapshot.manifest_root == second.snapshot.manifest_root
    assert not sent, "an idle save has no content"


def test_a_delta_load_brings_only_what_differs(
    client: sync.Client, channel: grpc.Channel, session: str, tmp_path: Path
) -> None:
    top = fill(tmp_path / "p", AWKWARD)
    client.save(session, top)
    first = minimal.load(channel, session, tmp_path / "q")
    assert first.content_bytes == sum(map(len, AWKWARD.values()))
    (top / "d300000" / "f").rename(top / "moved")  # travels as copies of the base
    (top / "d1" / "f").write_bytes(b"y" * 5000)
    client.save(session, top)
    second = minimal.load(channel, session, tmp_path / "q", "--replace")
    assert (second.base_snapshot_id, second.content_bytes) == (first.snapshot.id, 5000)
    assert scan(tmp_path / "q") == scan(top)
    # A directory that changed since is no base.
    fill(tmp_path / "q", {"mine": b"gone"})
    third = minimal.load(channel, session, tmp_path / "q", "--replace")
    assert third.base_snapshot_id == ""
    assert scan(tmp_path / "q") == scan(top)
    assert {path.name for path in tmp_path.iterdir()} == {"p", "p.cloakroom.json", "q", "q.cloakroom.json"}


def test_a_repeated_save_happens_once(client: sync.Client, channel: grpc.Channel, session: str, tmp_path: Path) -> None:
    top, upload = fill(tmp_path / "p", {"f": b"x"}), str(uuid.uuid4())
    first = minimal.save(channel, session, top, upload_id=upload)
    Sidecar.path(top).unlink()
    assert minimal.save(channel, session, top, upload_id=upload).snapshot.id == first.snapshot.id
    assert len(list(client.snapshots(session))) == 1


def test_a_save_goes_on_from_what_its_directory_came_from(
    client: sync.Client, channel: grpc.Channel, session: str, tmp_path: Path
) -> None:
    top, other = fill(tmp_path / "p", {"f": b"x"}), client.sessions.create("b").session.id
    first = minimal.save(channel, session, top)
    Sidecar.path(top).unlink()
    with pytest.raises(grpc.RpcError, match=first.snapshot.id):
        minimal.save(channel, session, fill(top, {"g": b"y"}))
    second = minimal.save(channel, session, top, "--replace")
    assert second.snapshot.parent_snapshot_id == first.snapshot.id
    assert minimal.save(channel, session, top, "--replace").snapshot.parent_snapshot_id == second.snapshot.id
    with pytest.raises(SystemExit, match=f"OTHER_SESSION: {top} is of session {session}"):
        minimal.save(channel, other, top)
    assert not list(client.snapshots(other))
    assert minimal.save(channel, other, top, "--replace").snapshot.parent_snapshot_id == ""
    client.load(other, tmp_path / "q")
    assert scan(tmp_path / "q") == scan(top)
    with pytest.raises(errors.LocalError, match="OTHER_SESSION"):
        client.save(session, top)
    Sidecar("default", session, "0" * 32, {}).write(top)
    with pytest.raises(SystemExit, match=f"of session default/{session}:"):
        minimal.save(channel, session, top)


def test_nothing_is_saved_only_when_forced(channel: grpc.Channel, session: str, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {"ShaderCache/x": b"x"})
    with pytest.raises(SystemExit, match="NOTHING_TO_SAVE"):
        minimal.save(channel, session, top)
    assert minimal.save(channel, session, top, "--force").snapshot.entry_count == 0
    with pytest.raises(SystemExit, match="PROFILE_MISSING"):
        minimal.save(channel, session, tmp_path / "gone", "--force")


UNSOUND: dict[str, Any] = {
    "nothing": b"",
    "bytes": b"\xff",
    "list": [],
    "null": None,
    "number": 5,
    "text": "version",
    "empty": {},
    "later": {"version": 2},
    "later, of another shape": {"version": 2, "entries": {"f": 5}},
    "later, without entries": {"version": 2, "entries": None},
    "entries are none": {"entries": None},
    "entries are numbers": {"entries": [5]},
    "entries are lists": {"entries": [["f"]]},
    "an unknown kind": {"entries": [{"kind": "socket", "path": "f", "mode": 1, "mtime_ns": "1", "size": 1}]},
    "a negative size": {"entries": [{"kind": "file", "path": "f", "mode": 1, "mtime_ns": "1", "size": -1}]},
    "a number as text": {"entries": [{"kind": "file", "path": "f", "mode": "x", "mtime_ns": "1", "size": 1}]},
    "another root": {"manifest_root": "00"},
    "no session": {"session_id": ...},
    "an origin of another shape": {"origin": ["linux"]},
}


@pytest.mark.parametrize("change", UNSOUND.values(), ids=UNSOUND)
def test_a_sidecar_that_cannot_be_understood_is_none(
    change: Any, client: sync.Client, channel: grpc.Channel, session: str, tmp_path: Path
) -> None:
    top = fill(tmp_path / "p", {"f": b"x"})
    first, sound = minimal.save(channel, session, top).snapshot, json.loads(Sidecar.path(top).read_bytes())
    if isinstance(change, dict) and change:
        change = {key: value for key, value in (sound | change).items() if value is not ...}
    Sidecar.path(top).write_bytes(change if isinstance(change, bytes) else json.dumps(change).encode())
    assert Sidecar.found(top) is None, "nor does the grown client understand it"
    fill(top, {"g": b"y"})
    with pytest.raises(grpc.RpcError, match=first.id):  # it came from nothing, and the session has a head
        minimal.save(channel, session, top)
    assert minimal.load(channel, session, top, "--replace").base_snapshot_id == ""
    assert scan(top).keys() == {"f"} and client.save(session, top).snapshot.parent_snapshot_id == first.id


def test_what_a_later_sidecar_says_besides_is_ignored(channel: grpc.Channel, session: str, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", {"f": b"x"})
    first, sound = minimal.save(channel, session, top).snapshot, json.loads(Sidecar.path(top).read_bytes())
    sound |= {"origin": {"brand": "chromium", "channel": "beta"}, "colour": "red"}
    Sidecar.path(top).write_text(json.dumps(sound))
    second = minimal.save(channel, session, top).snapshot
    assert (second.parent_snapshot_id, second.portability.brand) == (first.id, "chromium")


def test_a_storage_state_that_is_left_out_is_told(
    client: sync.Client,
    channel: grpc.Channel,
    session: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    client.save(session, fill(tmp_path / "p", {"f": b"x"}), storage_state=STATE)
    for name in ("q", "r"):
        minimal.load(channel, session, tmp_path / name)
    with pytest.raises(SystemExit, match="OTHER_SESSION"):
        minimal.save(channel, client.sessions.create("b").session.id, tmp_path / "q")
    assert capsys.readouterr().err == "", "nothing was saved"
    saved = minimal.save(channel, session, tmp_path / "q").snapshot
    told = capsys.readouterr().err
    assert told.startswith(f"warning: the snapshot that {tmp_path / 'q'} came from carried a storage state")
    assert told.count("\n") == 1 and not saved.has_storage_state
    minimal.save(channel, session, tmp_path / "q")
    assert capsys.readouterr().err == "", "its sidecar says so"
    with pytest.warns(errors.StorageStateWarning):  # the grown client reads it in what this one wrote
        client.save(session, tmp_path / "r", replace=True)


def test_who_replaces_is_not_beaten_by_somebody_who_saves_in_between(
    client: sync.Client, channel: grpc.Channel, session: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top, other, real = fill(tmp_path / "p", {"f": b"x"}), fill(tmp_path / "o", {"f": b"o"}), minimal.messages
    minimal.save(channel, session, top)
    fill(top, {"g": b"y"})
    beaten, tries = list[str](), 0

    def messages(pieces: Any) -> Any:
        nonlocal tries
        tries += 1
        if len(beaten) < faster:
            beaten.append(client.save(session, other, replace=True).snapshot.id)
        return real(pieces)

    monkeypatch.setattr(minimal, "messages", messages)
    faster = 1
    with pytest.raises(grpc.RpcError, match="replace it on purpose"):
        minimal.save(channel, session, top)
    assert tries == 1, "who does not replace gives way at once"
    beaten.clear()
    faster, tries = 3, 0
    saved = minimal.save(channel, session, top, "--replace").snapshot
    assert (saved.parent_snapshot_id, tries) == (beaten[-1], 4)
    assert {beaten[0], beaten[1], saved.id} < {one.id for one in client.snapshots(session)}
    client.load(session, tmp_path / "q")
    assert scan(tmp_path / "q") == scan(top)
    beaten.clear()
    faster, tries = 100, 0
    with pytest.raises(grpc.RpcError) as failure:
        minimal.save(channel, session, top, "--replace")
    assert (failure.value.code(), tries) == (grpc.StatusCode.ABORTED, 5), "nor for ever"
    assert client.sessions.get(session).session.head_snapshot_id == beaten[-1]


# --- what is in the place of a load


def hidden(top: Path) -> list[str]:
    return [path.name for path in top.iterdir() if path.name.startswith(".")]


def test_what_is_there_stays_unless_told(
    client: sync.Client, channel: grpc.Channel, session: str, tmp_path: Path
) -> None:
    client.save(session, fill(tmp_path / "p", {"f": b"x"}))
    minimal.load(channel, session, tmp_path / "clean")
    minimal.load(channel, session, tmp_path / "caches")
    fill(tmp_path / "caches", {"Default/Cache/x": b"x"})
    fill(tmp_path / "other", {"mine": b"x"})
    for name in ("clean", "caches", "other"):
        before = scan(tmp_path / name)
        with pytest.raises(SystemExit, match=f"TARGET_EXISTS: .*/{name} is there: load elsewhere, or --replace"):
            minimal.load(channel, session, tmp_path / name)
        assert scan(tmp_path / name) == before
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "link").symlink_to("other")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("file", "link", "dangling"):
        for said in ([], ["--replace"]):
            with pytest.raises(SystemExit, match=r"TARGET_EXISTS: .* is no directory"):
                minimal.load(channel, session, tmp_path / name, *said)
    assert (tmp_path / "file").read_bytes() == b"mine" and (tmp_path / "link").readlink() == Path("other")
    assert (tmp_path / "dangling").readlink() == Path("nowhere") and scan(tmp_path / "other").keys() == {"mine"}
    (tmp_path / "empty").mkdir()
    for said in (["empty"], ["other", "--replace"], ["deep/below"]):
        minimal.load(channel, session, tmp_path / said[0], *said[1:])
        assert scan(tmp_path / said[0]) == scan(tmp_path / "p")
    (tmp_path / "other" / "SingletonLock").symlink_to("elsewhere-1")
    with pytest.raises(SystemExit, match="PROFILE_BUSY"):
        minimal.load(channel, session, tmp_path / "other", "--replace")
    assert not hidden(tmp_path)


def test_what_appears_meanwhile_stays(
    client: sync.Client, channel: grpc.Channel, session: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.save(session, fill(tmp_path / "p", {"f": b"x"}))
    real, top = minimal.build, tmp_path / "q"

    def refused(reason: str, appears: Any, *said: str) -> None:
        def build(*arguments: Any) -> Any:
            appears()
            return real(*arguments)

        with monkeypatch.context() as patch, pytest.raises(SystemExit, match=reason):
            patch.setattr(minimal, "build", build)
            minimal.load(channel, session, top, *said)
        assert not hidden(tmp_path)

    for file in ("mine", "Default/Cache/mine"):  # also what never travels
        refused("TARGET_EXISTS", lambda file=file: fill(top, {file: b"mine"}))
        assert (top / file).read_bytes() == b"mine"
        shutil.rmtree(top)
    for reason, said in (("TARGET_EXISTS", []), ("PROFILE_BUSY", ["--replace"])):
        top.mkdir()
        refused(reason, lambda: (top / "SingletonLock").symlink_to("elsewhere-1"), *said)
        shutil.rmtree(top)
    refused("TARGET_EXISTS", lambda: top.write_bytes(b"mine"), "--replace")
    assert top.read_bytes() == b"mine"


class AtTheLastMoment:
    """Lets something happen right before the new directory takes its name."""

    def __init__(self, patch: pytest.MonkeyPatch, happens: Any) -> None:
        self.patch, self.happens = patch, happens

    def __enter__(self) -> None:
        real = Path.rename

        def rename(path: Path, target: Path) -> Path:
            if path.name == "new":
                self.patch.undo()
                self.happens()
            return real(path, target)

        self.patch.setattr(Path, "rename", rename)

    def __exit__(self, *_: object) -> None:
        self.patch.undo()


def test_what_appears_at_the_last_moment_stays(
    client: sync.Client, channel: grpc.Channel, session: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.save(session, fill(tmp_path / "p", {"f": b"x"}))
    top = tmp_path / "q"
    cases: list[tuple[Any, list[str]]] = [
        (lambda: fill(top, {"mine": b"mine"}), []),
        (lambda: fill(top, {"mine": b"mine"}), ["--replace"]),
        (lambda: top.write_bytes(b"mine"), []),
        (lambda: top.write_bytes(b"mine"), ["--replace"]),
    ]
    for happens, said in cases:
        if said:
            minimal.load(channel, session, top)
        with AtTheLastMoment(monkeypatch, happens), pytest.raises(SystemExit, match=f"TARGET_EXISTS: {top} came"):
            minimal.load(channel, session, top, *said)
        assert (top if top.is_file() else top / "mine").read_bytes() == b"mine"
        assert not Sidecar.path(top).exists() and not hidden(tmp_path)
        if top.is_file():
            top.unlink()
        else:
            with pytest.raises(grpc.RpcError, match="comes from nothing"):
                minimal.save(channel, session, top)
            shutil.rmtree(top)


@pytest.mark.parametrize("said", [[], ["--replace"]], ids=["appears", "is-replaced"])
def test_a_faster_loads_sidecar_stays(
    said: list[str],
    client: sync.Client,
    channel: grpc.Channel,
    session: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    top = fill(tmp_path / "p", {"f": b"x"})
    client.save(session, top)
    minimal.load(channel, session, tmp_path / "q")
    head = client.save(session, fill(top, {"g": b"y"})).snapshot.id
    if not said:
        shutil.rmtree(tmp_path / "q")  # its sidecar stays, and is stale

    def faster() -> None:
        client.load(session, tmp_path / "q")

    with AtTheLastMoment(monkeypatch, faster), pytest.raises(SystemExit, match="TARGET_EXISTS"):
        minimal.load(channel, session, tmp_path / "q", *said)
    sidecar = Sidecar.found(tmp_path / "q")
    assert sidecar and sidecar.snapshot_id == head and scan(tmp_path / "q") == scan(top)
    assert minimal.save(channel, session, tmp_path / "q").snapshot.parent_snapshot_id == head
    assert not hidden(tmp_path)


class Tampered:
    """A channel whose answers somebody changes."""

    def __init__(self, inner: grpc.Channel, change: Any) -> None:
        self._inner, self._change = inner, change

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        call: Any = self._inner.unary_stream(*args, **kwargs)
        return lambda request: iter(self._change(list(call(request))))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def bad_byte(messages: list[pb.LoadProfileResponse]) -> list[pb.LoadProfileResponse]:
    part = next(one.records for one in messages if one.records.data_size)
    part.data = part.data[:5] + bytes([part.data[5] ^ 1]) + part.data[6:]
    return messages


def changed(**fields: Any) -> Any:
    """Changes the first entry that has all of the fields."""

    def change(messages: list[pb.LoadProfileResponse]) -> list[pb.LoadProfileResponse]:
        entry = next(entry for one in messages for entry in one.records.entries if entry.kind == pb.ENTRY_KIND_FILE)
        for name, value in fields.items():
            setattr(entry, name, value)
        return messages

    return change


def packed(messages: list[pb.LoadProfileResponse]) -> list[pb.LoadProfileResponse]:
    part = next(one.records for one in messages if one.records.data_size)
    assert part.codec == pb.CODEC_RAW, "who names no codec gets none"
    part.codec, part.data = pb.CODEC_DEFLATE, zlib.compress(part.data)
    return messages


def short(messages: list[pb.LoadProfileResponse]) -> list[pb.LoadProfileResponse]:
    part = next(one.records for one in messages if one.records.data_size)
    part.data, part.data_size = part.data[:-1], part.data_size - 1
    return messages


def without_a_run(messages: list[pb.LoadProfileResponse]) -> list[pb.LoadProfileResponse]:
    part = next(one.records for one in messages if one.records.data_size)
    part.codec, part.data, part.data_size = pb.CODEC_RAW, b"", 0
    del part.runs[:]
    return messages


@pytest.mark.parametrize(
    "change",
    [
        bad_byte,
        packed,
        short,
        without_a_run,
        lambda messages: messages[:-1],
        lambda messages: [],
        lambda messages: [messages[0], *messages[2:]],
        changed(path="../x"),
        changed(path="/x"),
        changed(path="a/../x"),
        changed(path="a\\x"),
        changed(mode=0o777),
        changed(mtime_ns=5),
        changed(size=1),
        changed(kind=pb.ENTRY_KIND_SYMLINK, symlink_target="/etc/passwd"),
        changed(kind=pb.ENTRY_KIND_SYMLINK, symlink_target="../../x"),
        changed(kind=pb.ENTRY_KIND_SYMLINK, symlink_target="a/../../x"),
    ],
    ids=str,
)
def test_a_corrupted_answer_is_refused_and_leaves_everything_as_it_was(
    change: Any, client: sync.Client, channel: grpc.Channel, session: str, tmp_path: Path
) -> None:
    top = fill(tmp_path / "p", {"a/f": noise(10_000), "z": noise(400_000)})
    client.save(session, top)
    with pytest.raises((SystemExit, OSError)):
        minimal.load(Tampered(channel, change), session, tmp_path / "q")
    assert {path.name for path in tmp_path.iterdir()} == {"p", "p.cloakroom.json"}
    minimal.load(channel, session, tmp_path / "q")
    before = scan(tmp_path / "q")
    fill(top, {"a/f": noise(12_000, 2)})
    client.save(session, top)
    with pytest.raises((SystemExit, OSError)):
        minimal.load(Tampered(channel, change), session, tmp_path / "q", "--replace")
    assert scan(tmp_path / "q") == before
    names = {"p", "p.cloakroom.json", "q", "q.cloakroom.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert minimal.load(channel, session, tmp_path / "q", "--replace").base_snapshot_id, "and it still is a base"
    assert scan(tmp_path / "q") == scan(top)


@pytest.mark.parametrize("left", [".p.cloakroom-load/replaced", ".p.loading-1/aside", "p.cloakroom-h-1-12ab34cd/old"])
def test_what_a_killed_load_left_is_not_saved(
    left: str, client: sync.Client, channel: grpc.Channel, session: str, tmp_path: Path
) -> None:
    top = fill(tmp_path / "p", {"Cookies": b"logged in"})
    saved = minimal.save(channel, session, top).snapshot.id
    (tmp_path / left).mkdir(parents=True)
    assert minimal.save(channel, session, top).snapshot.parent_snapshot_id == saved, "a whole save came after it"
    before = client.sessions.get(session).session.head_snapshot_id
    Sidecar.path(top).unlink()
    with pytest.raises(SystemExit, match="LOAD_UNFINISHED"):
        minimal.save(channel, session, top)
    assert client.sessions.get(session).session.head_snapshot_id == before


def test_a_load_that_is_killed_leaves_what_no_client_saves(
    client: sync.Client, daemon: Daemon, channel: grpc.Channel, session: str, tmp_path: Path
) -> None:
    top = fill(tmp_path / "p", {"Cookies": b"logged in"})
    client.save(session, top)
    minimal.load(channel, session, tmp_path / "q")
    fill(top, {"Cookies": b"and again"})
    head = client.save(session, top).snapshot.id
    program = (
        "import os, pathlib, signal, sys; sys.path.insert(0, sys.argv[1]); import grpc, minimal\n"
        "rename = pathlib.Path.rename\n"
        "def killed(path, target):\n"
        "    os.kill(os.getpid(), signal.SIGKILL) if path.name == 'new' else rename(path, target)\n"
        "pathlib.Path.rename = killed\n"
        "minimal.load(grpc.insecure_channel(sys.argv[2]), sys.argv[3], pathlib.Path(sys.argv[4]), '--replace')\n"
    )
    command = [sys.executable, "-c", program, str(FILE.parent), daemon.target, session, str(tmp_path / "q")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "q").exists() and not Sidecar.path(tmp_path / "q").exists()
    fill(tmp_path / "q", {"Preferences": b"a browser's"})
    with pytest.raises(SystemExit, match="LOAD_UNFINISHED"):
        minimal.save(channel, session, tmp_path / "q")
    with pytest.raises(errors.LocalError, match="LOAD_UNFINISHED"):
        client.save(session, tmp_path / "q")
    assert client.sessions.get(session).session.head_snapshot_id == head
    client.load(session, tmp_path / "q", replace=True)
    assert scan(tmp_path / "q") == scan(top)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == [], "it swept"
    assert minimal.save(channel, session, tmp_path / "q").snapshot.parent_snapshot_id == head
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".q.loading-")]
    living = tmp_path / ".q.loading-living"
    fill(living, {"lock": b"", "new/f": b"x"})
    with (living / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        minimal.load(channel, session, tmp_path / "q", "--replace")
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == [living.name]
    minimal.load(channel, session, tmp_path / "q", "--replace")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == [], "so does this one"


def test_as_a_program(daemon: Daemon, session: str, tmp_path: Path) -> None:
    top = fill(tmp_path / "p", AWKWARD)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "CLOAKROOM_TARGET": daemon.target}
        command = [sys.executable, str(FILE), *words]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    saved, loaded = run("save", session, "p"), run("load", session, "q")
    assert (saved.returncode, loaded.returncode) == (0, 0), saved.stderr + loaded.stderr
    assert saved.stdout == loaded.stdout and len(saved.stdout.strip()) == 32
    assert scan(tmp_path / "q") == scan(top)
    unknown, wrong = run("load", "never-was", "x"), run("steal", session, "p")
    assert unknown.returncode == wrong.returncode == 1
    assert unknown.stderr.startswith("NOT_FOUND: ") and wrong.stderr.startswith("refused: say")
