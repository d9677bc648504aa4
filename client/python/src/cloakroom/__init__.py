# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""Client of Cloakroom, which keeps logged-in browsers for fleets of workers.

`Client` is for asyncio, `cloakroom.sync.Client` for everything else; `cloakroom.playwright` helps with browsers;
`cloakroom.errors` says what can go wrong; `cloakroom.v1` has the contract's messages and stubs.
"""

from .channel import Tls
from .client import DEFAULT_TARGET, Client
from .errors import CloakroomError
from .mount import Mount
from .names import enum_name, kind_name, state_name
from .results import LoadResult, PruneResult, SaveResult
from .watch import Watch, WatchEvent, selector

__all__ = [
    "DEFAULT_TARGET",
    "Client",
    "CloakroomError",
    "LoadResult",
    "Mount",
    "PruneResult",
    "SaveResult",
    "Tls",
    "Watch",
    "WatchEvent",
    "enum_name",
    "kind_name",
    "selector",
    "state_name",
]
