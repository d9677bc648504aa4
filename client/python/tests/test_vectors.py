# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""The client against `client/vectors`, which hold all clients to the same answers."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import CLIENT, content, entries_of, make, scan, vectors

from cloakroom import tree, wire
from cloakroom.capture import Capture, compile_glob
from cloakroom.errors import LocalError
from cloakroom.install import Workshop
from cloakroom.profiles import Loader, diff
from cloakroom.sidecar import Sidecar
from cloakroom.tree import Run
from cloakroom.v1 import profile_pb2 as pb

CODECS = {"raw": pb.CODEC_RAW, "deflate": pb.CODEC_DEFLATE}
KINDS = {"file": pb.ENTRY_KIND_FILE, "directory": pb.ENTRY_KIND_DIRECTORY, "link": pb.ENTRY_KIND_SYMLINK}
ROOT = Path(__file__).resolve().parents[1]


def named(cases: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case["name"])


def test_the_vectors_are_what_their_script_writes() -> None:
    script = CLIENT / "vectors" / "make.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["capture.json", "service_config.json"])
def test_the_package_carries_the_contract_of_this_checkout(name: str) -> None:
    source = CLIENT / name if name == "capture.json" else CLIENT.parent / "proto" / name
    assert (ROOT / "src" / "cloakroom" / name).read_bytes() == source.read_bytes(), "build the package anew"


@named(vectors("digests")["files"])
def test_digests(case: dict[str, Any], tmp_path: Path) -> None:
    data = content(case["content"])
    assert (len(data), hashlib.sha256(data).hexdigest()) == (case["size"], case["sha256"])
    (tmp_path / "f").write_bytes(data)
    entry = tree.look(str(tmp_path / "f"), "f", None)
    assert entry is not None
    leaves = [leaf.hex() for leaf in tree.split(entry.leaves)]
    assert len(leaves) == case["leaf_count"]
    assert leaves[:3] == case["leaves"]
    assert (leaves or [""])[-1] == case["last_leaf"]
    assert entry.root.hex() == case["root"]


@named(vectors("manifests")["trees"])
def test_manifest_roots(case: dict[str, Any]) -> None:
    assert tree.manifest_root(entries_of(case["tree"]).values()).hex() == case["manifest_root"]


@named(vectors("diffs")["diffs"])
def test_differences(case: dict[str, Any], tmp_path: Path) -> None:
    base, new = entries_of(case["base"]), entries_of(case["new"])
    delta, expected = diff(base, new), case["expected"]
    assert [entry.path for entry in delta.entries] == expected["entries"]
    assert delta.removed == expected["removed"]
    assert delta.runs == [
        Run(run["entry"], run["first_leaf"], run["leaf_count"], run.get("copy_path", ""), run.get("copy_first_leaf", 0))
        for run in expected["runs"]
    ]
    make(tmp_path / "new", case["new"])
    messages = list(wire.pack(delta, tmp_path / "new", 6))
    data = b"".join(bytes(wire.inflate(records)) for records in messages)
    assert (len(data), hashlib.sha256(data).hexdigest()) == (expected["data_size"], expected["data_sha256"])
    assert delta.data_size() == expected["data_size"]
    assert all(records.data_size <= 983_040 and records.ByteSize() <= 1 << 20 for records in messages)
    assert tree.manifest_root(new.values()).hex() == case["manifest_root"]


def messages_of(case: dict[str, Any]) -> list[pb.LoadProfileResponse]:
    def one(message: dict[str, Any]) -> pb.LoadProfileResponse:
        if "begin" in message:
            return pb.LoadProfileResponse(
                begin=pb.LoadBegin(base_snapshot_id="base" if message["begin"]["base"] else "")
            )
        if "end" in message:
            return pb.LoadProfileResponse(end=pb.LoadEnd(manifest_root=bytes.fromhex(message["end"]["manifest_root"])))
        body = message["records"]
        entries = [
            pb.Entry(
                kind=KINDS[entry["kind"]],
                path=entry["path"],
                mode=entry["mode"],
                mtime_ns=int(entry["mtime_ns"]),
                size=entry["size"],
                root=bytes.fromhex(entry.get("root", "")),
                symlink_target=entry.get("target", ""),
            )
            for entry in body["entries"]
        ]
        runs = [pb.LeafRun(**run) for run in body["runs"]]
        records = pb.ProfileRecords(entries=entries, runs=runs, removed=body["removed"], codec=CODECS[body["codec"]])
        records.data, records.data_size = base64.b64decode(body["data"]), body["data_size"]
        return pb.LoadProfileResponse(records=records)

    return [one(message) for message in case["messages"]]


async def load(case: dict[str, Any], directory: Path, have: Path) -> None:
    """What `Client.load` does with the messages of a stream."""
    if case["base"]:
        make(have, case["base"])
        Sidecar("", "s", "base", tree.restat(have, entries_of(case["base"]).values())).write(have)
    async with Workshop(directory, replace=directory == have) as shop:
        old = Sidecar.clean(have, "", "s")
        assert bool(old) == bool(case["base"])
        loader = Loader(lambda: shop.work, old, have)
        for message in messages_of(case):
            loader.feed(message)
        await shop.run(
            shop.install, loader.loaded(), have if loader.begin.base_snapshot_id else None, Sidecar("", "s", "new")
        )


@pytest.mark.parametrize("where", ["beside", "in place"])
@named(vectors("loads")["fine"])
async def test_loads(case: dict[str, Any], where: str, tmp_path: Path) -> None:
    directory = tmp_path / ("have" if where == "in place" and case["base"] else "new")
    await load(case, directory, tmp_path / "have")
    expected = entries_of(case["tree"])
    assert scan(directory) == expected
    after = Sidecar.clean(directory, "", "s")
    assert after is not None and after.snapshot_id == "new"
    assert {path: entry._replace(stat="") for path, entry in after.entries.items()} == expected
    if directory.name == "new" and case["base"]:
        assert scan(tmp_path / "have") == entries_of(case["base"])
    names = {directory.name, directory.name + ".cloakroom.json"} | (
        {"have", "have.cloakroom.json"} if case["base"] else set()
    )
    assert {path.name for path in tmp_path.iterdir()} == names


@pytest.mark.parametrize("where", ["beside", "in place"])
@named(vectors("loads")["refused"])
async def test_loads_that_must_be_refused(case: dict[str, Any], where: str, tmp_path: Path) -> None:
    directory = tmp_path / ("have" if where == "in place" and case["base"] else "new")
    with pytest.raises(LocalError) as caught:
        await load(case, directory, tmp_path / "have")
    assert caught.value.reason
    left = {"have", "have.cloakroom.json"} if case["base"] else set()
    assert {path.name for path in tmp_path.iterdir()} == left, "nothing is left behind"
    if case["base"]:
        assert scan(tmp_path / "have") == entries_of(case["base"])


@pytest.mark.parametrize("case", vectors("paths")["paths"], ids=lambda case: repr(case["path"])[:40])
def test_paths(case: dict[str, Any]) -> None:
    assert (tree.fault_in_path(case["path"]) == "") == case["ok"]


@pytest.mark.parametrize("case", vectors("paths")["links"], ids=lambda case: f"{case['path']} to {case['target']!r}")
def test_link_targets(case: dict[str, Any]) -> None:
    assert (tree.fault_in_target(case["path"], case["target"]) == "") == case["ok"]


def test_paths_and_targets_that_are_not_utf8() -> None:
    assert tree.fault_in_path("a\udcff")
    assert tree.fault_in_target("l", "a\udcff")


@pytest.mark.parametrize("case", vectors("capture")["globs"], ids=lambda case: f"{case['glob']} and {case['path']!r}")
def test_globs(case: dict[str, Any]) -> None:
    assert bool(re.fullmatch(compile_glob(case["glob"]), case["path"], re.DOTALL)) == case["matches"]
    # The same, as a caller's own glob.
    assert Capture("full", exclude=[case["glob"]]).verdict(case["path"]) != case["matches"]


@pytest.mark.parametrize("glob", [*vectors("capture")["bad_globs"]])
def test_bad_globs(glob: str) -> None:
    with pytest.raises(LocalError, match="is bad"):
        Capture(exclude=[glob])


@pytest.mark.parametrize("policy", ["default", "lean", "full"])
def test_capture_decisions(policy: str) -> None:
    rules = Capture(policy)
    cases = vectors("capture")["decisions"]
    assert {case["path"]: rules.keeps(case["path"]) for case in cases} == {case["path"]: case[policy] for case in cases}


@pytest.mark.parametrize("case", vectors("capture")["callers"], ids=json.dumps)
def test_callers_own_globs(case: dict[str, Any]) -> None:
    rules = Capture(case["policy"], include=case["include"], exclude=case["exclude"])
    assert rules.keeps(case["path"]) == case["kept"]


def test_unknown_policy() -> None:
    with pytest.raises(LocalError, match="default, lean, full"):
        Capture("everything")
