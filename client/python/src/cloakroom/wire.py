# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""The messages of a difference: entries and leaves as they travel, packed and unpacked."""

import zlib
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path

from .disk import ahead, read_at
from .errors import LoadFailed, must
from .tree import (
    DIGEST,
    DIRECTORY,
    FILE,
    LEAF,
    LINK,
    Difference,
    Entry,
    Run,
    changing,
    fault_in_path,
    fault_in_target,
    hash_leaves,
)
from .v1 import profile_pb2 as pb

#: Bytes of data in one message, unpacked.
MAX_DATA = 240 * LEAF
_MAX_MESSAGE = 1_040_000  # a little under 1 MiB, for what the estimate leaves out
_PIECE = 60  # leaves
_FAST_ABOVE = 4 << 20  # bytes of data above which packing quickly beats packing well
_NO_GAIN = 0.95
_MAX_MODE = 0o7777
_KINDS = {FILE: pb.ENTRY_KIND_FILE, DIRECTORY: pb.ENTRY_KIND_DIRECTORY, LINK: pb.ENTRY_KIND_SYMLINK}


def effort(size: int, compress: bool | None, *, local: bool) -> int:
    """How hard to pack some data for the wire, as zlib counts it; 0 is not at all.

    Little data is always worth it; much data is packed quickly, and to a daemon on this host only when asked for.
    """
    if compress is False or (compress is None and local and size > _FAST_ABOVE):
        return 0
    return 1 if size > _FAST_ABOVE else 6


async def requests(
    namespace: str,
    begin: pb.SaveBegin,
    packed: Iterator[pb.ProfileRecords],
    state: bytes,
    root: bytes,
    progress: Callable[[int], None] | None,
) -> AsyncGenerator[pb.SaveProfileRequest, None]:
    """The messages of a save; `progress` is told how many bytes of content are in those that were taken."""
    yield pb.SaveProfileRequest(namespace=namespace, begin=begin)
    gone = 0
    async with aclosing(ahead(packed)) as coming:
        async for records in coming:
            yield pb.SaveProfileRequest(records=records)
            gone += records.data_size
            if progress:
                progress(gone)
    for at in range(0, len(state), MAX_DATA):
        yield pb.SaveProfileRequest(storage_state=pb.StorageStateChunk(data=state[at : at + MAX_DATA]))
    yield pb.SaveProfileRequest(end=pb.SaveEnd(manifest_root=root))


def pack(delta: Difference, directory: Path, level: int) -> Iterator[pb.ProfileRecords]:
    """Makes the messages of a difference, reading the data from the directory in which it was found."""
    records, data, weight = pb.ProfileRecords(), bytearray(), 0
    for field, piece, content in _pieces(delta, directory):
        more = 8 + len(content) + (len(piece.encode()) if isinstance(piece, str) else piece.ByteSize())
        if len(data) + len(content) > MAX_DATA or weight + more > _MAX_MESSAGE:
            yield _seal(records, bytes(data), level)
            records, data, weight = pb.ProfileRecords(), bytearray(), 0
        getattr(records, field).append(piece)
        weight += more
        data += content
    if weight:
        yield _seal(records, bytes(data), level)


def _pieces(delta: Difference, directory: Path) -> Iterator[tuple[str, str | pb.Entry | pb.LeafRun, bytes]]:
    yield from (("removed", path, b"") for path in delta.removed)
    runs = iter([*delta.runs, Run(-1, 0, 0)])
    run = next(runs)
    for number, entry in enumerate(delta.entries):
        yield "entries", _to_wire(entry), b""
        while run.entry == number:
            end = run.first + run.length
            if run.copy_path:
                copied = pb.LeafRun(entry=number, first_leaf=run.first, leaf_count=run.length)
                copied.copy_path, copied.copy_first_leaf = run.copy_path, run.copy_first
                yield "runs", copied, b""
            for first in range(run.first, run.first if run.copy_path else end, _PIECE):
                count = min(_PIECE, end - first)
                content = read_at(f"{directory}/{entry.path}", first * LEAF, count * LEAF)
                if hash_leaves(content) != entry.leaves[first * DIGEST : (first + count) * DIGEST]:
                    raise changing(entry.path)
                yield "runs", pb.LeafRun(entry=number, first_leaf=first, leaf_count=count), content
            run = next(runs)


def _seal(records: pb.ProfileRecords, data: bytes, level: int) -> pb.ProfileRecords:
    """Puts data into a message, packed if that pays, as a look at a few of its leaves says first."""
    records.codec, records.data, records.data_size = pb.CODEC_RAW, data, len(data)
    if not level:
        return records
    sample = b"".join(data[at : at + LEAF] for at in range(0, len(data), 16 * LEAF))
    if len(zlib.compress(sample, 1)) < _NO_GAIN * len(sample):
        packed = zlib.compress(data, level)
        if len(packed) < _NO_GAIN * len(data):
            records.codec, records.data = pb.CODEC_DEFLATE, packed
    return records


def inflate(records: pb.ProfileRecords) -> memoryview:
    """The unpacked data of a message, never more than it says."""
    data, size = records.data, records.data_size
    must(size <= MAX_DATA, "LIMIT_EXCEEDED", f"{size} bytes of data in one message; at most {MAX_DATA} are allowed")
    if records.codec == pb.CODEC_DEFLATE:
        unpacker = zlib.decompressobj()
        try:
            data = unpacker.decompress(data, size + 1)
        except zlib.error as error:
            raise LoadFailed(f"data does not inflate: {error}", reason="DATA_INVALID") from error
        must(unpacker.eof or len(data) > size, "DATA_INVALID", "packed data is cut off")
    else:
        known = records.codec in (pb.CODEC_RAW, pb.CODEC_UNSPECIFIED)
        must(known, "DATA_INVALID", f"data is packed with codec {records.codec}, which was not asked for")
    must(len(data) == size, "DATA_INVALID", f"{len(data)} bytes of data where {size} were announced")
    return memoryview(data)


def _to_wire(entry: Entry) -> pb.Entry:
    out = pb.Entry(path=entry.path, mode=entry.mode, mtime_ns=entry.mtime_ns, size=entry.size)
    out.kind, out.symlink_target = _KINDS[entry.kind], entry.target
    out.root = entry.root if entry.kind == FILE else b""
    return out


def from_wire(wire: pb.Entry) -> Entry:
    """The entry in a message, without its leaves. One that breaks a rule ends the load."""
    kind, target = int(wire.kind), wire.symlink_target.encode()
    fault = fault_in_path(wire.path) or (fault_in_target(wire.path, wire.symlink_target) if kind == LINK else "")
    must(not fault, "PATH_INVALID", f"{wire.path!r}: {fault}")
    lengths = {FILE: (wire.size, 32, 0), DIRECTORY: (0, 0, 0), LINK: (len(target), 0, len(target))}.get(kind)
    proper = lengths == (wire.size, len(wire.root), len(target)) and wire.size >= 0 and wire.mode <= _MAX_MODE
    must(proper, "DATA_INVALID", f"{wire.path!r} is no proper entry")
    root = {FILE: wire.root, DIRECTORY: bytes(32), LINK: sha256(target).digest()}[kind]
    return Entry(kind, wire.path, wire.mode, wire.mtime_ns, wire.size, root, wire.symlink_target)
