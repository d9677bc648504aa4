# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""All of Cloakroom's profile protocol in one file: read this first if you port a client to another language.

    python client/minimal.py save SESSION DIR     DIR becomes the session's head; only what changed travels
    python client/minimal.py load SESSION DIR     the head becomes DIR; only what differs from it travels

A client walks, hashes, diffs and saves; it loads, verifies and renames. It takes gRPC, SHA-256, zlib, files, and the
stubs of `proto/cloakroom/v1` (also in client/python). `profile.proto` is the manual, and `client/vectors` has data to
test every step against. CLOAKROOM_TARGET names the daemon. A grown client does more: it hashes only what changed, sends
moved content as copies, patches in place, repeats what broke, sweeps, carries the storage state, spares live browsers.
"""

import base64
import glob
import json
import os
import re
import shutil
import stat
import struct
import sys
import uuid
import zlib
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

import grpc
from cloakroom.v1 import profile_pb2 as pb
from cloakroom.v1.profile_pb2_grpc import ProfileServiceStub
from cloakroom.v1.session_pb2 import GetSessionRequest
from cloakroom.v1.session_pb2_grpc import SessionServiceStub

LEAF, DIGEST = 4096, 16  # bytes of a file that are one leaf, and of a leaf's digest
MESSAGE, MOST = 256 << 10, 240 * LEAF  # bytes to aim at in a message, and at most in its data
FILE, DIRECTORY, LINK = pb.ENTRY_KIND_FILE, pb.ENTRY_KIND_DIRECTORY, pb.ENTRY_KIND_SYMLINK
KINDS = {FILE: "file", DIRECTORY: "directory", LINK: "link"}
ASIDE = [".{}.cloakroom-load/former", ".{}.cloakroom-load/replaced", ".{}.loading-*/aside", "{}.cloakroom-*-*-*/old"]

#: A profile: of each path its entry and, of a file, the digests of its leaves, joined.
Tree = dict[str, tuple[pb.Entry, bytes]]


def must(holds: object, message: str) -> None:
    """Ends the program where the other side, or the user, breaks a rule."""
    if not holds:
        raise SystemExit(f"refused: {message}")


def expression(glob: str) -> str:
    """A glob of client/capture.json, which says what travels, as a regular expression; without a slash at any depth."""
    text = re.escape(glob.removeprefix("/") if "/" in glob else f"**/{glob}")
    text = text.replace(r"\*\*/", "(?:[^/]+/)*").replace(r"/\*\*", "(?:/.*)?")
    return text.replace(r"\*", "[^/]*").replace(r"\?", "[^/]")


CAPTURE = json.loads(Path(__file__).with_name("capture.json").read_text(encoding="utf-8"))
CAPTURE = [*CAPTURE["never"], *CAPTURE["rules"]]
RULES = [(re.compile(expression(rule["glob"]), re.DOTALL), rule.get("drop", ["default"])) for rule in CAPTURE]


def walk(top: Path) -> Tree:
    """WALK: everything in a directory that travels, with its digests."""
    tree, pending = Tree(), [""]
    for prefix in pending:  # which grows meanwhile
        for path in [prefix + name for name in os.listdir(top / prefix)]:
            if "default" in next((drop for rule, drop in RULES if rule.fullmatch(path)), []):
                continue  # so says the first rule that matches; what none of them knows travels
            what = os.lstat(top / path)
            entry = pb.Entry(path=path, kind=DIRECTORY, mode=stat.S_IMODE(what.st_mode), mtime_ns=what.st_mtime_ns)
            if stat.S_ISREG(what.st_mode):
                tree[path] = hash_file(top / path, entry)
            elif stat.S_ISDIR(what.st_mode):
                tree[path] = entry, b""
                pending.append(f"{path}/")
            elif stat.S_ISLNK(what.st_mode):  # all links have mode 0777 and no time; sockets and devices never travel
                link = pb.Entry(path=path, kind=LINK, mode=0o777, symlink_target=os.readlink(top / path))
                link.size = len(link.symlink_target.encode())
                tree[path] = link, b""
    return tree


def hash_file(place: Path, entry: pb.Entry) -> tuple[pb.Entry, bytes]:
    """HASH: a leaf's digest is the beginning of its SHA-256, a file's root the SHA-256 of its leaves' digests."""
    leaves, size = bytearray(), 0
    with place.open("rb") as file:
        while leaf := file.read(LEAF):
            leaves += sha256(leaf).digest()[:DIGEST]
            size += len(leaf)
    entry.kind, entry.size, entry.root = FILE, size, sha256(leaves).digest()
    return entry, bytes(leaves)


def manifest_root(tree: Tree) -> bytes:
    """What both sides compute, so that both know that they mean the same tree."""
    digest = sha256()
    for _, (entry, _) in sorted(tree.items()):  # by the paths' UTF-8 bytes, which is Python's own order of text
        path, target = entry.path.encode(), sha256(entry.symlink_target.encode()).digest()
        root = {FILE: entry.root, DIRECTORY: bytes(32), LINK: target}[entry.kind]
        digest.update(struct.pack(">BIqQI", entry.kind, entry.mode, entry.mtime_ns, entry.size, len(path)))
        digest.update(path + root)
    return digest.digest()


def diff(top: Path, base: Tree, new: Tree) -> Iterator[tuple[str, Any, bytes]]:
    """DIFF: paths gone, entries new or other, leaves new in their place; as (field of a message, value, data)."""
    yield from (("removed", path, b"") for path in base if path not in new)
    changed = [path for path in sorted(new) if path not in base or base[path][0] != new[path][0]]
    for number, path in enumerate(changed):
        entry, leaves = new[path]
        yield "entries", entry, b""
        own = base[path][1] if path in base else b""
        for index in range(len(leaves) // DIGEST):
            at = slice(index * DIGEST, (index + 1) * DIGEST)
            if own[at] != leaves[at]:
                run = pb.LeafRun(entry=number, first_leaf=index, leaf_count=1)
                yield "runs", run, read(top / path, index * LEAF, LEAF)


def messages(pieces: Iterable[tuple[str, Any, bytes]]) -> Iterator[pb.ProfileRecords]:
    """Packs pieces into messages of about 256 KiB, with their data deflated where that pays."""
    out, data, weight = pb.ProfileRecords(), bytearray(), 0
    for field, value, more in chain(pieces, [("end", "", b"")]):
        if weight and (field == "end" or weight + len(more) > MESSAGE):
            out.data_size, packed = len(data), zlib.compress(data)
            out.codec, out.data = (pb.CODEC_DEFLATE, packed) if len(packed) < len(data) else (pb.CODEC_RAW, bytes(data))
            yield out
            out, data, weight = pb.ProfileRecords(), bytearray(), 0
        if field != "end":
            getattr(out, field).append(value)
        data += more
        weight += len(more) + (len(value.encode()) if isinstance(value, str) else value.ByteSize()) + 8


def save(channel: grpc.Channel, session: str, top: Path, upload_id: str = "") -> pb.SaveProfileResponse:
    """SAVE: begin, records, end. Either all of it becomes the head, or nothing changed; once for one upload id."""
    parent, base, origin = recall(session, top)
    left = [path for name in ASIDE for path in top.parent.glob(name.format(glob.escape(top.name)))]
    whole = not left or top.with_name(f"{top.name}.cloakroom.json").exists()
    must(whole, f"LOAD_UNFINISHED: a load was cut off, or still runs ({left}): remove {top} and load it again")
    new = walk(top)
    begin = pb.SaveBegin(session_id=session, upload_id=upload_id or str(uuid.uuid4()), parent_snapshot_id=parent)
    if not parent:  # it was not loaded from there: all of it travels, and replaces the head if there is one
        found = SessionServiceStub(channel).GetSession(GetSessionRequest(session_id=session)).session
        begin.parent_snapshot_id, begin.full = found.head_snapshot_id, bool(found.head_snapshot_id)
    begin.portability.CopyFrom(pb.Portability(**origin, capture_policy="default"))
    begin.portability.quiesced = not os.path.lexists(top / "SingletonLock")  # no browser runs on it

    def requests() -> Iterator[pb.SaveProfileRequest]:
        yield pb.SaveProfileRequest(begin=begin)
        yield from (pb.SaveProfileRequest(records=records) for records in messages(diff(top, base, new)))
        yield pb.SaveProfileRequest(end=pb.SaveEnd(manifest_root=manifest_root(new)))

    answer: pb.SaveProfileResponse = ProfileServiceStub(channel).SaveProfile(requests())
    remember(session, top, answer.snapshot, new)
    return answer


def load(channel: grpc.Channel, session: str, top: Path) -> pb.LoadBegin:
    """LOAD: begin, records, end, built aside of the directory, which appears whole or not at all."""
    held, base, _ = recall(session, top)
    must(held or not os.path.lexists(top), f"{top} is there and not of this session: name another directory")
    if held and not (top.exists() and walk(top) == base):  # changed since: all of it has to come
        held, base = "", {}
    wanted = pb.LoadProfileRequest(session_id=session, have_snapshot_id=held, accept_codecs=[pb.CODEC_DEFLATE])
    stream = ProfileServiceStub(channel).LoadProfile(wanted)
    shop, note = top.with_name(f".{top.name}.loading-{uuid.uuid4().hex}"), top.with_name(f"{top.name}.cloakroom.json")
    work, aside = shop / "new", shop / "aside"
    work.mkdir(0o700, parents=True)
    try:
        begin: pb.LoadBegin = next(stream, pb.LoadProfileResponse()).begin
        must(begin.base_snapshot_id in ("", held), "a difference to something that is not here")
        new = build(stream, work, top, base if begin.base_snapshot_id else {})
        aside.mkdir()  # RENAME: the old directory goes, after its note, and the new one takes its place
        for place in (note, top):
            if place.exists():
                place.rename(aside / place.name)
        work.rename(top)
    except BaseException:
        for place in (top, note):
            if (aside / place.name).exists():
                (aside / place.name).rename(place)
        shutil.rmtree(shop)
        raise
    remember(session, top, begin.snapshot, new)  # until then a save is refused
    shutil.rmtree(shop, ignore_errors=True)
    return begin


def build(stream: Iterable[pb.LoadProfileResponse], work: Path, top: Path, base: Tree) -> Tree:
    """Makes in `work` what a stream describes, as a difference to `base`, which `top` holds."""
    named, removed, root = list[pb.Entry](), set[str](), b""
    for message in stream:
        named += [start(entry, work, top, base) for entry in message.records.entries]
        removed.update(message.records.removed)
        fill(message.records, named, work, top, base)
        root = message.end.manifest_root  # of the last message
    kept = base.keys() - removed - {entry.path for entry in named}
    named += [start(base[path][0], work, top, base) for path in kept]
    return verify(named, root, work)


def start(entry: pb.Entry, work: Path, top: Path, base: Tree) -> pb.Entry:
    """Makes room for an entry, which is not trusted; a file begins as the base's of this path, cut or stretched."""
    names, target = entry.path.split("/"), entry.symlink_target.split("/")
    must(not {"", ".", ".."} & {*names} and not {"\0", "\\"} & {*entry.path}, f"the path {entry.path!r}")
    if entry.kind == LINK:  # relative, and it climbs before it descends, but not out: so no chain of links leads out
        ups = target.count("..")
        must(target[0] and {*target[:ups]} <= {".."} and ups < len(names), f"the link {entry.path!r} leads out")
        return entry
    (work / entry.path if entry.kind == DIRECTORY else (work / entry.path).parent).mkdir(parents=True, exist_ok=True)
    if entry.kind == FILE:
        with (work / entry.path).open("xb") as file:  # never through what is there; links are made last
            if base.get(entry.path, (entry, b""))[1]:
                file.write((top / entry.path).read_bytes())
            file.truncate(entry.size)
    return entry


def fill(records: pb.ProfileRecords, named: list[pb.Entry], work: Path, top: Path, base: Tree) -> None:
    """Writes the leaves of a message: from its data, or copied from a file of the base."""
    data, at = records.data, 0
    must(records.data_size <= MOST, f"{records.data_size} bytes in one message")
    if records.codec == pb.CODEC_DEFLATE:
        data = zlib.decompressobj().decompress(data, records.data_size + 1)
    for run in records.runs:
        must(run.entry < len(named) and (not run.copy_path or run.copy_path in base), "leaves of something unknown")
        entry, first = named[run.entry], run.first_leaf * LEAF
        size = min(run.leaf_count * LEAF, entry.size - first)
        must(entry.kind == FILE and size > 0, f"leaves that {entry.path!r} does not have")
        content = read(top / run.copy_path, run.copy_first_leaf * LEAF, size) if run.copy_path else data[at : at + size]
        at += 0 if run.copy_path else size
        with (work / entry.path).open("r+b") as file:
            file.seek(first)
            file.write(content)
    must(at == len(data) == records.data_size, "data that is longer or shorter than it says")


def verify(named: list[pb.Entry], root: bytes, work: Path) -> Tree:
    """VERIFY: what lies on the disk, read again, must make the announced root. Then links, modes and times follow."""
    tree = {it.path: hash_file(work / it.path, it) if it.kind == FILE else (it, b"") for it in named}
    must(len(tree) == len(named) and manifest_root(tree) == root, "the content is not what was saved, or not all of it")
    for path, (entry, _) in sorted(tree.items(), reverse=True):  # a directory after what is in it
        if entry.kind == LINK:
            os.symlink(entry.symlink_target, work / path)
        else:
            os.chmod(work / path, entry.mode)
            os.utime(work / path, ns=(entry.mtime_ns, entry.mtime_ns))
    return tree


def remember(session: str, top: Path, snapshot: pb.Snapshot, tree: Tree) -> None:
    """Keeps the manifest of a directory beside it for all clients, as client/vectors/README.md says, without `stat`."""
    entries = [
        {"kind": KINDS[entry.kind], "path": path, "mode": entry.mode, "mtime_ns": str(entry.mtime_ns), "stat": ""}
        | {"size": entry.size, "target": entry.symlink_target, "root": entry.root.hex()}
        | {"leaves": base64.b64encode(leaves).decode()}
        for path, (entry, leaves) in sorted(tree.items())
    ]
    origin = {it: getattr(snapshot.portability, it) for it in ("os", "brand", "browser_version", "password_store")}
    body = {"version": 1, "namespace": "", "session_id": session, "snapshot_id": snapshot.id, "origin": origin}
    body |= {"manifest_root": manifest_root(tree).hex(), "entries": entries}
    aside = top.with_name(f".{top.name}.{uuid.uuid4().hex}")
    aside.touch(0o600)
    aside.write_text(json.dumps(body), encoding="utf-8")
    aside.rename(top.with_name(f"{top.name}.cloakroom.json"))


def recall(session: str, top: Path) -> tuple[str, Tree, dict[str, Any]]:
    """The snapshot, the tree and the origin that a directory had; empty if it does not come from this session."""
    place = top.with_name(f"{top.name}.cloakroom.json")
    body = json.loads(place.read_text(encoding="utf-8")) if place.exists() else {}
    if [body.get(name) for name in ("version", "namespace", "session_id")] != [1, "", session]:
        return "", {}, {}
    tree: Tree = {}
    for item in body["entries"]:
        entry = pb.Entry(path=item["path"], mode=item["mode"], mtime_ns=int(item["mtime_ns"]), size=item["size"])
        entry.kind = next(kind for kind, name in KINDS.items() if name == item["kind"])
        entry.root, entry.symlink_target = bytes.fromhex(item.get("root", "")), item.get("target", "")
        tree[entry.path] = entry, base64.b64decode(item.get("leaves", ""))
    return body["snapshot_id"], tree, body.get("origin", {})


def read(place: Path, at: int, size: int) -> bytes:
    """A part of a file."""
    with place.open("rb") as file:
        file.seek(at)
        return file.read(size)


if __name__ == "__main__":
    must(sys.argv[1:2] in (["save"], ["load"]) and sys.argv[3:], "say: save SESSION DIR, or: load SESSION DIR")
    with grpc.insecure_channel(os.environ.get("CLOAKROOM_TARGET", "127.0.0.1:7700")) as to_daemon:
        try:
            verb = save if sys.argv[1] == "save" else load
            print(verb(to_daemon, sys.argv[2], Path(sys.argv[3]).absolute()).snapshot.id)  # noqa: T201
        except grpc.RpcError as failure:  # its details are google.rpc's; error.proto has the table of reasons
            raise SystemExit(f"{failure.code().name}: {failure.details()}") from None
