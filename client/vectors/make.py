#!/usr/bin/env python3
# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""Writes the test vectors that every client is held to.

Everything here is written from the comments of `proto/cloakroom/v1/profile.proto`, from `client/capture.json` and from the README beside this file. It shares no
code with any client, and takes the shortest way rather than the fast one. `make.py --check` compares with the files that are there instead of writing them.
"""

import base64
import hashlib
import json
import struct
import sys
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
LEAF = 4096
KINDS = {"file": 1, "directory": 2, "link": 3}


# --- content -----------------------------------------------------------------------------------------------------------------------------------------------------


def generate(seed: str, size: int) -> bytes:
    """The stated generator: SHA-256 of `seed:0`, `seed:1`, … one after the other, cut to size."""
    blocks = [hashlib.sha256(f"{seed}:{i}".encode()).digest() for i in range(-(-size // 32))]
    return b"".join(blocks)[:size]


def content(pieces: list) -> bytes:
    out = b""
    for piece in pieces:
        if "seed" in piece:
            out += generate(piece["seed"], piece["size"])
        elif "zeros" in piece:
            out += bytes(piece["zeros"])
        else:
            out += piece["text"].encode()
    return out


def rnd(seed: str, size: int = LEAF) -> dict:
    return {"seed": seed, "size": size}


def text(value: str) -> dict:
    return {"text": value}


# --- digests -----------------------------------------------------------------------------------------------------------------------------------------------------


def leaves(data: bytes) -> list:
    return [hashlib.sha256(data[i : i + LEAF]).digest()[:16] for i in range(0, len(data), LEAF)]


def file_root(data: bytes) -> bytes:
    return hashlib.sha256(b"".join(leaves(data))).digest()


def entry_root(entry: dict) -> bytes:
    if entry["kind"] == "file":
        return file_root(content(entry["content"]))
    if entry["kind"] == "link":
        return hashlib.sha256(entry["target"].encode()).digest()
    return bytes(32)


def entry_size(entry: dict) -> int:
    if entry["kind"] == "file":
        return len(content(entry["content"]))
    return len(entry["target"].encode()) if entry["kind"] == "link" else 0


def by_path(tree: list) -> list:
    return sorted(tree, key=lambda entry: entry["path"].encode())


def manifest_root(tree: list) -> bytes:
    digest = hashlib.sha256()
    for entry in by_path(tree):
        path = entry["path"].encode()
        digest.update(struct.pack(">BIqQI", KINDS[entry["kind"]], entry["mode"], int(entry["mtime_ns"]), entry_size(entry), len(path)))
        digest.update(path + entry_root(entry))
    return digest.digest()


def file(path: str, *pieces: dict, mode: int = 0o600, mtime: int = 1_763_600_000_123_456_789) -> dict:
    return {"kind": "file", "path": path, "mode": mode, "mtime_ns": str(mtime), "content": list(pieces)}


def directory(path: str, mode: int = 0o700, mtime: int = 1_763_600_000_000_000_001) -> dict:
    return {"kind": "directory", "path": path, "mode": mode, "mtime_ns": str(mtime)}


def link(path: str, target: str) -> dict:
    return {"kind": "link", "path": path, "mode": 0o777, "mtime_ns": "0", "target": target}


def digests() -> dict:
    cases = [
        ("empty", []),
        ("one byte", [text("a")]),
        ("a leaf less one byte", [rnd("leaf", 4095)]),
        ("one leaf", [rnd("leaf", 4096)]),
        ("one leaf and a byte", [rnd("leaf", 4097)]),
        ("two leaves", [rnd("leaf", 8192)]),
        ("zeros", [{"zeros": 12288}]),
        ("1 MiB and a byte", [rnd("big", (1 << 20) + 1)]),
    ]
    out = []
    for name, pieces in cases:
        data = content(pieces)
        table = leaves(data)
        case = {"name": name, "content": pieces, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "leaf_count": len(table)}
        out.append(case | {"leaves": [leaf.hex() for leaf in table[:3]], "last_leaf": table[-1].hex() if table else "", "root": file_root(data).hex()})
    return {"files": out}


def manifests() -> dict:
    trees = {
        "nothing": [],
        "one empty file": [file("a")],
        "a small profile": [
            directory("Default", mtime=1),
            file("Default/Cookies", rnd("cookies", 20480)),
            file("Default/Preferences", text('{"profile":{"exit_type":"Normal"}}')),
            file("Local State", text("{}"), mode=0o644),
            directory("empty", mode=0o755),
            link("current", "Default/Preferences"),
            link("Default/up", "../Local State"),
        ],
        # By UTF-16 units U+1F36A would come before U+FF5E; by UTF-8 bytes it comes after.
        "paths in order of their bytes": [
            directory("a"),
            file("a/b", text("2")),
            file("a-b", text("1")),
            file("a.b", text("3")),
            file("ab", text("4")),
            file("Z", text("5")),
            file("z", text("6")),
            file("\u00e9", text("7")),
            file("e\u0301", text("8")),
            file("\uff5e", text("9")),
            file("\U0001f36a", text("10")),
            link("l\u00ef\u00efnk", "\U0001f36a"),
        ],
        "times and modes at their ends": [
            file("before 1970", text("x"), mtime=-1),
            file("long before 1970", text("x"), mtime=-(2**63)),
            file("far future", text("x"), mtime=2**63 - 1),
            file("zero", text("x"), mtime=0),
            file("no bits", text("x"), mode=0),
            file("all bits", text("x"), mode=0o7777),
        ],
    }
    return {"trees": [{"name": name, "tree": tree, "manifest_root": manifest_root(tree).hex()} for name, tree in trees.items()]}


# --- differences -------------------------------------------------------------------------------------------------------------------------------------------------


def difference(base: list, new: list) -> dict:
    base = {entry["path"]: entry for entry in by_path(base)}
    tables = {path: leaves(content(entry["content"])) for path, entry in base.items() if entry["kind"] == "file"}
    first = {}
    for path, table in tables.items():
        for index, leaf in enumerate(table):
            first.setdefault(leaf, (path, index))
    entries, runs, data = [], [], b""
    for entry in by_path(new):
        old = base.get(entry["path"])
        same = old is not None and all(old[k] == entry[k] for k in ("kind", "mode", "mtime_ns")) and entry_size(old) == entry_size(entry)
        if same and entry_root(old) == entry_root(entry):
            continue
        entries.append(entry["path"])
        if entry["kind"] != "file":
            continue
        body = content(entry["content"])
        here = tables.get(entry["path"], [])
        run = None
        for index, leaf in enumerate(leaves(body)):
            if index < len(here) and here[index] == leaf:
                run = None
                continue
            source = first.get(leaf)
            if run and "copy_path" in run:
                path, following = run["copy_path"], run["copy_first_leaf"] + run["leaf_count"]
                if following < len(tables[path]) and tables[path][following] == leaf:
                    run["leaf_count"] += 1
                    continue
            if run and source is None and "copy_path" not in run:
                run["leaf_count"] += 1
            else:
                run = {"entry": len(entries) - 1, "first_leaf": index, "leaf_count": 1}
                if source is not None:
                    run |= {"copy_path": source[0], "copy_first_leaf": source[1]}
                runs.append(run)
            if source is None:
                data += body[index * LEAF : (index + 1) * LEAF]
    removed = [path for path in base if path not in {entry["path"] for entry in new}]
    return {"entries": entries, "removed": removed, "runs": runs, "data_size": len(data), "data_sha256": hashlib.sha256(data).hexdigest()}


def diffs() -> dict:
    a, b, c, d, z = rnd("a"), rnd("b"), rnd("c"), rnd("d"), {"zeros": LEAF}
    later = 1_763_600_999_000_000_000
    cases = [
        ("nothing to nothing", [], []),
        ("first save", [], [directory("d"), file("d/f", a, b, text("tail")), file("e"), link("l", "d/f")]),
        ("nothing changed", [directory("d"), file("d/f", a)], [directory("d"), file("d/f", a)]),
        ("everything gone", [directory("d"), file("d/f", a), link("l", "d")], []),
        ("one leaf in the middle", [file("f", a, b, c)], [file("f", a, d, c, mtime=later)]),
        ("two stretches", [file("f", a, b, c, d)], [file("f", rnd("1"), b, rnd("2"), rnd("3"), mtime=later)]),
        ("grown from a short last leaf", [file("f", a, text("tail"))], [file("f", a, text("tail, longer"), mtime=later)]),
        ("grown by a leaf", [file("f", a)], [file("f", a, b, mtime=later)]),
        ("shrunk", [file("f", a, b, c)], [file("f", a, b, mtime=later)]),
        ("shrunk to nothing", [file("f", a)], [file("f", mtime=later)]),
        ("only the time", [file("f", a, b), directory("g")], [file("f", a, b, mtime=later), directory("g", mtime=later)]),
        ("only the mode", [file("f", a)], [file("f", a, mode=0o644)]),
        ("renamed", [file("old", a, b, text("tail"))], [file("new", a, b, text("tail"))]),
        ("moved into another file, with a new piece", [file("old", a, b, c)], [file("new", rnd("1"), b, c, rnd("2"))]),
        ("shifted by a leaf within its file", [file("f", a, b, c)], [file("f", rnd("1"), a, b, c, mtime=later)]),
        ("the first occurrence in path order", [file("x", d, a), file("m", c, a), file("y", a)], [file("x", d, a), file("m", c, a), file("y", a), file("n", a)]),
        ("a copy goes on where it is rather than at the first occurrence", [file("a", z), file("b", c, z, d, z)], [file("a", z), file("n", c, z, d, z)]),
        ("repeated leaves", [file("a", z, z)], [file("a", z, z), file("n", z, z, z, z)]),
        ("the own leaf of the same index comes before a copy", [file("a", b), file("f", a, b, c)], [file("a", b), file("f", d, b, rnd("1"), mtime=later)]),
        ("an own leaf ends a copy", [file("a", b, c, d), file("f", a, c)], [file("a", b, c, d), file("f", b, c, d, mtime=later)]),
        ("two sources in a row", [file("a", a), file("b", b)], [file("n", b, a)]),
        ("new leaves that repeat are sent each time", [], [file("n", a, a)]),
        ("a file becomes a directory", [file("x", a)], [directory("x"), file("x/y", a)]),
        ("a directory becomes a file", [directory("x"), file("x/y", a)], [file("x", a)]),
        ("a file becomes a link", [file("x", text("target"))], [link("x", "target")]),
        ("a link points elsewhere", [link("l", "a")], [link("l", "b")]),
        ("a long run", [], [file("n", rnd("long", 250 * LEAF + 7))]),
    ]
    out = [{"name": name, "base": base, "new": new, "expected": difference(base, new), "manifest_root": manifest_root(new).hex()} for name, base, new in cases]
    return {"diffs": out}


# --- loads -------------------------------------------------------------------------------------------------------------------------------------------------------


def wire_entry(entry: dict) -> dict:
    out = {"kind": entry["kind"], "path": entry["path"], "mode": entry["mode"], "mtime_ns": entry["mtime_ns"], "size": entry_size(entry)}
    if entry["kind"] == "file":
        out["root"] = entry_root(entry).hex()
    if entry["kind"] == "link":
        out["target"] = entry["target"]
    return out


# Zeros as zlib streams, kept here because not every zlib packs them alike.
PACKED = {5: bytes.fromhex("789c636000020000050001"), 9000: bytes.fromhex("789cedc1010d000000c2a0f74f6d0f07140000000000000000fc1b23280001")}


def records(entries: list = (), runs: list = (), data: bytes = b"", removed: list = (), codec: str = "raw") -> dict:
    packed = PACKED[len(data)] if codec == "deflate" else data
    assert codec == "raw" or zlib.decompress(packed) == data
    out = {"entries": [wire_entry(entry) for entry in entries], "runs": list(runs), "removed": list(removed), "codec": codec}
    return {"records": out | {"data": base64.b64encode(packed).decode(), "data_size": len(data)}}


def run(entry: int, first: int, count: int, copy_path: str = "", copy_first: int = 0) -> dict:
    out = {"entry": entry, "first_leaf": first, "leaf_count": count}
    return out | {"copy_path": copy_path, "copy_first_leaf": copy_first} if copy_path else out


def loads() -> dict:
    a, b, c = rnd("a"), rnd("b"), rnd("c")
    full, delta, end = {"begin": {"base": False}}, {"begin": {"base": True}}, "end"
    f = file("f", a, b)
    fine, broken = [], []

    def ok(name: str, base: list, messages: list, tree: list) -> None:
        fine.append({"name": name, "base": base, "messages": close(messages, tree), "tree": tree})

    def bad(name: str, why: str, base: list, messages: list, tree: list) -> None:
        broken.append({"name": name, "base": base, "messages": close(messages, tree), "refused": why})

    def close(messages: list, tree: list) -> list:
        return [{"end": {"manifest_root": manifest_root(tree).hex()}} if message == end else message for message in messages]

    body = content([a, b])
    ok("an empty profile", [], [full, end], [])
    ok("one message", [], [full, records([f], [run(0, 0, 2)], body), end], [f])
    ok("a file over two messages, the second part first", [], [full, records([f], [run(0, 1, 1)], body[LEAF:]), records([], [run(0, 0, 1)], body[:LEAF]), end], [f])
    ok("packed with deflate", [], [full, records([file("z", {"zeros": 9000})], [run(0, 0, 3)], bytes(9000), codec="deflate"), end], [file("z", {"zeros": 9000})])
    ok("packed messages after raw ones", [], [full, records([f, file("z", {"zeros": 5})], [run(0, 0, 2)], body), records([], [run(1, 0, 1)], bytes(5), codec="deflate"), end], [f, file("z", {"zeros": 5})])
    tree = [directory("d", mode=0o500, mtime=5), directory("d/e", mtime=-1_000_000_000), file("d/f", text("x"), mode=0o400), link("d/l", "e"), link("d/up", "../d/f")]
    ok("directories, links, modes and times", [], [full, records(tree, [run(2, 0, 1)], b"x"), end], tree)
    ok("entries in any order", [], [full, records(list(reversed(tree)), [run(2, 0, 1)], b"x"), end], tree)
    ok("a difference of one leaf", [f], [delta, records([file("f", a, c, mtime=7)], [run(0, 1, 1)], content([c])), end], [file("f", a, c, mtime=7)])
    ok("nothing differs", [f], [delta, end], [f])
    ok("only the time differs", [f], [delta, records([file("f", a, b, mtime=7)]), end], [file("f", a, b, mtime=7)])
    ok("a copy", [f], [delta, records([file("g", b, a, b)], [run(0, 0, 1, "f", 1), run(0, 1, 2, "f", 0)], removed=["f"]), end], [file("g", b, a, b)])
    ok("a copy from a file that changes itself", [f], [delta, records([file("f", b, a, mtime=7)], [run(0, 0, 1, "f", 1), run(0, 1, 1, "f", 0)]), end], [file("f", b, a, mtime=7)])
    ok("shrunk", [f], [delta, records([file("f", a, mtime=7)]), end], [file("f", a, mtime=7)])
    ok("a directory with its content removed", [directory("d"), file("d/f", a), f], [delta, records(removed=["d", "d/f"]), end], [f])
    ok("a directory becomes a file", [directory("d"), file("d/f", a)], [delta, records([file("d", a)], [run(0, 0, 1, "d/f", 0)], removed=["d/f"]), end], [file("d", a)])
    ok("a full load over what is there", [f], [full, records([file("g", a)], [run(0, 0, 1)], content([a])), end], [file("g", a)])

    bad("no end", "the stream is incomplete", [], [full, records([f], [run(0, 0, 2)], body)], [f])
    bad("no begin", "the first message must be `begin`", [], [records([f], [run(0, 0, 2)], body), end], [f])
    bad("a second begin", "`begin` comes once", [], [full, full, records([f], [run(0, 0, 2)], body), end], [f])
    bad("records after the end", "nothing follows `end`", [], [full, end, records([f], [run(0, 0, 2)], body)], [])
    bad("a wrong byte", "the file's root differs", [], [full, records([f], [run(0, 0, 2)], body[:-1] + bytes([body[-1] ^ 1])), end], [f])
    bad("a wrong manifest root", "the manifest root differs", [], [full, records([f], [run(0, 0, 2)], body), end], [file("f", a, b, mtime=7)])
    bad("a leaf is missing", "no run and no base covers it", [], [full, records([f], [run(0, 0, 1)], body[:LEAF]), end], [f])
    bad("a leaf comes twice", "no leaf is covered twice", [], [full, records([f], [run(0, 0, 2), run(0, 1, 1)], body + body[LEAF:]), end], [f])
    bad("a run past the end of its file", "the file has two leaves", [], [full, records([f], [run(0, 1, 2)], body), end], [f])
    bad("an empty run", "a run has at least one leaf", [], [full, records([f], [run(0, 0, 2), run(0, 0, 0)], body), end], [f])
    bad("a run for an entry that was not named", "entry 1 is not there yet", [], [full, records([f], [run(1, 0, 2)], body), end], [f])
    bad("a run for a directory", "only files have leaves", [], [full, records([directory("d")], [run(0, 0, 1)], body[:LEAF]), end], [directory("d")])
    bad("too little data", "the runs need 8,192 bytes", [], [full, records([f], [run(0, 0, 2)], body[:-1]), end], [f])
    bad("too much data", "the runs need 8,192 bytes", [], [full, records([f], [run(0, 0, 2)], body + b"x"), end], [f])
    wrong = records([file("z", {"zeros": 9000})], [run(0, 0, 3)], bytes(9000), codec="deflate")
    wrong["records"]["data_size"] = 8192
    bad("data that inflates to more than it says", "inflated under a bound", [], [full, wrong, end], [file("z", {"zeros": 9000})])
    wrong = records([f], [run(0, 0, 2)], body)
    wrong["records"]["codec"] = "deflate"
    wrong["records"]["data"] = base64.b64encode(b"not zlib").decode()
    bad("data that does not inflate", "not a zlib stream", [], [full, wrong, end], [f])
    bad("a copy without a base", "a full load has no base", [f], [full, records([file("g", a)], [run(0, 0, 1, "f", 0)]), end], [file("g", a)])
    bad("a copy from a file that the base lacks", "the base has no file of that path", [f], [delta, records([file("g", a)], [run(0, 0, 1, "x", 0)]), end], [f, file("g", a)])
    bad("a copy past the end of its source", "the source has two leaves", [f], [delta, records([file("g", a, b)], [run(0, 0, 2, "f", 1)]), end], [f, file("g", a, b)])
    bad("a short leaf copied into the middle", "all leaves are full but the last", [file("s", text("x"))], [delta, records([file("g", a, b)], [run(0, 0, 1, "s", 0), run(0, 1, 1)], content([b])), end], [f])
    bad("an own leaf that the base lacks", "the base's file is shorter", [file("f", a)], [delta, records([file("f", a, b, mtime=7)]), end], [file("f", a, b, mtime=7)])
    bad("the same path twice", "a path is named once", [], [full, records([file("f"), file("f")]), end], [file("f")])
    bad("removing what is not there", "the base has no such path", [f], [delta, records(removed=["g"]), end], [f])
    bad("removing and naming a path", "both cannot be", [f], [delta, records([file("f", a, b, mtime=7)], removed=["f"]), end], [f])
    bad("a removed directory whose content stays", "its content is to be removed too", [directory("d"), file("d/f", a)], [delta, records(removed=["d"]), end], [file("d/f", a)])
    bad("a file without its directory", "every directory is an entry", [], [full, records([file("d/f")]), end], [file("d/f")])
    bad("a file below a link", "only directories have content", [], [full, records([directory("d"), link("l", "d"), file("l/f")]), end], [directory("d"), link("l", "d"), file("l/f")])
    bad("a file below a file", "only directories have content", [], [full, records([file("d"), file("d/f")]), end], [file("d"), file("d/f")])
    bad("a path that climbs out", "`..` in a path", [], [full, records([file("../f")]), end], [file("../f")])
    bad("an absolute path", "absolute", [], [full, records([file("/tmp/f")]), end], [file("/tmp/f")])
    bad("a link that climbs out", "its target is outside", [], [full, records([link("l", "../x")]), end], [link("l", "../x")])
    bad("an absolute link", "its target is absolute", [], [full, records([link("l", "/etc/passwd")]), end], [link("l", "/etc/passwd")])
    return {"fine": fine, "refused": broken}


# --- paths -------------------------------------------------------------------------------------------------------------------------------------------------------


def paths() -> dict:
    component, deep = "x" * 255, "/".join("d" for _ in range(64))
    long = "/".join(["y" * 255] * 4)
    assert len(long) == 1023 and len(deep.split("/")) == 64
    good = ["a", "Default/Cookies", "...", "..a", "a..", ".hidden", " ", "a b", "*?[]{}~:|<>\"'", "a\nb", "\u00e9", "\U0001f36a", "-rf", "CON", component, deep, long, "\u00e9" * 127]
    bad = [
        ("", "empty"),
        ("/", "absolute"),
        ("/a", "absolute"),
        ("a/", "an empty component"),
        ("a//b", "an empty component"),
        (".", "a component is `.`"),
        ("./a", "a component is `.`"),
        ("a/./b", "a component is `.`"),
        ("..", "a component is `..`"),
        ("../a", "a component is `..`"),
        ("a/../b", "a component is `..`"),
        ("a/..", "a component is `..`"),
        ("a\u0000b", "NUL"),
        ("a\\b", "a backslash"),
        ("..\\a", "a backslash"),
        (component + "x", "a component of 256 bytes"),
        ("\u00e9" * 128, "a component of 256 bytes"),
        (deep + "/d", "65 components"),
        (long + "/" + "y", "1,025 bytes"),
    ]
    assert len((long + "/y").encode()) == 1025
    targets_good = [("l", "a"), ("l", "a/b"), ("l", "..."), ("d/l", "../a"), ("d/l", ".."), ("d/e/l", "../../a/b"), ("l", "."), ("l", "./a"), ("d/l", "./../a"), ("l", "a/"), ("l", "gone")]
    targets_bad = [
        ("l", "", "empty"),
        ("l", "/", "absolute"),
        ("l", "/etc/passwd", "absolute"),
        ("l", "..", "climbs out"),
        ("l", "../a", "climbs out"),
        ("d/l", "../..", "climbs out"),
        ("d/l", "../../a", "climbs out"),
        ("l", "a/..", "`..` after a name: through a link it may lead outside"),
        ("d/l", "up/../x", "`..` after a name: through a link it may lead outside"),
        ("l", "a\u0000b", "NUL"),
        ("l", "a\\b", "a backslash"),
    ]
    return {
        "paths": [{"path": path, "ok": True} for path in good] + [{"path": path, "ok": False, "why": why} for path, why in bad],
        "links": [{"path": path, "target": target, "ok": True} for path, target in targets_good] + [{"path": p, "target": t, "ok": False, "why": why} for p, t, why in targets_bad],
    }


# --- capture -----------------------------------------------------------------------------------------------------------------------------------------------------


def segment_matches(pattern: str, value: str) -> bool:
    if not pattern:
        return not value
    if pattern[0] == "*":
        return segment_matches(pattern[1:], value) or bool(value) and segment_matches(pattern, value[1:])
    return bool(value) and pattern[0] in ("?", value[0]) and segment_matches(pattern[1:], value[1:])


def segments_match(pattern: list, value: list) -> bool:
    if not pattern:
        return not value
    if pattern[0] == "**":
        return segments_match(pattern[1:], value) or bool(value) and segments_match(pattern, value[1:])
    return bool(value) and segment_matches(pattern[0], value[0]) and segments_match(pattern[1:], value[1:])


def glob_matches(glob: str, path: str) -> bool:
    if "/" not in glob:
        return segments_match([glob], [path.split("/")[-1]])
    return segments_match(glob.removeprefix("/").split("/"), path.split("/"))


def kept(rules: dict, path: str, policy: str, include: list, exclude: list) -> bool:
    def verdict(prefix: str) -> bool:
        if any(glob_matches(rule["glob"], prefix) for rule in rules["never"]):
            return False
        if any(glob_matches(glob, prefix) for glob in include):
            return True
        if any(glob_matches(glob, prefix) for glob in exclude):
            return False
        return next((policy not in rule["drop"] for rule in rules["rules"] if glob_matches(rule["glob"], prefix)), True)

    names = path.split("/")
    return all(verdict("/".join(names[:count])) for count in range(1, len(names) + 1))


# What a person expects, one letter for each policy under which the path travels: d(efault), l(ean), f(ull).
EXPECTED = """
dlf Default
dlf Default/Cookies
dlf Default/Cookies-journal
dlf Default/Cookies-wal
dlf Default/Cookies-shm
dlf Default/Network/Cookies
dlf Default/Local Storage/leveldb/000003.log
dlf Default/Local Storage/leveldb/CURRENT
dlf Default/Local Storage/leveldb/MANIFEST-000001
--f Default/Local Storage/leveldb/LOG
--f Default/Local Storage/leveldb/LOG.old
--- Default/Local Storage/leveldb/LOCK
dlf Default/IndexedDB/https_example.com_0.indexeddb.leveldb/000003.log
--f Default/IndexedDB/https_example.com_0.indexeddb.leveldb/LOG
--- Default/IndexedDB/https_example.com_0.indexeddb.leveldb/LOCK
dlf Default/IndexedDB/https_example.com_0.indexeddb.blob/1/00/3
dlf Default/IndexedDB/https_example.com_0.indexeddb.blob/1/00/x.tmp
dlf Default/Storage/ext/abcdefgh/def/IndexedDB/x/000003.log
dlf Default/Web Data
dlf Default/Login Data
dlf Default/Preferences
dlf Default/Secure Preferences
dlf Local State
dlf Last Version
dlf Default/Session Storage/000003.log
dlf Default/Sessions/Session_13370000000000000
dlf Default/Service Worker/Database/000003.log
d-f Default/Service Worker/CacheStorage/1234/index.txt
d-f Default/Service Worker/ScriptCache/index
d-f Default/Storage/ext/abcdefgh/def/Service Worker/CacheStorage
dlf Default/Extensions/abcdefgh/1.0_0/Cache/file.js
dlf Default/Extensions/abcdefgh/1.0_0/LOG
dlf Default/Extensions/abcdefgh/1.0_0/half.tmp
dlf Default/Extension State/000003.log
dlf Default/Local Extension Settings/abcdefgh/CURRENT
--f Default/Cache
--f Default/Cache/Cache_Data/data_0
--f Default/Cache/Cache_Data/x-journal
--f Profile 1/Cache/Cache_Data/index
--f Default/Storage/ext/abcdefgh/def/Cache/index
--f Default/Code Cache/js/index
--f Default/GPUCache/data_1
--f GrShaderCache/index
--f ShaderCache/index
--f GraphiteDawnCache/index
--f Default/DawnWebGPUCache/index
--f Default/blob_storage/8a1c/0
--f Default/Download Service/EntryDB/000003.log
--f Crashpad/pending/x.dmp
--f Crash Reports/x
--f BrowserMetrics/BrowserMetrics-1.pma
--f BrowserMetrics-spare.pma
--f CrashpadMetrics-active.pma
--f Safe Browsing/UrlSoceng.store
dlf Safe Browsing Cookies
dlf Safe Browsing Cookies-journal
--f component_crx_cache/x
--f Snapshots/150.0.0.0/Default/Cookies
--f Guest Profile/Preferences
--f System Profile/Preferences
--f Default/half written.tmp
--f Default/.org.chromium.Chromium.a1b2c3
--f .DS_Store
d-f Default/optimization_guide_hint_cache_store/CURRENT
d-f OptimizationGuidePredictionModels/x/model.tflite
d-f optimization_guide_model_store/x/model.tflite
d-f Default/Segmentation Platform/SegmentInfoDB/CURRENT
d-f Default/GCM Store/CURRENT
d-f Dictionaries/en-US-10-1.bdic
d-f WidevineCdm/latest-component-updated-widevine-cdm
--- SingletonLock
--- SingletonSocket
--- SingletonCookie
--- DevToolsActivePort
--- Default/lockfile
--- lockfile
--- RunningChromeVersion
dlf SingletonLock.js
dlf Default/lock
dlf Default/something new of next year
dlf Something New/Cache of things
dlf Cache
dlf a/b/Cache
dlf default/cache
dlf cookies.sqlite
dlf cookies.sqlite-wal
dlf cookies.sqlite-shm
dlf key4.db
dlf logins.json
dlf storage.sqlite
dlf storage/default/https+++example.com/idb/123.sqlite
dlf storage/default/https+++example.com/idb/123.files/1
dlf storage/default/https+++example.com/ls/data.sqlite
dlf storage/permanent/chrome/idb/1.sqlite
d-f storage/default/https+++example.com/cache/caches.sqlite
--f storage/temporary/https+++example.com/idb/1.sqlite
dlf extensions/addon@example.com.xpi
dlf sessionstore-backups/recovery.jsonlz4
dlf favicons.sqlite
dlf favicons.sqlite-wal
--f cache2/entries/0123
--f startupCache/scriptCache.bin
--f shader-cache/x
--f thumbnails/x.png
--f safebrowsing/x.vlpset
--f safebrowsing-updating/x.vlpset
--f datareporting/state.json
--f saved-telemetry-pings/x
--f crashes/store.json.mozlz4
--f minidumps/x.dmp
d-f gmp-gmpopenh264/2.6.0/libgmpopenh264.so
d-f security_state/data.safe.bin
--- lock
--- .parentlock
--- parent.lock
"""

# policy, include, exclude, path, kept
CALLERS = [
    ("default", ["Default/Cache/**"], [], "Default/Cache/Cache_Data/data_0", True),
    ("default", ["Default/Cache"], [], "Default/Cache/Cache_Data/data_0", True),
    ("default", ["Default/Cache/Cache_Data"], [], "Default/Cache/Cache_Data", False),
    ("default", ["LOG"], [], "Default/Session Storage/LOG", True),
    ("default", ["SingletonLock", "LOCK"], [], "SingletonLock", False),
    ("default", [], ["IndexedDB"], "Default/IndexedDB/x/CURRENT", False),
    ("default", [], ["Default/History*"], "Default/History-journal", False),
    ("default", [], ["Default/History*"], "Default/Sub/History", True),
    ("default", ["History"], ["Default/History*"], "Default/History", True),
    ("default", [], ["**"], "Default/Cookies", False),
    ("default", ["Default", "Default/Cookies"], ["**"], "Default/Cookies", True),
    ("default", ["Default/Cookies"], ["**"], "Default/Cookies", False),
    ("full", [], ["Top Sites"], "Default/Top Sites", False),
    ("lean", ["Default/Service Worker/**"], [], "Default/Service Worker/CacheStorage/x", True),
]

# glob, path, whether it matches
GLOBS = [
    ("a", "a", True),
    ("a", "x/a", True),
    ("a", "a/x", False),
    ("a", "A", False),
    ("a", "ab", False),
    ("/a", "a", True),
    ("/a", "x/a", False),
    ("a/b", "a/b", True),
    ("/a/b", "a/b", True),
    ("a/b", "x/a/b", False),
    ("a*", "abc", True),
    ("a*", "a", True),
    ("*a", "bca", True),
    ("a*c*e", "abcde", True),
    ("a*c*e", "abcdef", False),
    ("*", "anything", True),
    ("*", "x/anything", True),
    ("/*", "x/anything", False),
    ("*/x", "a/x", True),
    ("*/x", "a/b/x", False),
    ("*/x", "x", False),
    ("?", "a", True),
    ("?", "ab", False),
    ("?", "\u00e9", True),
    ("?", "\U0001f36a", True),
    ("??", "e\u0301", True),
    ("a?c", "a/c", False),
    ("a*c", "a/c", False),
    ("**", "a", True),
    ("**", "a/b", True),
    ("**/a", "a", True),
    ("**/a", "x/y/a", True),
    ("**/a", "x/y/ab", False),
    ("a/**", "a", True),
    ("a/**", "a/b/c", True),
    ("a/**", "ab", False),
    ("a/**/b", "a/b", True),
    ("a/**/b", "a/x/y/b", True),
    ("a/**/b", "a/x/y", False),
    ("**/a/**", "x/a/y", True),
    ("**/a/**", "x/b/y", False),
    ("a**b", "axxb", True),
    ("a**b", "a/b", False),
    ("[ab]", "a", False),
    ("[ab]", "[ab]", True),
    ("a.b", "axb", False),
    ("(a|b)+$^{1}", "(a|b)+$^{1}", True),
    ("*.tmp", ".tmp", True),
    ("a b*", "a b c", True),
    ("*", "a\nb", True),
]
BAD_GLOBS = ["", "/", "a/", "a//b", "//a", "a\u0000", "a\\b"]


def capture() -> dict:
    rules = json.loads((HERE.parent / "capture.json").read_text(encoding="utf-8"))
    decisions = []
    for line in EXPECTED.strip().splitlines():
        letters, path = line[:3], line[4:]
        expected = {policy: policy[0] in letters for policy in rules["policies"]}
        for policy, wanted in expected.items():
            assert kept(rules, path, policy, [], []) == wanted, f"capture.json says otherwise: {path} under {policy}"
        decisions.append({"path": path, **expected})
    callers = []
    for policy, include, exclude, path, wanted in CALLERS:
        assert kept(rules, path, policy, include, exclude) == wanted, (policy, include, exclude, path)
        callers.append({"policy": policy, "include": include, "exclude": exclude, "path": path, "kept": wanted})
    for glob, path, wanted in GLOBS:
        assert glob_matches(glob, path) == wanted, (glob, path)
    globs = [{"glob": glob, "path": path, "matches": wanted} for glob, path, wanted in GLOBS]
    return {"globs": globs, "bad_globs": BAD_GLOBS, "decisions": decisions, "callers": callers}


# -----------------------------------------------------------------------------------------------------------------------------------------------------------------


def main() -> int:
    stale = []
    for make in (digests, manifests, diffs, loads, paths, capture):
        name = make.__name__ + ".json"
        body = json.dumps(make(), indent=1, ensure_ascii=True) + "\n"
        target = HERE / name
        if "--check" not in sys.argv[1:]:
            target.write_text(body, encoding="utf-8", newline="\n")
        elif not target.exists() or target.read_text(encoding="utf-8") != body:
            stale.append(name)
    if stale:
        print(f"stale: {', '.join(stale)}; run client/vectors/make.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
