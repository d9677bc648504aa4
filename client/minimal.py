# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""All of Cloakroom's profile protocol in one file: read this first if you port a client to another language.

    python client/minimal.py save SESSION DIR     DIR becomes the session's head; only what changed travels
    python client/minimal.py load SESSION DIR     the head becomes DIR, which must not be there yet, or be empty

A client walks, hashes, diffs and saves; it loads, verifies and renames. With `--replace` another head, or what is in
DIR, gives way. CLOAKROOM_TARGET names the daemon; `profile.proto` is the manual, and `client/vectors` has data to test
every step against. A grown client also hashes only what changed, sends moved content as copies, packs data, patches in
place, repeats what broke, carries the storage state, and refuses to save while a browser runs.
"""

import base64
import fcntl
import glob
import json
import os
import re
import shutil
import stat
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import sha256
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
from cloakroom.v1 import profile_pb2 as pb
from cloakroom.v1.profile_pb2_grpc import ProfileServiceStub as Profiles
from cloakroom.v1.session_pb2 import GetSessionRequest
from cloakroom.v1.session_pb2_grpc import SessionServiceStub as Sessions

LEAF, DIGEST, MESSAGE = 4096, 16, 256 << 10  # bytes of a file's leaf, of a leaf's digest, and of about one message
FILE, DIRECTORY, LINK = pb.ENTRY_KIND_FILE, pb.ENTRY_KIND_DIRECTORY, pb.ENTRY_KIND_SYMLINK
KINDS = {FILE: "file", DIRECTORY: "directory", LINK: "link"}
ORIGIN = "os", "brand", "browser_version", "password_store"  # of a portability: what the next save hands on
ASIDE = [".{}.cloakroom-load/former", ".{}.cloakroom-load/replaced", ".{}.loading-*/aside", "{}.cloakroom-*-*-*/old"]
Tree = dict[str, tuple[pb.Entry, bytes]]  # a profile: of each path its entry and, of a file, its leaves' digests


def must(holds: object, message: str) -> None:
    """Ends the program where the other side, or the user, breaks a rule."""
    if not holds:
        raise SystemExit(f"refused: {message}")


def expression(glob: str) -> re.Pattern[str]:
    """A glob of client/capture.json, which says what travels, as a regular expression; without a slash at any depth."""
    text = re.escape(glob.removeprefix("/") if "/" in glob else f"**/{glob}")
    text = text.replace(r"\*\*/", "(?:[^/]+/)*").replace(r"/\*\*", "(?:/.*)?")
    return re.compile(text.replace(r"\*", "[^/]*").replace(r"\?", "[^/]"), re.DOTALL)


CAPTURE = json.loads(Path(__file__).with_name("capture.json").read_text(encoding="utf-8"))
RULES = [(expression(it["glob"]), it.get("drop", ["default"])) for it in CAPTURE["never"] + CAPTURE["rules"]]


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
                to = os.readlink(top / path)
                tree[path] = pb.Entry(path=path, kind=LINK, mode=0o777, size=len(to.encode()), symlink_target=to), b""
    return tree


def hash_file(place: Path, entry: pb.Entry) -> tuple[pb.Entry, bytes]:
    """HASH: a leaf's digest is the beginning of its SHA-256, a file's root the SHA-256 of its leaves' digests."""
    with place.open("rb") as file:
        leaves = b"".join(sha256(leaf).digest()[:DIGEST] for leaf in iter(lambda: file.read(LEAF), b""))
        entry.kind, entry.size, entry.root = FILE, file.tell(), sha256(leaves).digest()
    return entry, leaves


def manifest_root(tree: Tree) -> bytes:
    """What both sides compute, so that both know that they mean the same tree."""
    digest = sha256()
    for _, (entry, _) in sorted(tree.items()):  # by the paths' UTF-8 bytes, which is Python's own order of text
        path, target = entry.path.encode(), sha256(entry.symlink_target.encode()).digest()
        digest.update(struct.pack(">BIqQI", entry.kind, entry.mode, entry.mtime_ns, entry.size, len(path)))
        digest.update(path + {FILE: entry.root, DIRECTORY: bytes(32), LINK: target}[entry.kind])
    return digest.digest()


def diff(top: Path, base: Tree, new: Tree) -> Iterator[tuple[str, Any, bytes]]:
    """DIFF: paths gone, entries new or other, leaves new in their place; as (field of a message, value, data)."""
    yield from (("removed", path, b"") for path in base if path not in new)
    changed = [path for path in sorted(new) if path not in base or base[path][0] != new[path][0]]
    for number, path in enumerate(changed):
        (entry, leaves), place = new[path], top / path
        yield "entries", entry, b""
        own = base[path][1] if path in base else b""
        for index in range(len(leaves) // DIGEST):
            at = slice(index * DIGEST, (index + 1) * DIGEST)
            if own[at] != leaves[at]:
                yield "runs", pb.LeafRun(entry=number, first_leaf=index, leaf_count=1), read(place, index * LEAF, LEAF)


def messages(pieces: Iterable[tuple[str, Any, bytes]]) -> Iterator[pb.ProfileRecords]:
    """Packs pieces into messages of about 256 KiB."""
    out, data, weight = pb.ProfileRecords(), bytearray(), 0
    for field, value, more in chain(pieces, [("end", "", b"")]):
        if weight and (field == "end" or weight + len(more) > MESSAGE):
            out.codec, out.data, out.data_size = pb.CODEC_RAW, bytes(data), len(data)
            yield out
            out, data, weight = pb.ProfileRecords(), bytearray(), 0
        if field != "end":
            getattr(out, field).append(value)
        data += more
        weight += len(more) + (len(value.encode()) if isinstance(value, str) else value.ByteSize()) + 8


def save(channel: grpc.Channel, session: str, top: Path, *said: str, upload_id: str = "") -> pb.SaveProfileResponse:
    """SAVE: begin, records, end. Either all of it becomes the head, or nothing changed; once for one upload id."""
    (*came_from, parent), base, origin, had_state = recall(top)
    left = [path for name in ASIDE for path in top.parent.glob(name.format(glob.escape(top.name)))]
    must(not left or top.with_name(f"{top.name}.cloakroom.json").exists(), f"LOAD_UNFINISHED: load it again ({left})")
    must(top.is_dir(), f"PROFILE_MISSING: there is no directory {top}")
    own, its = not parent or came_from == ["", session], "/".join(came_from).strip("/")  # with the namespace, if any
    must(own or "--replace" in said, f"OTHER_SESSION: {top} is of session {its}: save it there, or --replace")
    new = walk(top)
    must(new or "--force" in said, f"NOTHING_TO_SAVE: nothing in {top} belongs to a profile; --force saves even that")
    begin = pb.SaveBegin(session_id=session, upload_id=upload_id or os.urandom(16).hex(), portability=origin)
    begin.portability.capture_policy, begin.portability.quiesced = "default", not os.path.lexists(top / "SingletonLock")
    end = pb.SaveProfileRequest(end=pb.SaveEnd(manifest_root=manifest_root(new)))
    for tries_left in reversed(range(5 if "--replace" in said else 1)):
        if "--replace" in said:  # it follows whatever is the head; else what does not come from that is refused
            head = Sessions(channel).GetSession(GetSessionRequest(session_id=session)).session.head_snapshot_id
            parent, base = head, base if own and parent == head else {}  # against nothing: all of it travels
        begin.parent_snapshot_id, begin.full = parent, bool(parent and not base)
        records = (pb.SaveProfileRequest(records=part) for part in messages(diff(top, base, new)))
        stream = chain([pb.SaveProfileRequest(begin=begin)], records, [end])
        try:
            answer: pb.SaveProfileResponse = Profiles(channel).SaveProfile(stream)
            break
        except grpc.RpcError as failure:  # ABORTED: somebody was faster, so the head is another one now
            if failure.code() != grpc.StatusCode.ABORTED or not tries_left:
                raise
    if had_state:
        lost = "a storage state and this one does not: session cookies are no longer in what is loaded"
        sys.stderr.write(f"warning: the snapshot that {top} came from carried {lost}\n")
    remember(session, top, answer.snapshot, new)
    return answer


def load(channel: grpc.Channel, session: str, top: Path, *said: str) -> pb.LoadBegin:
    """LOAD: begin, records, end, built aside of the directory, which appears whole or not at all."""
    may_load(top, *said)
    (*came_from, held), base, *_ = recall(top)
    if came_from != ["", session] or not top.is_dir() or walk(top) != base:
        held, base = "", {}  # only of what is as it was can a difference be taken
    stream = Profiles(channel).LoadProfile(pb.LoadProfileRequest(session_id=session, have_snapshot_id=held))
    top.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{top.name}.loading-", dir=top.parent) as lab, Path(lab, "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # nobody sweeps what a living process works in
        work, aside = Path(lab, "new"), Path(lab, "aside")
        work.mkdir(0o700)
        begin: pb.LoadBegin = next(stream, pb.LoadProfileResponse()).begin
        must(begin.base_snapshot_id in ("", held), "a difference to something that is not here")
        new = build(stream, work, top, base if begin.base_snapshot_id else {})
        may_load(top, *said)
        if "--replace" in said and top.exists():  # RENAME: the old directory goes, after its note; the new one comes
            aside.mkdir()  # with this here, and without a note, nothing is saved
            top.with_name(f"{top.name}.cloakroom.json").unlink(missing_ok=True)
            top.rename(aside / top.name)
        try:
            work.rename(top)  # never in place of a directory with something in it
        except OSError as failure:
            must(False, f"TARGET_EXISTS: {top} came meanwhile, and stays: {failure}")
        remember(session, top, begin.snapshot, new)
    for path in top.parent.glob(f".{glob.escape(top.name)}.loading-*/lock"):  # of loads that were killed
        with suppress(OSError), path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent)
    return begin


def may_load(top: Path, *said: str) -> None:
    """Refuses a place where something is that must not give way."""
    if os.path.lexists(top):
        must(top.is_dir() and not top.is_symlink(), f"TARGET_EXISTS: {top} is no directory, and is never replaced")
        must("--replace" in said or not os.listdir(top), f"TARGET_EXISTS: {top} is there: load elsewhere, or --replace")
        must(not os.path.lexists(top / "SingletonLock"), f"PROFILE_BUSY: end the browser or remove {top}/SingletonLock")


def build(stream: Iterable[pb.LoadProfileResponse], work: Path, top: Path, base: Tree) -> Tree:
    """Makes in `work` what a stream describes, as a difference to `base`, which `top` holds."""
    named, removed, root = list[pb.Entry](), set[str](), b""
    for message in stream:
        named += [start(entry, work, top, base) for entry in message.records.entries]
        removed.update(message.records.removed)
        fill(message.records, named, work, top, base)
        root = message.end.manifest_root  # of the last message
    named += [start(base[path][0], work, top, base) for path in base.keys() - removed - {it.path for it in named}]
    # VERIFY: what lies on the disk, read again, must make the announced root. Then links, modes and times follow.
    tree = {it.path: hash_file(work / it.path, it) if it.kind == FILE else (it, b"") for it in named}
    must(len(tree) == len(named) and manifest_root(tree) == root, "the content is not what was saved, or not all of it")
    for path, (entry, _) in sorted(tree.items(), reverse=True):  # a directory after what is in it
        if entry.kind == LINK:
            os.symlink(entry.symlink_target, work / path)
        else:
            os.chmod(work / path, entry.mode)
            os.utime(work / path, ns=(entry.mtime_ns, entry.mtime_ns))
    return tree


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
    data, at = records.data, 0  # never packed, for this client named no codec
    for run in records.runs:
        must(run.entry < len(named) and (not run.copy_path or run.copy_path in base), "leaves of something unknown")
        entry, first = named[run.entry], run.first_leaf * LEAF
        size = min(run.leaf_count * LEAF, entry.size - first)
        must(entry.kind == FILE and size > 0, f"leaves that {entry.path!r} does not have")
        content = read(top / run.copy_path, run.copy_first_leaf * LEAF, size) if run.copy_path else data[at : at + size]
        at += 0 if run.copy_path else size
        with (work / entry.path).open("r+b") as file:
            os.pwrite(file.fileno(), content, first)
    must(at == len(data) == records.data_size, "data that is longer or shorter than it says")


def remember(session: str, top: Path, snapshot: pb.Snapshot, tree: Tree) -> None:
    """Keeps the manifest of a directory beside it for all clients, as client/vectors/README.md says, without `stat`."""
    entries = [
        {"kind": KINDS[it.kind], "path": path, "mode": it.mode, "mtime_ns": str(it.mtime_ns), "size": it.size}
        | {"target": it.symlink_target, "root": it.root.hex(), "leaves": base64.b64encode(leaves).decode(), "stat": ""}
        for path, (it, leaves) in sorted(tree.items())
    ]
    origin, root = {it: getattr(snapshot.portability, it) for it in ORIGIN}, manifest_root(tree).hex()
    body = {"version": 1, "namespace": "", "session_id": session, "snapshot_id": snapshot.id, "manifest_root": root}
    body |= {"origin": origin, "entries": entries} | ({"storage_state": True} if snapshot.has_storage_state else {})
    aside = top.with_name(f".{top.name}.sidecar-{os.urandom(8).hex()}")
    aside.touch(0o600)
    aside.write_text(json.dumps(body), encoding="utf-8")
    aside.rename(top.with_name(f"{top.name}.cloakroom.json"))


def recall(top: Path) -> tuple[list[str], Tree, pb.Portability, bool]:
    """Namespace, session and snapshot that a directory came from, its tree then, its origin, and had it a state."""
    with suppress(OSError, ValueError, LookupError, TypeError, AttributeError, struct.error):  # it cannot be understood
        body, tree = json.loads(top.with_name(f"{top.name}.cloakroom.json").read_text(encoding="utf-8")), Tree()
        for it in body["entries"] if body["version"] == 1 else []:
            entry = pb.Entry(path=it["path"], mode=it["mode"], mtime_ns=int(it["mtime_ns"]), size=it["size"])
            entry.kind = {name: kind for kind, name in KINDS.items()}[it["kind"]]
            entry.root, entry.symlink_target = bytes.fromhex(it.get("root", "")), it.get("target", "")
            tree[entry.path] = entry, base64.b64decode(it.get("leaves", ""))
        if body["version"] == 1 and manifest_root(tree).hex() == body["manifest_root"]:
            origin = pb.Portability(**{it: body.get("origin", {}).get(it) for it in ORIGIN})
            came_from = [str(body[it]) for it in ("namespace", "session_id", "snapshot_id")]
            return came_from, tree, origin, body.get("storage_state") is True
    return ["", "", ""], {}, pb.Portability(), False  # nothing is known: it came from nothing


def read(place: Path, at: int, size: int) -> bytes:
    """A part of a file."""
    with place.open("rb") as file:
        return os.pread(file.fileno(), size, at)


if __name__ == "__main__":
    asked = sys.argv[1:2] in (["save"], ["load"]) and sys.argv[3:] and {*sys.argv[4:]} <= {"--replace", "--force"}
    must(asked, "say: save SESSION DIR, or: load SESSION DIR; then --replace or --force if need be")
    with grpc.insecure_channel(os.environ.get("CLOAKROOM_TARGET", "127.0.0.1:7700")) as to_daemon:
        try:
            verb = save if sys.argv[1] == "save" else load
            print(verb(to_daemon, sys.argv[2], Path(sys.argv[3]).absolute(), *sys.argv[4:]).snapshot.id)  # noqa: T201
        except grpc.RpcError as failure:  # its details are google.rpc's; error.proto has the table of reasons
            raise SystemExit(f"{failure.code().name}: {failure.details()}") from None
