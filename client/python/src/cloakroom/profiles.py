# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""Saving and loading profiles: walk, hash, diff, save; load, verify, rename.

The algorithm is that of `proto/cloakroom/v1/profile.proto`; `client/vectors/README.md` lays down to the last leaf what
makes a difference. Entries and their digests are in `tree`, messages in `wire`, the last step of a load in `install`.
"""

import asyncio
import os
import uuid
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from pathlib import Path

from . import disk, tree, wire
from .arguments import checked
from .capture import Capture, check_profile, describe, obstacles
from .connection import Connection
from .errors import CloakroomError, LocalError, PortabilityWarning, must
from .install import Loaded, Workshop
from .lineage import check_session, check_something, check_state, parent_of, without_sidecar
from .results import LoadResult, SaveResult
from .sessions import State, state_bytes
from .sidecar import Sidecar
from .tree import DIGEST, DIRECTORY, FILE, LEAF, Difference, Entry, Part, Run, hash_leaves, span
from .v1 import profile_pb2 as pb
from .workshop import finished

Directory = str | os.PathLike[str]
Progress = Callable[[int, int], None]


def diff(base: Mapping[str, Entry], new: Mapping[str, Entry]) -> Difference:
    """Finds what has to travel; both trees are in order of their paths."""
    entries = [entry for path, entry in new.items() if entry.differs(base.get(path))]
    runs: list[Run] = []
    places = tree.places(base, entries)
    for number, entry in enumerate(entries):
        own = base.get(entry.path, tree.NOTHING)
        run: Run | None = None
        for index, leaf in enumerate(tree.split(entry.leaves)):
            if own.leaf(index) == leaf:
                run = None
                continue
            if run and run.copy_path and base[run.copy_path].leaf(run.copy_first + run.length) == leaf:
                run = runs[-1] = run._replace(length=run.length + 1)
                continue
            source = places.get(leaf)
            if run and not run.copy_path and not source:
                run = runs[-1] = run._replace(length=run.length + 1)
            else:
                run = Run(number, index, 1, *(source or ()))
                runs.append(run)
    return Difference(entries, [path for path in base if path not in new], runs)


class Loader:
    """Builds a profile in `work`, a directory that nobody else knows, from the messages of one load.

    `work` is only asked for when there is something to make. The stream may be a difference against `have`, which
    `source` holds. `source` is only read until all was verified.
    """

    def __init__(self, work: Callable[[], Path], have: Sidecar | None = None, source: Path | None = None) -> None:
        self.begin, self.storage_state, self.done_bytes = pb.LoadBegin(), bytearray(), 0
        self._work, self._have, self._source = work, have, source
        self._parts: dict[str, Part] = {}
        self._order: list[Part] = []
        self._removed: set[str] = set()
        self._entries: dict[str, Entry] = {}
        self._begun = self._ended = False

    def feed(self, message: pb.LoadProfileResponse) -> None:
        """Applies the next message."""
        kind = message.WhichOneof("message")
        must(not self._ended and (kind == "begin") != self._begun, "STREAM_PROTOCOL", f"`{kind}` in the wrong place")
        if kind == "begin":
            self._begun, self.begin, base = True, message.begin, message.begin.base_snapshot_id
            known = not base or (self._have is not None and self._have.snapshot_id == base)
            must(known, "STREAM_PROTOCOL", f"a difference against {base}, which is not here")
            self._base = self._have.entries if base and self._have else {}
        elif kind == "records":
            self._apply(message.records)
        elif kind == "storage_state":
            self.storage_state += message.storage_state.data
        else:
            must(
                kind == "end", "STREAM_PROTOCOL", "a message of an unknown kind: is this client older than the daemon?"
            )
            self._end(message.end.manifest_root)

    def _apply(self, records: pb.ProfileRecords) -> None:
        work = self._work()
        for entry in map(wire.from_wire, records.entries):
            must(entry.path not in self._parts, "PATH_INVALID", f"{entry.path!r} is named twice")
            own = self._base.get(entry.path)
            part = self._parts[entry.path] = Part(entry, own if own and own.kind == entry.kind == FILE else None)
            self._order.append(part)
            if part.own:
                disk.clone(f"{self._source}/{entry.path}", f"{work}/{entry.path}", entry.size)
            elif entry.kind == FILE and not entry.size:
                disk.write_at(f"{work}/{entry.path}", 0, b"", new=True)
        self._removed.update(records.removed)
        data, at = wire.inflate(records), 0
        for run in records.runs:
            must(
                run.entry < len(self._order), "STREAM_PROTOCOL", f"leaves of entry {run.entry}, which was not named yet"
            )
            part, end = self._order[run.entry], run.first_leaf + run.leaf_count
            fits = run.first_leaf < end <= len(part.covered) and part.covered.find(1, run.first_leaf, end) < 0
            must(
                fits,
                "DATA_INVALID",
                f"leaves {run.first_leaf} to {end - 1} of {part.entry.path!r} do not exist, or come twice",
            )
            size = span(run.first_leaf, run.leaf_count, part.entry.size)
            content = self._copied(run, size) if run.copy_path else data[at : at + size]
            at += 0 if run.copy_path else size
            must(
                len(content) == size,
                "DATA_INVALID",
                f"{len(content)} bytes for {part.entry.path!r} where {size} are needed",
            )
            part.leaves[run.first_leaf * DIGEST : end * DIGEST] = hash_leaves(content)
            part.covered[run.first_leaf : end] = b"\1" * run.leaf_count
            disk.write_at(f"{work}/{part.entry.path}", run.first_leaf * LEAF, content, new=part.new)
            part.new = False
        must(at == len(data), "DATA_INVALID", f"{len(data)} bytes of data where the runs need {at}")
        self.done_bytes += at

    def _copied(self, run: pb.LeafRun, size: int) -> bytes:
        old = self._base.get(run.copy_path)
        there = old is not None and (run.copy_first_leaf + run.leaf_count) * DIGEST <= len(old.leaves)
        must(there, "DATA_INVALID", f"leaves to copy from {run.copy_path!r}, which the base does not have")
        return disk.read_at(f"{self._source}/{run.copy_path}", run.copy_first_leaf * LEAF, size)

    def _end(self, root: bytes) -> None:
        wrong = [path for path in self._removed if path not in self._base or path in self._parts]
        must(not wrong, "PATH_INVALID", f"{wrong[:1]} is removed, but is not in the base or is named as well")
        kept = [entry for path, entry in self._base.items() if path not in self._removed and path not in self._parts]
        self._entries = tree.in_order([*kept, *(part.verified() for part in self._order)])
        folders = {"", *(path for path, entry in self._entries.items() if entry.kind == DIRECTORY)}
        lost = [path for path in self._entries if path.rpartition("/")[0] not in folders]
        must(not lost, "PATH_INVALID", f"{lost[:1]} is in no directory of the profile")
        same = tree.manifest_root(self._entries.values()) == root == (self.begin.snapshot.manifest_root or root)
        must(same, "DIGEST_MISMATCH", "the manifest root differs")
        self._ended = True

    def loaded(self) -> Loaded:
        """What was loaded, once all of it is there and verified."""
        must(self._ended, "STREAM_TRUNCATED", "the stream has no end")
        return Loaded(self._entries, self._parts.keys())


@checked
class Profiles:
    """The verbs `load` and `save` of the client."""

    _connection: Connection

    async def load(
        self,
        session_id: str,
        directory: Directory,
        *,
        snapshot_id: str = "",
        replace: bool = False,
        have: Directory | None = None,
        with_storage_state: bool = True,
        min_revision: int = 0,
        compress: bool | None = None,
        progress: Progress | None = None,
        _beside: bool = False,
    ) -> LoadResult:
        """Loads a session's head, or the named snapshot, into a directory, which appears whole or not at all.

        With `replace` a directory that is there gives way; if nothing changed in it since it was loaded or saved, only
        the difference travels, and if it is what is wanted already, nothing in it or beside it is touched. `have` names
        another such directory to start from; it stays as it is. The storage state comes along unless
        `with_storage_state` is False: start the browser with it, or the session cookies are lost. `compress` packs the
        data on its way, by default unless the daemon is on this host. `progress` is told how many bytes came of all.
        """
        top, link = Path(directory).absolute(), self._connection
        source = Path(have).absolute() if have else top if replace else None
        codecs = [pb.CODEC_DEFLATE] if compress or (compress is None and not link.local) else []

        async def once(previous: CloakroomError | None) -> LoadResult:
            async with Workshop(top, replace=replace) as shop:
                # A base that turned out not to stand still is not tried again.
                base = None if isinstance(previous, LocalError) else source
                old = await shop.run(Sidecar.clean, base, link.namespace, session_id)
                request = pb.LoadProfileRequest(namespace=link.namespace, session_id=session_id)
                request.snapshot_id, request.have_snapshot_id = snapshot_id, old.snapshot_id if old else ""
                request.with_storage_state, request.min_revision = with_storage_state, min_revision
                request.accept_codecs.extend(codecs)
                loader = Loader(lambda: shop.work, old, source)
                async with aclosing(link.download("LoadProfile", request, pb.LoadProfileResponse)) as messages:
                    async for message in messages:
                        await shop.run(loader.feed, message)
                        if progress:
                            progress(loader.done_bytes, loader.begin.content_bytes)
                snapshot, based = loader.begin.snapshot, loader.begin.base_snapshot_id
                sidecar = Sidecar.after(link.namespace, session_id, snapshot)
                policy = snapshot.portability.capture_policy if _beside else None
                here = source if based else None
                await shop.run(shop.install, loader.loaded(), here, sidecar, same=based == snapshot.id, policy=policy)
            for obstacle in obstacles(snapshot.portability):
                warnings.warn(f"{top}: {obstacle}", PortabilityWarning, stacklevel=2)
            state = bytes(loader.storage_state) if snapshot.has_storage_state and with_storage_state else None
            return LoadResult(top, snapshot, state, based, loader.done_bytes)

        return await link.retry(once)

    async def save(
        self,
        session_id: str,
        directory: Directory,
        *,
        storage_state: State | None = None,
        policy: str = "default",
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        brand: str = "",
        password_store: str = "",
        force: bool = False,
        replace: bool = False,
        upload_id: str = "",
        etag: str = "",
        lease_token: int = 0,
        compress: bool | None = None,
        progress: Progress | None = None,
    ) -> SaveResult:
        """Saves a directory as the session's new head.

        It follows the snapshot that the directory was loaded or saved as, and what changed since travels; a directory
        that is not known to come from anywhere makes a first head. With `replace` it becomes the head whatever is the
        head now and wherever it came from; what was the head stays as an earlier snapshot. `policy`, `include` and
        `exclude` say what belongs to it (`client/capture.json`). `brand` and `password_store` say which browser it is
        and where that keeps its cookie key; not given, they stay what they were. The browser must have exited, and
        there must be something to save; `force` saves nevertheless. With the same `upload_id` a save that is repeated
        happens once. `compress` packs the data on its way, by default unless it is much and the daemon is on this host.
        `progress` is told how many bytes of how many went.
        """
        top, link, upload_id = Path(directory).absolute(), self._connection, upload_id or str(uuid.uuid4())
        rules, state = Capture(policy, include=include, exclude=exclude), state_bytes(storage_state)
        new, root = dict[str, Entry](), b""  # what lies there, and its root once that is known

        async def once(previous: CloakroomError | None) -> SaveResult:
            nonlocal new, root
            if root:
                earlier = await link.save_status(session_id, upload_id)
                there = earlier.snapshot.manifest_root, earlier.snapshot.has_storage_state
                # Another content under this upload id is sent, for the daemon to refuse it.
                if earlier.state == pb.SAVE_STATE_COMMITTED and there == (root, bool(state)):
                    return await done(SaveResult(earlier.snapshot, earlier.revision, "", upload_id, 0, 0))
            old = await asyncio.to_thread(Sidecar.found, top)
            known, former = (old.entries, old.origin) if old else ({}, pb.Portability())
            await asyncio.to_thread(finished, top)
            origin = await asyncio.to_thread(describe, top, rules, brand, password_store, force=force, former=former)
            if not replace:
                check_session(top, old, link, session_id)
            new, root = await asyncio.to_thread(tree.walk, top, rules, new or known), b""
            await asyncio.to_thread(finished, top)  # a load may have begun meanwhile
            check_something(top, new, policy, force=force)
            if not previous:
                check_profile(top, new)
                check_state(top, old, state)
            parent = await parent_of(old, link, session_id, replace=replace)
            delta = await asyncio.to_thread(diff, parent.base, new)
            root = await asyncio.to_thread(tree.manifest_root, new.values())
            begin = pb.SaveBegin(session_id=session_id, upload_id=upload_id, etag=etag, lease_token=lease_token)
            begin.parent_snapshot_id, begin.full = parent.snapshot_id, parent.full
            begin.portability.CopyFrom(origin)
            packed = wire.pack(delta, top, wire.effort(total := delta.data_size(), compress, local=link.local))
            told = (lambda gone: progress(gone, total)) if progress else None
            messages = wire.requests(link.namespace, begin, packed, state, root, told)
            with without_sidecar(top, old):
                sent = await link.upload("SaveProfile", messages, pb.SaveProfileResponse)
            result = sent.answer.snapshot, sent.answer.revision, sent.answer.session_etag
            return await done(SaveResult(*result, upload_id, sent.messages, sent.bytes))

        async def done(result: SaveResult) -> SaveResult:
            sidecar = Sidecar.after(link.namespace, session_id, result.snapshot, new)
            await asyncio.to_thread(sidecar.note, top, upload_id)
            return result

        # Who replaces is not to be beaten by somebody who saves in between: the head is looked up anew.
        return await link.retry(once, *(["PARENT_NOT_HEAD"] if replace else []))
