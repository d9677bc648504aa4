# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""The verbs on sessions and on their storage states.

Every answer is the contract's own message, with its `revision`; `session.proto` says what the fields mean.
"""

import json
import uuid
from collections.abc import AsyncGenerator, Iterable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from .arguments import checked
from .connection import Connection
from .errors import LocalError
from .names import enum_of
from .v1 import session_pb2 as pb

A = TypeVar("A", bound=Message)

Ttl = timedelta | float
#: The JSON document of Playwright's `storage_state()`: as bytes, as text, or not yet serialised.
State = bytes | str | Mapping[str, Any]
#: Playwright itself takes either.
NO_PATH = "storage_state takes the JSON itself, not a path: give what the file holds (Path(…).read_bytes())"


@checked
class Sessions:
    """Creates, finds, changes and removes sessions."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        #: The verbs on Playwright storage states.
        self.storage_state = StorageStates(connection)

    async def create(
        self,
        business_id: str,
        *,
        session_id: str = "",
        email: str = "",
        labels: Mapping[str, str] | None = None,
        ttl: Ttl | None = None,
        ttl_mode: str | int = 0,
        request_id: str = "",
    ) -> pb.CreateSessionResponse:
        """Creates a session in state PENDING, with an id of the daemon's making if none is given."""
        request = pb.CreateSessionRequest(
            business_id=business_id, session_id=session_id, email=email, labels=labels or {}
        )
        request.ttl_mode = ttl_mode_of(ttl_mode)
        request.request_id = request_id or unique()
        if ttl is not None:
            request.ttl.CopyFrom(duration(ttl))
        return await self._call("CreateSession", request, pb.CreateSessionResponse)

    async def get(self, session_id: str, *, min_revision: int = 0) -> pb.GetSessionResponse:
        """Reads one session. This is not a use: it does not move the expiry."""
        request = pb.GetSessionRequest(session_id=session_id, min_revision=min_revision)
        return await self._call("GetSession", request, pb.GetSessionResponse)

    async def batch_get(self, session_ids: Iterable[str], *, min_revision: int = 0) -> pb.BatchGetSessionsResponse:
        """Reads up to 100 sessions at once; missing ones are listed, not an error."""
        request = pb.BatchGetSessionsRequest(session_ids=session_ids, min_revision=min_revision)
        return await self._call("BatchGetSessions", request, pb.BatchGetSessionsResponse)

    async def update(
        self,
        session_id: str,
        *,
        business_id: str | None = None,
        email: str | None = None,
        labels: Mapping[str, str] | None = None,
        ttl: Ttl | None = None,
        ttl_mode: str | int | None = None,
        etag: str = "",
        lease_token: int = 0,
        request_id: str = "",
    ) -> pb.UpdateSessionResponse:
        """Changes what is given and nothing else; `email=""` takes the address away, `labels` replaces all labels."""
        session, paths = pb.Session(id=session_id), []
        if business_id is not None:
            session.business_id = business_id
            paths.append("business_id")
        if email is not None:
            session.email = email
            paths.append("email")
        if labels is not None:
            session.labels.update(labels)
            paths.append("labels")
        if ttl is not None:
            session.ttl.CopyFrom(duration(ttl))
            paths.append("ttl")
        if ttl_mode is not None:
            session.ttl_mode = ttl_mode_of(ttl_mode)
            paths.append("ttl_mode")
        request = pb.UpdateSessionRequest(
            session=session, update_mask=FieldMask(paths=paths), etag=etag, lease_token=lease_token
        )
        request.request_id = request_id or unique()
        return await self._call("UpdateSession", request, pb.UpdateSessionResponse)

    async def delete(
        self, session_id: str, *, etag: str = "", lease_token: int = 0, request_id: str = ""
    ) -> pb.DeleteSessionResponse:
        """Hides a session; for 7 days it can be revived. Deleting a deleted one succeeds."""
        request = pb.DeleteSessionRequest(
            session_id=session_id, etag=etag, lease_token=lease_token, request_id=request_id or unique()
        )
        return await self._call("DeleteSession", request, pb.DeleteSessionResponse)

    async def undelete(
        self, session_id: str, *, etag: str = "", lease_token: int = 0, request_id: str = ""
    ) -> pb.UndeleteSessionResponse:
        """Revives a deleted or expired session in the state it had before."""
        request = pb.UndeleteSessionRequest(
            session_id=session_id, etag=etag, lease_token=lease_token, request_id=request_id or unique()
        )
        return await self._call("UndeleteSession", request, pb.UndeleteSessionResponse)

    async def list(
        self,
        *,
        business_id: str = "",
        email: str = "",
        states: Iterable[str | int] = (),
        labels: Mapping[str, str] | None = None,
        page_size: int = 0,
        min_revision: int = 0,
    ) -> AsyncGenerator[pb.Session, None]:
        """Goes through the live sessions that match all that is given, oldest first, fetching page after page."""
        request = pb.ListSessionsRequest(business_id=business_id, email=email, labels=labels or {}, page_size=page_size)
        request.states.extend(state_of(state) for state in states)
        request.min_revision = min_revision
        while True:
            page = await self._call("ListSessions", request, pb.ListSessionsResponse)
            for session in page.sessions:
                yield session
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def active(
        self, *, business_id: str | None = None, email: str | None = None, min_revision: int = 0
    ) -> pb.GetActiveSessionResponse:
        """The most recently used ACTIVE session of a business or of an e-mail address; give one of the two."""
        request = pb.GetActiveSessionRequest(business_id=business_id, email=email, min_revision=min_revision)
        return await self._call("GetActiveSession", request, pb.GetActiveSessionResponse)

    async def touch(self, session_id: str, *, etag: str = "", lease_token: int = 0) -> pb.TouchSessionResponse:
        """Counts as a use: moves the last use and a sliding expiry."""
        request = pb.TouchSessionRequest(session_id=session_id, etag=etag, lease_token=lease_token)
        return await self._call("TouchSession", request, pb.TouchSessionResponse)

    async def transition(
        self,
        session_id: str,
        to: str | int,
        *,
        reason: str = "",
        etag: str = "",
        lease_token: int = 0,
        request_id: str = "",
    ) -> pb.TransitionSessionResponse:
        """Moves a session to another state, such as `"ACTIVE"` or `"needs-login"`."""
        request = pb.TransitionSessionRequest(
            session_id=session_id, to=state_of(to), reason=reason, etag=etag, lease_token=lease_token
        )
        request.request_id = request_id or unique()
        return await self._call("TransitionSession", request, pb.TransitionSessionResponse)

    async def resolve(self, id_prefix: str, *, min_revision: int = 0) -> pb.ResolveSessionResponse:
        """Finds the one live session whose id starts so."""
        request = pb.ResolveSessionRequest(id_prefix=id_prefix, min_revision=min_revision)
        return await self._call("ResolveSession", request, pb.ResolveSessionResponse)

    async def _call(self, method: str, request: Any, answer: type[A]) -> A:
        request.namespace = self._connection.namespace
        return await self._connection.unary("SessionService", method, request, answer)


@checked
class StorageStates:
    """Reads and replaces the Playwright storage state of a session."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, session_id: str, *, min_revision: int = 0) -> pb.GetStorageStateResponse:
        """Reads it; `storage_state` is the JSON document byte for byte as it was put."""
        request = pb.GetStorageStateRequest(
            namespace=self._connection.namespace, session_id=session_id, min_revision=min_revision
        )
        return await self._connection.unary("SessionService", "GetStorageState", request, pb.GetStorageStateResponse)

    async def put(
        self, session_id: str, storage_state: State, *, etag: str = "", lease_token: int = 0, request_id: str = ""
    ) -> pb.PutStorageStateResponse:
        """Replaces it; `etag` is that of the storage state, not of the session."""
        request = pb.PutStorageStateRequest(
            namespace=self._connection.namespace, session_id=session_id, etag=etag, lease_token=lease_token
        )
        request.storage_state, request.request_id = state_bytes(storage_state), request_id or unique()
        return await self._connection.unary("SessionService", "PutStorageState", request, pb.PutStorageStateResponse)


def state_bytes(state: State | None) -> bytes:
    """A storage state as it travels; nothing for none. What is bytes already stays as it is."""
    if state is None:
        return b""
    if isinstance(state, bytes):
        return state
    if isinstance(state, str) and state and not state.lstrip().startswith(("{", "[")):
        raise LocalError(NO_PATH, reason="STATE_UNUSABLE")
    try:
        text = state if isinstance(state, str) else json.dumps(state, ensure_ascii=False, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError) as error:  # not with its text, which may show what is in the state
        message = f"storage_state cannot be written as JSON ({type(error).__name__}): give what Playwright gave"
        raise LocalError(message, reason="STATE_UNUSABLE") from None


def unique() -> str:
    """A request id: with it the retries of one call happen once."""
    return str(uuid.uuid4())


def duration(value: Ttl) -> Duration:
    """A time span from `timedelta` or seconds."""
    out = Duration()
    try:
        out.FromTimedelta(value if isinstance(value, timedelta) else timedelta(seconds=value))
    except (ValueError, OverflowError):
        raise LocalError(f"{value!r} is no time span: give seconds or a timedelta", reason="INVALID_FIELD") from None
    return out


def state_of(value: str | int) -> pb.SessionState:
    """A session state from its number or its name, with or without the prefix."""
    number: pb.SessionState = enum_of(pb.SessionState, "SESSION_STATE_", value, ("EXPIRED", "DELETED"))
    return number


def ttl_mode_of(value: str | int) -> pb.TtlMode:
    """A TTL mode from its number or its name, with or without the prefix."""
    number: pb.TtlMode = enum_of(pb.TtlMode, "TTL_MODE_", value)
    return number
