# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""What several test files need: a daemon, the vectors, and trees as they describe them."""

import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon import Daemon

from cloakroom import Client, tree, wire
from cloakroom.profiles import Loader, diff
from cloakroom.sidecar import Sidecar
from cloakroom.tree import DIRECTORY, FILE, LINK, Entry
from cloakroom.v1 import profile_pb2 as pb

CLIENT = Path(__file__).resolve().parents[2]
KINDS = {"file": FILE, "directory": DIRECTORY, "link": LINK}


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    running = Daemon(tmp_path_factory.mktemp("daemon") / "data")
    yield running
    running.stop()


@pytest.fixture
async def client(daemon: Daemon) -> AsyncIterator[Client]:
    async with Client(daemon.target) as connected:
        yield connected


def vectors(name: str) -> Any:
    return json.loads((CLIENT / "vectors" / f"{name}.json").read_text(encoding="utf-8"))


def generate(seed: str, size: int) -> bytes:
    """The generator that the vectors state."""
    blocks = (hashlib.sha256(f"{seed}:{index}".encode()).digest() for index in range(-(-size // 32)))
    return b"".join(blocks)[:size]


def content(pieces: list[dict[str, Any]]) -> bytes:
    def one(piece: dict[str, Any]) -> bytes:
        if "seed" in piece:
            return generate(piece["seed"], piece["size"])
        return bytes(piece["zeros"]) if "zeros" in piece else str(piece["text"]).encode()

    return b"".join(map(one, pieces))


def entry_of(described: dict[str, Any]) -> Entry:
    """The entry that a vector describes."""
    kind, path, mode, mtime = KINDS[described["kind"]], described["path"], described["mode"], int(described["mtime_ns"])
    if kind == DIRECTORY:
        return Entry(kind, path, mode, mtime)
    if kind == LINK:
        target = described["target"].encode()
        return Entry(kind, path, mode, mtime, len(target), hashlib.sha256(target).digest(), described["target"])
    data = content(described["content"])
    leaves = tree.hash_leaves(data)
    return Entry(kind, path, mode, mtime, len(data), hashlib.sha256(leaves).digest(), leaves=leaves)


def entries_of(described: list[dict[str, Any]]) -> dict[str, Entry]:
    return tree.in_order(map(entry_of, described))


def make(directory: Path, described: list[dict[str, Any]]) -> None:
    """Makes the files that vectors describe."""
    directory.mkdir()
    in_order = sorted(described, key=lambda entry: str(entry["path"]))
    for entry in in_order:
        place = directory / entry["path"]
        if entry["kind"] == "directory":
            place.mkdir()
        elif entry["kind"] == "link":
            place.symlink_to(entry["target"])
        else:
            place.write_bytes(content(entry["content"]))
    for entry in reversed(in_order):
        if entry["kind"] != "link":
            (directory / entry["path"]).chmod(entry["mode"])
            os.utime(directory / entry["path"], ns=(int(entry["mtime_ns"]),) * 2)


def scan(directory: Path) -> dict[str, Entry]:
    """Reads all of a directory again, whatever any sidecar says; without what the system says of it."""
    every = (path for path in directory.rglob("*"))
    found = (tree.look(str(path), str(path.relative_to(directory)), None) for path in every)
    return {path: entry._replace(stat="") for path, entry in tree.in_order(e for e in found if e).items()}


def stream(delta: tree.Difference, source: Path, root: bytes, base: str = "") -> list[pb.LoadProfileResponse]:
    """A load that brings a difference, with the data read from `source`."""
    begin = pb.LoadBegin(base_snapshot_id=base, content_bytes=delta.data_size())
    messages = [pb.LoadProfileResponse(begin=begin)]
    messages += [pb.LoadProfileResponse(records=records) for records in wire.pack(delta, source, 6)]
    return [*messages, pb.LoadProfileResponse(end=pb.LoadEnd(manifest_root=root))]


def transfer(
    source: Path, new: dict[str, Entry], work: Path, have: Sidecar | None = None, base: Path | None = None
) -> Loader:
    """Brings a tree to `work` as a save and a load would, against what is there already."""
    delta = diff(have.entries if have else {}, new)
    work.mkdir(mode=0o700, exist_ok=True)
    loader = Loader(lambda: work, have, base)
    for message in stream(delta, source, tree.manifest_root(new.values()), have.snapshot_id if have else ""):
        loader.feed(pb.LoadProfileResponse.FromString(message.SerializeToString()))
    return loader
