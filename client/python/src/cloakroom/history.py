# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""What can be done with snapshots: listed and read, made the head again, kept, put away, compared."""

from collections.abc import AsyncGenerator
from typing import Any, TypeVar

from google.protobuf.message import Message

from .arguments import checked
from .connection import Connection
from .sessions import unique
from .v1 import profile_pb2 as pb

A = TypeVar("A", bound=Message)


@checked
class History:
    """The verbs on a session's snapshots."""

    _connection: Connection

    async def snapshots(
        self, session_id: str, *, show_deleted: bool = False, page_size: int = 0, min_revision: int = 0
    ) -> AsyncGenerator[pb.Snapshot, None]:
        """Goes through a session's snapshots, newest first, fetching page after page.

        With `show_deleted` those that were deleted and can still be revived are among them.
        """
        request = pb.ListSnapshotsRequest(session_id=session_id, show_deleted=show_deleted, page_size=page_size)
        request.min_revision = min_revision
        while True:
            page = await self._history("ListSnapshots", request, pb.ListSnapshotsResponse)
            for snapshot in page.snapshots:
                yield snapshot
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def snapshot(
        self, session_id: str, snapshot_id: str = "", *, with_entries: bool = False, min_revision: int = 0
    ) -> pb.GetSnapshotResponse:
        """Reads one snapshot, by default the head; if wanted with all of its entries."""
        request = pb.GetSnapshotRequest(session_id=session_id, snapshot_id=snapshot_id, min_revision=min_revision)
        answer = await self._history("GetSnapshot", request, pb.GetSnapshotResponse)
        if not with_entries:
            return answer
        # The head may move between two pages: all of them are asked for by its id.
        request.snapshot_id, request.with_entries = answer.snapshot.id, True
        answer = page = await self._history("GetSnapshot", request, pb.GetSnapshotResponse)
        while page.next_page_token:
            request.page_token = page.next_page_token
            page = await self._history("GetSnapshot", request, pb.GetSnapshotResponse)
            answer.entries.extend(page.entries)
        answer.next_page_token = ""
        return answer

    async def restore(
        self,
        session_id: str,
        snapshot_id: str = "",
        *,
        head_snapshot_id: str = "",
        etag: str = "",
        lease_token: int = 0,
        request_id: str = "",
    ) -> pb.RestoreSnapshotResponse:
        """Makes an earlier snapshot the head again, together with the storage state that was saved with it.

        Without a `snapshot_id` it is the one that the head was made from: undo. The head before is in the answer, as
        `former_head_snapshot_id`, and restoring that one is redo. With `head_snapshot_id`, only if that is the head.
        """
        request = pb.RestoreSnapshotRequest(
            session_id=session_id, snapshot_id=snapshot_id, head_snapshot_id=head_snapshot_id
        )
        return await self._change(
            "RestoreSnapshot", request, pb.RestoreSnapshotResponse, (etag, lease_token, request_id)
        )

    async def pin(
        self,
        session_id: str,
        snapshot_id: str = "",
        note: str = "",
        *,
        etag: str = "",
        lease_token: int = 0,
        request_id: str = "",
    ) -> pb.PinSnapshotResponse:
        """Pins a snapshot, by default the head, with a note that says why: it cannot be deleted then."""
        request = pb.PinSnapshotRequest(session_id=session_id, snapshot_id=snapshot_id, note=note)
        return await self._change("PinSnapshot", request, pb.PinSnapshotResponse, (etag, lease_token, request_id))

    async def unpin(
        self, session_id: str, snapshot_id: str = "", *, etag: str = "", lease_token: int = 0, request_id: str = ""
    ) -> pb.PinSnapshotResponse:
        """Unpins a snapshot, by default the head."""
        request = pb.PinSnapshotRequest(session_id=session_id, snapshot_id=snapshot_id, unpin=True)
        return await self._change("PinSnapshot", request, pb.PinSnapshotResponse, (etag, lease_token, request_id))

    async def delete_snapshot(
        self, session_id: str, snapshot_id: str, *, etag: str = "", lease_token: int = 0, request_id: str = ""
    ) -> pb.DeleteSnapshotResponse:
        """Deletes a snapshot, which can be revived for 7 days; never the head or a pinned one."""
        request = pb.DeleteSnapshotRequest(session_id=session_id, snapshot_id=snapshot_id)
        return await self._change("DeleteSnapshot", request, pb.DeleteSnapshotResponse, (etag, lease_token, request_id))

    async def undelete_snapshot(
        self, session_id: str, snapshot_id: str, *, etag: str = "", lease_token: int = 0, request_id: str = ""
    ) -> pb.UndeleteSnapshotResponse:
        """Revives a deleted snapshot."""
        request = pb.UndeleteSnapshotRequest(session_id=session_id, snapshot_id=snapshot_id)
        return await self._change(
            "UndeleteSnapshot", request, pb.UndeleteSnapshotResponse, (etag, lease_token, request_id)
        )

    async def diff(
        self,
        session_id: str,
        base_snapshot_id: str = "",
        snapshot_id: str = "",
        *,
        page_size: int = 0,
        min_revision: int = 0,
    ) -> pb.DiffSnapshotsResponse:
        """Compares two snapshots: which entries differ, all pages in one, and which cookies, never with their values.

        The newer one is by default the head, the older one (`base_snapshot_id`) that from which the newer was made.
        """
        request = pb.DiffSnapshotsRequest(
            session_id=session_id, snapshot_id=snapshot_id, base_snapshot_id=base_snapshot_id, page_size=page_size
        )
        request.min_revision = min_revision
        answer = page = await self._history("DiffSnapshots", request, pb.DiffSnapshotsResponse)
        request.snapshot_id = answer.snapshot.id  # the head may move between two pages
        while page.next_page_token:
            request.page_token = page.next_page_token
            page = await self._history("DiffSnapshots", request, pb.DiffSnapshotsResponse)
            answer.differences.extend(page.differences)
        answer.next_page_token = ""
        return answer

    async def _change(self, method: str, request: Any, answer: type[A], conditions: tuple[str, int, str]) -> A:
        request.etag, request.lease_token, request_id = conditions
        request.request_id = request_id or unique()
        return await self._history(method, request, answer)

    async def _history(self, method: str, request: Any, answer: type[A]) -> A:
        request.namespace = self._connection.namespace
        return await self._connection.unary("ProfileService", method, request, answer)
