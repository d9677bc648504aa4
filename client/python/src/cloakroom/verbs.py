# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""The contract's calls by the verbs of this client: what a daemon says of them is passed on in the caller's words."""

import re

#: Every call of the contract, and what does it here.
VERBS = {
    "CreateSession": "sessions.create",
    "GetSession": "sessions.get",
    "BatchGetSessions": "sessions.batch_get",
    "UpdateSession": "sessions.update",
    "DeleteSession": "sessions.delete",
    "UndeleteSession": "sessions.undelete",
    "ListSessions": "sessions.list",
    "GetActiveSession": "sessions.active",
    "TouchSession": "sessions.touch",
    "TransitionSession": "sessions.transition",
    "ResolveSession": "sessions.resolve",
    "GetStorageState": "sessions.storage_state.get",
    "PutStorageState": "sessions.storage_state.put",
    "SaveProfile": "save",
    "LoadProfile": "load",
    "GetSaveStatus": "save_status",
    "ListSnapshots": "snapshots",
    "GetSnapshot": "snapshot",
    "RestoreSnapshot": "restore",
    "PinSnapshot": "pin",
    "DeleteSnapshot": "delete_snapshot",
    "UndeleteSnapshot": "undelete_snapshot",
    "DiffSnapshots": "diff",
    "WatchInvalidations": "watch",
    "Invalidate": "invalidate",
    "GetServerInfo": "server_info",
}
_CALL = re.compile(rf"\b(?:{'|'.join(VERBS)})\b")


def in_verbs(text: str) -> str:
    """A text with the verbs in place of the calls."""
    return _CALL.sub(lambda found: f"`{VERBS[found[0]]}`", text)
