# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""The client: a connection and the verbs on it."""

import os
from collections.abc import Iterable, Sequence
from typing import Self

from .arguments import checked
from .channel import Tls, address, is_local
from .connection import Connection
from .errors import LocalError
from .history import History
from .mount import Mounts
from .sessions import Sessions, unique
from .v1 import admin_pb2, invalidation_pb2, profile_pb2
from .watch import Watch

DEFAULT_TARGET = "127.0.0.1:7700"
#: The environment variable that names the daemon for whoever names none.
TARGET = "CLOAKROOM_TARGET"


@checked
class Client(Mounts, History):
    """A connection to Cloakroom.

    `target` is an address such as `127.0.0.1:7700`, `http://127.0.0.1:7700`, `https://cloakroom.example:7700` (TLS) or
    gRPC's `dns:///cloakroom.example:7700`; if none is given, it is what the environment variable CLOAKROOM_TARGET says,
    and `127.0.0.1:7700` if that is not set either. An empty `namespace` means the caller's own. `token` is sent as a
    bearer token, over plain text only to this host unless `insecure` says otherwise. `tls` is True for the system's
    authorities.

    All times are in seconds. `timeout` bounds every single call (by default as the published service config says: 10),
    `stall` how long a save or load may stand still, and `patience` how long a call, within its timeout, waits for a
    daemon that cannot be reached: by default 2 before the first contact, when a wrong address is more likely than a
    daemon that is about to start, and 30 after it, for a restart.

    Make it inside a running event loop, and close it: `async with Client() as client: …`.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        namespace: str = "",
        token: str | None = None,
        tls: Tls | bool = False,
        insecure: bool = False,
        timeout: float | None = None,
        stall: float = 60.0,
        patience: float | None = None,
    ) -> None:
        target, chosen = address(target or os.environ.get(TARGET) or DEFAULT_TARGET, tls)
        if token and not chosen and not insecure and not is_local(target):
            raise LocalError(
                f"a token would go to {target} in plain text: use tls, or say insecure=True", reason="INSECURE"
            )
        self._connection = Connection(target, namespace, token, chosen, timeout, stall, patience)
        #: The verbs on sessions.
        self.sessions = Sessions(self._connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection and what runs on it."""
        await self._connection.close()

    async def save_status(self, session_id: str, upload_id: str) -> profile_pb2.GetSaveStatusResponse:
        """Says what became of a save, by its upload id."""
        return await self._connection.save_status(session_id, upload_id)

    def watch(
        self,
        selectors: Sequence[invalidation_pb2.Selector] = (),
        *,
        resume_token: bytes = b"",
        after_revision: int | None = None,
        bookmark_interval: float = 5.0,
    ) -> Watch:
        """Follows the changes that match one of the selectors (none: all), from a token, a revision or now."""
        return Watch(self._connection, selectors, resume_token, after_revision, bookmark_interval)

    async def invalidate(
        self,
        selectors: Iterable[invalidation_pb2.Selector],
        *,
        reason: str = "",
        validate_only: bool = False,
        request_id: str = "",
    ) -> invalidation_pb2.InvalidateResponse:
        """Tells every watcher to forget what it knows of the selected sessions; `validate_only` only counts them."""
        request = invalidation_pb2.InvalidateRequest(
            namespace=self._connection.namespace, selectors=selectors, reason=reason
        )
        request.validate_only, request.request_id = validate_only, request_id or unique()
        return await self._connection.unary(
            "InvalidationService", "Invalidate", request, invalidation_pb2.InvalidateResponse
        )

    async def server_info(self) -> admin_pb2.GetServerInfoResponse:
        """Says what the daemon is, what it stands on and what it can do."""
        request = admin_pb2.GetServerInfoRequest(namespace=self._connection.namespace)
        return await self._connection.unary("AdminService", "GetServerInfo", request, admin_pb2.GetServerInfoResponse)
