# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""Walking, comparing and rebuilding real directories."""

import asyncio
import base64
import errno
import json
import os
import random
import shutil
import socket
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import scan, stream, transfer

from cloakroom import install, tree, wire, workshop
from cloakroom.capture import Capture, check_profile, describe, obstacles, running_browser
from cloakroom.errors import LoadFailed, LocalError, NotAProfileWarning
from cloakroom.install import Workshop
from cloakroom.profiles import Loader, diff
from cloakroom.sidecar import Sidecar
from cloakroom.tree import FILE, LEAF, walk
from cloakroom.v1 import profile_pb2 as pb

FULL = Capture("full")
NAMES = ["a", "b", "c.txt", "Cookies", "\u00e9", "\U0001f36a", "with space", "-", "zz"]


class Wild:
    """A directory that changes at random, with content that moves and repeats."""

    def __init__(self, top: Path, seed: int) -> None:
        self.top, self.dice = top, random.Random(seed)
        top.mkdir()
        self.pool = [bytes(LEAF), *(self.dice.randbytes(LEAF) for _ in range(12))]

    def paths(self, *, directories: bool) -> list[Path]:
        found = sorted(
            path for path in self.top.rglob("*") if (path.is_dir() and not path.is_symlink()) or not directories
        )
        return [self.top, *found] if directories else found

    def body(self) -> bytes:
        leaves = self.dice.choices(self.pool, k=self.dice.choice([0, 0, 1, 2, 5, 70]))
        return b"".join(leaves) + self.dice.randbytes(self.dice.choice([0, 0, 1, 17, 4095]))

    def step(self) -> None:
        everything = self.paths(directories=False)
        place = self.dice.choice(self.paths(directories=True)) / self.dice.choice(NAMES)
        victim = self.dice.choice(everything) if everything else place
        deed = self.dice.choice(
            ["new", "new", "new", "folder", "link", "edit", "edit", "grow", "move", "remove", "mode", "touch"]
        )
        if deed in ("new", "folder", "link") and os.path.lexists(place):
            return
        if deed == "new":
            place.write_bytes(self.body())
        elif deed == "folder":
            place.mkdir()
        elif deed == "link":
            place.symlink_to(self.dice.choice(["gone", "a/b", "."]))
        elif (
            deed == "move"
            and os.path.lexists(victim)
            and not place.is_relative_to(victim)
            and not os.path.lexists(place)
        ):
            victim.rename(place)
        elif not os.path.lexists(victim) or victim.is_symlink():
            return
        elif deed == "remove":
            shutil.rmtree(victim) if victim.is_dir() else victim.unlink()
        elif deed == "mode":
            victim.chmod(self.dice.choice([0o700, 0o755] if victim.is_dir() else [0o400, 0o600, 0o644]))
        elif deed == "touch":
            os.utime(victim, ns=(0, self.dice.randrange(-(10**18), 2 * 10**18)))
        elif victim.is_file():
            with victim.open("r+b") as file:
                file.seek(0, 2)
                end = file.tell()
                file.seek(end if deed == "grow" else self.dice.randrange(end + 1) // LEAF * LEAF)
                file.write(self.dice.choice(self.pool)[: self.dice.choice([1, 100, LEAF])])


@pytest.mark.parametrize("seed", range(40))
async def test_a_difference_applied_to_its_base_gives_the_new_tree(seed: int, tmp_path: Path) -> None:
    wild = Wild(tmp_path / "wild", seed)
    for _ in range(30):
        wild.step()
    first = walk(wild.top, FULL, {})
    held = tmp_path / "held"
    async with Workshop(held, replace=False) as shop:
        loader = transfer(wild.top, first, shop.work)
        await shop.run(shop.install, loader.loaded(), None, Sidecar("", "s", "one"))
    assert scan(held) == scan(wild.top)

    known, second = first, first
    for round_ in range(4):
        for _ in range(12):
            wild.step()
        second = walk(wild.top, FULL, known)
        assert {path: entry._replace(stat="") for path, entry in second.items()} == scan(wild.top), (
            "what was remembered is true"
        )
        in_place = round_ % 2 == 0
        target = held if in_place else tmp_path / f"copy{round_}"
        have = Sidecar.clean(held, "", "s")
        assert have is not None
        async with Workshop(target, replace=in_place) as shop:
            loader = transfer(wild.top, second, shop.work, have, held)
            await shop.run(shop.install, loader.loaded(), held, Sidecar("", "s", f"r{round_}"))
        assert scan(target) == scan(wild.top)
        known, held = second, target
    assert tree.manifest_root(second.values()) == tree.manifest_root(scan(held).values())


def test_what_did_not_change_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = tmp_path / "p"
    (top / "d").mkdir(parents=True)
    for name in ("a", "d/b", "d/c"):
        (top / name).write_bytes(name.encode() * 5000)
    time.sleep(0.05)
    first = walk(top, FULL, {})
    (top / "d" / "c").write_bytes(b"other")
    read: list[int] = []
    real = tree.hash_leaves

    def hash_leaves(block: bytes) -> bytes:
        read.append(len(block))
        return real(block)

    monkeypatch.setattr(tree, "hash_leaves", hash_leaves)
    second = walk(top, FULL, first)
    assert read == [5], "only the changed file"
    assert [path for path in second if second[path] is not first[path]] == ["d/c"]
    assert [entry.path for entry in diff(first, second).entries] == ["d/c"]


def test_what_was_written_just_now_is_looked_at_again(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "f").write_bytes(b"one")
    fresh = walk(tmp_path / "p", FULL, {})
    assert fresh["f"].stat == "", "a second change within the same tick would not show"
    time.sleep(0.05)
    assert walk(tmp_path / "p", FULL, fresh)["f"].stat != ""


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = tmp_path / "p"
    top.mkdir()
    (top / "f").write_bytes(b"x" * 100)
    real, left = tree.hash_leaves, [2]

    def hash_leaves(block: bytes) -> bytes:
        if left[0]:
            left[0] -= 1
            with (top / "f").open("ab") as file:
                file.write(b"y")
        return real(block)

    monkeypatch.setattr(tree, "hash_leaves", hash_leaves)
    assert walk(top, FULL, {})["f"].size == 102, "read again until it stood still"
    left[0] = 1000
    with pytest.raises(LocalError, match="'f' changes while it is read") as caught:
        walk(top, FULL, {})
    assert caught.value.reason == "PROFILE_CHANGING"


def test_a_file_that_changes_between_hashing_and_sending(tmp_path: Path) -> None:
    top = tmp_path / "p"
    top.mkdir()
    (top / "f").write_bytes(b"x" * 100)
    new = walk(top, FULL, {})
    (top / "f").write_bytes(b"z" * 100)
    with pytest.raises(LocalError) as caught:
        transfer(top, new, tmp_path / "work")
    assert caught.value.reason == "PROFILE_CHANGING"
    (top / "f").unlink()
    with pytest.raises(LocalError) as caught:
        stream(diff({}, new), top, b"")
    assert caught.value.reason == "FILE_SYSTEM"


@pytest.mark.parametrize("target", ["/etc/passwd", "../out", "d/../../out", "d/..", ""])
def test_links_that_lead_out_are_refused(target: str, tmp_path: Path) -> None:
    top = tmp_path / "p"
    (top / "d").mkdir(parents=True)
    if not target:
        with pytest.raises(FileNotFoundError):
            (top / "l").symlink_to(target)  # the system refuses it itself
        return
    (top / "l").symlink_to(target)
    with pytest.raises(LocalError, match="the link 'l'") as caught:
        walk(top, FULL, {})
    assert caught.value.reason == "PATH_INVALID"
    assert list(walk(top, Capture("full", exclude=["l"]), {})) == ["d"]


@pytest.mark.parametrize("name", [b"back\\slash", b"\xff\xfe"])
def test_names_that_cannot_travel_are_refused(name: bytes, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(name)).write_bytes(b"")
    with pytest.raises(LocalError) as caught:
        walk(tmp_path, FULL, {})
    assert caught.value.reason == "PATH_INVALID"


def test_sockets_and_pipes_do_not_travel(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket"))
        (tmp_path / "file").write_bytes(b"")
        assert list(walk(tmp_path, FULL, {})) == ["file"]


def test_a_dropped_directory_is_not_even_entered(tmp_path: Path) -> None:
    (tmp_path / "Default" / "Cache").mkdir(parents=True)
    (tmp_path / "Default" / "Cache" / "l").symlink_to("/etc/passwd")
    assert list(walk(tmp_path, Capture(), {})) == ["Default"]


def test_a_running_browser_is_seen(tmp_path: Path) -> None:
    def lock(name: str, target: str) -> int | None:
        (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / name).symlink_to(target)
        return running_browser(tmp_path)

    here = socket.gethostname()
    assert running_browser(tmp_path) is None
    assert lock("SingletonLock", f"{here}-{os.getpid()}") == os.getpid()
    with pytest.raises(LocalError, match=f"process {os.getpid()} runs a browser") as caught:
        describe(tmp_path, FULL, "", "", force=False)
    assert caught.value.reason == "PROFILE_BUSY"
    assert describe(tmp_path, FULL, "", "", force=True).quiesced is False
    assert lock("SingletonLock", f"{here}-4194304999") is None, "no such process"
    assert lock("SingletonLock", f"other.{here}-{os.getpid()}") is None, "of another host"
    assert lock("SingletonLock", "nonsense") is None
    assert lock("lock", f"127.0.1.1:+{os.getpid()}") == os.getpid(), "Firefox"


def test_where_a_profile_comes_from(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="there is no directory"):
        describe(tmp_path / "none", FULL, "", "", force=False)
    (tmp_path / "Last Version").write_text("156.0.8078.79\n")
    origin = describe(tmp_path, Capture("lean"), "chromium", "basic", force=False)
    assert (origin.brand, origin.browser_version, origin.password_store) == ("chromium", "156.0.8078.79", "basic")
    assert (origin.quiesced, origin.capture_policy) == (True, "lean")
    (tmp_path / "Last Version").unlink()
    (tmp_path / "compatibility.ini").write_text("[Compatibility]\nLastVersion=145.0_20251101/20251101\n")
    origin = describe(tmp_path, FULL, "", "", force=False)
    assert (origin.brand, origin.browser_version) == ("firefox", "145.0")
    assert not obstacles(origin)
    (tmp_path / "compatibility.ini").unlink()
    former = pb.Portability(os="plan9", brand="chrome", browser_version="1.2", password_store="basic", quiesced=False)
    kept = describe(tmp_path, FULL, "", "", force=False, former=former)
    assert (kept.brand, kept.browser_version, kept.password_store, kept.quiesced) == ("chrome", "1.2", "basic", True)
    assert kept.os != "plan9", "a browser of this system had it last"
    anew = describe(tmp_path, FULL, "edge", "kwallet", force=False, former=former)
    assert (anew.brand, anew.password_store) == ("edge", "kwallet")
    assert "saved on plan9" in obstacles(pb.Portability(os="plan9"))[0]
    assert "does not travel" in obstacles(pb.Portability(password_store="kwallet"))[0]


@pytest.mark.parametrize(
    ("paths", "warning"),
    [
        ([], "has nothing to save"),
        (["notes.txt", "src/main.py"], "among 2"),
        (["Default", "Default/Preferences"], ""),
        (["Local State"], ""),
        (["prefs.js"], ""),
    ],
)
def test_what_is_no_profile_is_warned_of(paths: list[str], warning: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_profile(Path("/p"), paths)
    assert [type(one.message) for one in caught] == ([NotAProfileWarning] if warning else [])
    assert all(f"/p {warning}" in str(one.message) or warning in str(one.message) for one in caught)


def test_a_sidecar_tells_the_origin_of_its_profile(tmp_path: Path) -> None:
    origin = pb.Portability(os="linux", brand="chromium", browser_version="156.0", password_store="basic")
    Sidecar("n", "s", "one", {}, origin).write(tmp_path / "p")
    read = Sidecar.read(tmp_path / "p", "n", "s")
    assert read is not None and read.origin == origin
    # One from a client that does not tell it is as good as ever.
    place = Sidecar.path(tmp_path / "p")
    body = json.loads(place.read_text())
    assert "storage_state" not in body and not read.storage_state
    replace(read, storage_state=True).write(tmp_path / "p")
    read = Sidecar.read(tmp_path / "p", "n", "s")
    assert read is not None and read.storage_state and json.loads(place.read_text())["storage_state"] is True
    del body["origin"]
    place.write_text(json.dumps(body))
    read = Sidecar.read(tmp_path / "p", "n", "s")
    assert read is not None and read.origin == pb.Portability()


def test_a_sidecar_that_is_not_sound_counts_as_none(tmp_path: Path) -> None:
    top = tmp_path / "p"
    top.mkdir()
    (top / "f").write_bytes(b"x")
    time.sleep(0.05)
    sidecar = Sidecar("n", "s", "one", walk(top, FULL, {}))
    sidecar.write(top)
    place = Sidecar.path(top)
    assert place == tmp_path / "p.cloakroom.json"
    assert place.stat().st_mode & 0o777 == 0o600
    assert Sidecar.read(top, "n", "s") == sidecar == Sidecar.clean(top, "n", "s")
    assert Sidecar.read(top, "n", "other") is Sidecar.read(top, "other", "s") is None
    good, leaves = place.read_text(), base64.b64encode(tree.hash_leaves(b"x")).decode()
    assert leaves in good
    for bad in (
        "",
        "{}",
        "[]",
        good[:-1],
        good.replace('"version":1', '"version":2'),
        good.replace('"mode":', '"mode":1'),
        good.replace(leaves, base64.b64encode(tree.hash_leaves(b"y")).decode()),
        "null",
    ):
        place.write_text(bad)
        assert Sidecar.read(top, "n", "s") is None, bad
    place.write_text(good)
    (top / "f").write_bytes(b"y")
    assert Sidecar.read(top, "n", "s") is not None
    assert Sidecar.clean(top, "n", "s") is None, "a file changed"
    (top / "f").unlink()
    assert Sidecar.clean(top, "n", "s") is None, "a file is gone"


async def test_an_existing_directory_is_only_replaced_when_asked(tmp_path: Path) -> None:
    target = tmp_path / "p"
    target.mkdir()
    with pytest.raises(LocalError, match="is there already") as caught:
        async with Workshop(target, replace=False):
            raise AssertionError("refused before anything is done")
    assert caught.value.reason == "TARGET_EXISTS"
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(LocalError, match="not a directory"):
        async with Workshop(tmp_path / "f", replace=True):
            pass
    (target / "SingletonLock").symlink_to(f"{socket.gethostname()}-{os.getpid()}")
    with pytest.raises(LocalError) as caught:
        async with Workshop(target, replace=True):
            pass
    assert caught.value.reason == "PROFILE_BUSY"


@pytest.mark.parametrize("able", [True, False])
async def test_what_appears_at_the_last_moment_stays(
    able: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", tmp_path / "p"
    source.mkdir()
    (source / "new").write_bytes(b"new")
    real = install.put

    def put(one: Path, other: Path) -> bool:
        if one.name == "new":
            target.mkdir()
            (target / "mine").write_bytes(b"mine")
            Sidecar("", "s", "mine").write(target)
        return real(one, other)

    monkeypatch.setattr(install, "put", put)
    if not able:
        monkeypatch.setattr(install, "_rename", lambda one, other, flags: errno.ENOSYS)
    Sidecar("", "s", "stale").write(target)
    with pytest.raises(LocalError, match="appeared while it was loaded") as caught:
        async with Workshop(target, replace=False) as shop:
            loader = transfer(source, walk(source, FULL, {}), shop.work)
            await shop.run(shop.install, loader.loaded(), None, Sidecar("", "s", "one"))
    assert caught.value.reason == "TARGET_EXISTS"
    assert [path.name for path in target.iterdir()] == ["mine"]
    note = Sidecar.found(target)
    assert note is not None and note.snapshot_id == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"source", "p", "p.cloakroom.json"}


async def test_what_appears_after_the_last_look_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "source", tmp_path / "p"
    source.mkdir()
    (source / "new").write_bytes(b"new")
    real, looks = Workshop._check, list[Path]()

    def check(self: Workshop) -> None:
        real(self)
        looks.append(target)
        if len(looks) == 3:  # the one right before the new directory gets its place
            target.mkdir()
            (target / "mine").write_bytes(b"mine")

    monkeypatch.setattr(Workshop, "_check", check)
    with pytest.raises(LocalError, match="appeared while it was loaded") as caught:
        async with Workshop(target, replace=False) as shop:
            loader = transfer(source, walk(source, FULL, {}), shop.work)
            await shop.run(shop.install, loader.loaded(), None, Sidecar("", "s", "one"))
    assert (caught.value.reason, len(looks)) == ("TARGET_EXISTS", 3)
    assert [path.name for path in target.iterdir()] == ["mine"]
    assert {path.name for path in tmp_path.iterdir()} == {"source", "p"}


async def test_a_browser_that_starts_while_a_load_runs_keeps_its_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", tmp_path / "p"
    for top in (source, target):
        top.mkdir()
        (top / "f").write_bytes(top.name.encode())
    real = install.complete

    def complete(*arguments: Any) -> Any:
        (target / "SingletonLock").symlink_to(f"{socket.gethostname()}-{os.getpid()}")
        return real(*arguments)

    monkeypatch.setattr(install, "complete", complete)
    with pytest.raises(LocalError, match=f"process {os.getpid()} runs a browser") as caught:
        async with Workshop(target, replace=True) as shop:
            loader = transfer(source, walk(source, FULL, {}), shop.work)
            await shop.run(shop.install, loader.loaded(), None, Sidecar("", "s", "one"))
    assert caught.value.reason == "PROFILE_BUSY"
    assert (target / "f").read_bytes() == b"p"
    assert {path.name for path in tmp_path.iterdir()} == {"source", "p"}


@pytest.mark.parametrize("able", [True, False])
def test_putting_something_where_nothing_is(able: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not able:
        monkeypatch.setattr(install, "_rename", lambda one, other, flags: errno.ENOSYS)
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "f").write_bytes(b"f")
    assert not install.put(tmp_path / "f", tmp_path / "d")
    assert not install.put(tmp_path / "d", tmp_path / "f")
    assert install.put(tmp_path / "d", tmp_path / "new") and install.put(tmp_path / "f", tmp_path / "g")
    assert {path.name for path in tmp_path.iterdir()} == {"new", "g"}
    with pytest.raises(FileNotFoundError):
        install.put(tmp_path / "gone", tmp_path / "h")


@pytest.mark.parametrize("swap", [True, False])
async def test_replacing_without_a_base(swap: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "source", tmp_path / "p"
    source.mkdir()
    (source / "new").write_bytes(b"new")
    (target / "locked").mkdir(parents=True)
    (target / "locked" / "old").write_bytes(b"old")
    (target / "locked").chmod(0o500)
    if not swap:
        monkeypatch.setattr(install, "exchange", lambda one, other: False)
    async with Workshop(target, replace=True) as shop:
        loader = transfer(source, walk(source, FULL, {}), shop.work)
        await shop.run(shop.install, loader.loaded(), None, Sidecar("", "s", "one"))
    assert [path.name for path in target.iterdir()] == ["new"]
    assert {path.name for path in tmp_path.iterdir()} == {"source", "p", "p.cloakroom.json"}


@pytest.mark.parametrize("error", [LoadFailed("it broke"), OSError(28, "No space left on device", "somewhere")])
async def test_a_load_that_fails_at_the_last_step_gives_everything_back(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", tmp_path / "p"
    for top in (source, target):
        (top / "d" / "gone").mkdir(parents=True)
        for name in ("a", "b", "d/c", "d/gone/x"):
            (top / name).write_bytes(name.encode())
            os.utime(top / name, ns=(0, 1))
        for name in ("d/gone", "d"):
            os.utime(top / name, ns=(0, 1))
    old = walk(target, FULL, {})
    (target / "not of the profile").write_bytes(b"")
    Sidecar("", "s", "one", old).write(target)
    before = scan(target)
    shutil.rmtree(source / "d" / "gone")
    (source / "b").write_bytes(b"changed")
    (source / "new").mkdir()
    (source / "new" / "l").symlink_to("..")
    new, reached = walk(source, FULL, {}), list[str]()

    def dress(top: Path, entries: list[tree.Entry]) -> None:
        reached.extend(str(path.relative_to(top)) for path in top.rglob("*"))
        raise error

    monkeypatch.setattr(install, "_dress", dress)
    with pytest.raises(LocalError) as caught:
        async with Workshop(target, replace=True) as shop:
            loader = transfer(source, new, shop.work, Sidecar.clean(target, "", "s"), target)
            await shop.run(shop.install, loader.loaded(), target, Sidecar("", "s", "two"))
    assert caught.value.reason == ("" if isinstance(error, LoadFailed) else "PROFILE_CHANGING")
    assert sorted(reached) == ["a", "b", "d", "d/c", "new", "new/l"], "all of it was done already"
    now = scan(target)
    assert {path: entry._replace(mtime_ns=0) for path, entry in now.items()} == {
        path: entry._replace(mtime_ns=0) for path, entry in before.items()
    }
    assert [path for path, entry in now.items() if entry.kind == FILE and entry != before[path]] == []
    assert {path.name for path in tmp_path.iterdir()} == {"source", "p", "p.cloakroom.json"}
    sidecar = Sidecar.read(target, "", "s")
    assert sidecar is not None and sidecar.snapshot_id == "one"


async def test_a_file_that_changes_after_it_was_found_clean(tmp_path: Path) -> None:
    target = tmp_path / "p"
    target.mkdir()
    (target / "a").write_bytes(b"a")
    await asyncio.sleep(0.05)
    Sidecar("", "s", "one", walk(target, FULL, {})).write(target)
    have = Sidecar.clean(target, "", "s")
    assert have is not None
    (target / "a").write_bytes(b"b")
    with pytest.raises(LocalError) as caught:
        async with Workshop(tmp_path / "copy", replace=True) as shop:
            loader = transfer(target, have.entries, shop.work, have, target)
            await shop.run(shop.install, loader.loaded(), target, Sidecar("", "s", "two"))
    assert caught.value.reason == "PROFILE_CHANGING"
    assert {path.name for path in tmp_path.iterdir()} == {"p", "p.cloakroom.json"}

    async with Workshop(target, replace=True) as shop:
        loader = transfer(target, have.entries, shop.work, have, target)
        await shop.run(shop.install, loader.loaded(), target, Sidecar("", "s", "two"))
    assert Sidecar.clean(target, "", "s") is None, "as if it had changed after the load"
    assert walk(target, FULL, have.entries)["a"] != have.entries["a"]


async def test_a_load_sweeps_what_dead_ones_left_and_never_what_a_living_one_has(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "p[1]"
    (source / "d").mkdir(parents=True)

    async def load() -> None:
        async with Workshop(target, replace=True) as shop:
            loader = transfer(source, walk(source, FULL, {}), shop.work)
            await shop.run(shop.install, loader.loaded(), None, Sidecar("", "s", "one"))

    def names() -> set[str]:
        return {path.name for path in tmp_path.iterdir()} - {"source", "p[1]", "p[1].cloakroom.json"}

    dead = tmp_path / ".p[1].loading-dead"
    (dead / "aside" / "former" / "locked").mkdir(parents=True)
    (dead / "aside" / "former" / "locked").chmod(0o500)
    (dead / "lock").touch()
    (tmp_path / ".p[1].loading-empty").mkdir()
    stale, fresh = tmp_path / ".p[1].sidecar-stale", tmp_path / ".p[1].sidecar-fresh"
    stale.touch()
    fresh.touch()
    os.utime(stale, (1, 1))
    foreign = {".p.loading-1", ".p1.loading-1", ".p[1].cloakroom-load", "p[1].cloakroom-h-1-12ab34cd"}
    for name in foreign:
        (tmp_path / name).mkdir()
    async with Workshop(target, replace=True) as living:
        (living.work / "f").touch()
        await load()
        assert names() == {living.work.parent.name, fresh.name, *foreign}
        assert (living.work / "f").exists()
    assert names() == {fresh.name, *foreign}


async def test_a_directory_that_cannot_be_put_back_is_kept_and_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "p"
    target.mkdir()
    (target / "Cookies").write_bytes(b"logged in")
    await asyncio.sleep(0.05)
    Sidecar("", "s", "one", walk(target, FULL, {})).write(target)
    have = Sidecar.clean(target, "", "s")
    assert have is not None
    real = install.patch

    def patch(top: Path, work: Path, old: Path, loaded: install.Loaded) -> dict[str, tree.Entry]:
        target.mkdir()
        (target / "Preferences").touch()
        return real(top, work, old, loaded)

    monkeypatch.setattr(install, "patch", patch)
    with pytest.raises(LocalError, match="cannot be put back"):
        async with Workshop(target, replace=True) as shop:
            loader = transfer(target, have.entries, shop.work, have, target)
            await shop.run(shop.install, loader.loaded(), target, Sidecar("", "s", "two"))
    with pytest.raises(LocalError, match="LOAD_UNFINISHED"):
        workshop.finished(target)
    assert [path.read_bytes() for path in tmp_path.glob(".p.loading-*/aside/former/Cookies")] == [b"logged in"]


async def test_what_is_not_of_the_profile_goes_with_a_load(tmp_path: Path) -> None:
    target = tmp_path / "p"
    (target / "Default" / "Cache" / "deep").mkdir(parents=True)
    (target / "Default" / "Cookies").write_bytes(b"c")
    (target / "Default" / "Cache" / "deep" / "x").write_bytes(b"x")
    (target / "SingletonLock").symlink_to("elsewhere-1")
    await asyncio.sleep(0.05)
    Sidecar("", "s", "one", walk(target, Capture(), {})).write(target)
    have = Sidecar.clean(target, "", "s")
    assert have is not None and list(have.entries) == ["Default", "Default/Cookies"]
    async with Workshop(target, replace=True) as shop:
        loader = transfer(target, have.entries, shop.work, have, target)
        await shop.run(shop.install, loader.loaded(), target, Sidecar("", "s", "one"))
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*")) == ["Default", "Default/Cookies"]
    assert Sidecar.clean(target, "", "s") is not None


def test_a_base_that_is_not_here_is_refused(tmp_path: Path) -> None:
    loader = Loader(lambda: tmp_path / "work")
    with pytest.raises(LoadFailed, match="which is not here"):
        loader.feed(pb.LoadProfileResponse(begin=pb.LoadBegin(base_snapshot_id="one")))


@pytest.mark.parametrize("level", [0, 1, 6])
def test_data_is_packed_where_that_pays(level: int, tmp_path: Path) -> None:
    top = tmp_path / "p"
    top.mkdir()
    (top / "noise").write_bytes(random.Random(1).randbytes(3 << 20))
    (top / "text").write_bytes(b"cookie=value; path=/; secure\n" * 100_000)
    messages = list(wire.pack(diff({}, walk(top, FULL, {})), top, level))
    codecs = {records.codec for records in messages}
    assert codecs == ({pb.CODEC_RAW, pb.CODEC_DEFLATE} if level else {pb.CODEC_RAW})
    assert (sum(len(records.data) for records in messages) < 3.3 * (1 << 20)) == bool(level)
    assert all(records.ByteSize() <= 1 << 20 for records in messages)


def test_how_hard_to_pack() -> None:
    little, much = 1 << 20, 100 << 20
    assert [wire.effort(size, None, local=local) for size in (little, much) for local in (True, False)] == [6, 6, 0, 1]
    assert wire.effort(much, True, local=True) == 1
    assert wire.effort(little, False, local=False) == 0
