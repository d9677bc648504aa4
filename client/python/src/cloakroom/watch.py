# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""The client's half of the guarantee in `proto/cloakroom/v1/invalidation.proto`.

Together with the daemon's half: hear of every change, without gaps and without repetition.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal, Self

from .arguments import looked_at
from .connection import Connection, pause
from .errors import Exhausted, Invalid, Unavailable
from .names import enum_name, enum_of, kind_name
from .sessions import duration
from .v1 import invalidation_pb2 as pb

_PATIENCE = 3  # bookmark intervals


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """Something to apply. Afterwards, and not before, store its `resume_token`."""

    kind: Literal["opened", "changes", "bookmark", "reset"]
    #: Up to which revision everything is known once this is applied.
    revision: int
    #: What changed, in order; only for `changes`.
    changes: tuple[pb.Change, ...] = ()
    #: Why changes may have been missed: COMPACTED, HISTORY_CHANGED, SLOW_CONSUMER, GAP, or UNKNOWN_CHANGE for one that
    #: this client is too old for.
    reset_reason: str = ""
    #: Seconds over which to smear the reads that follow a reset.
    spread: float = 0.0
    #: Where to go on, on any replica.
    resume_token: bytes = b""

    def __str__(self) -> str:
        told = ", ".join(f"{change.session_id} {kind_name(change)}" for change in self.changes) or self.reset_reason
        return f"{self.kind} at revision {self.revision}" + (f": {told}" if told else "")

    def smear(self) -> float:
        """Seconds to wait before reading anew after a reset, so that a fleet does not read at once."""
        return random.uniform(0, self.spread)


@looked_at
def selector(
    *, session_id: str = "", business_id: str = "", email: str = "", kinds: Iterable[str | int] = ()
) -> pb.Selector:
    """Which changes to hear of: all that is given must match. Kinds are numbers, or names such as `"PROFILE_SAVED"`."""
    numbers = [enum_of(pb.ChangeKind, "CHANGE_KIND_", kind) for kind in kinds]
    return pb.Selector(session_id=session_id, business_id=business_id, email=email, kinds=numbers)


def _seen(step: asyncio.Future[WatchEvent]) -> None:
    """Nobody may be left to hear how a step ended; then it is not to be complained of."""
    if not step.cancelled():
        step.exception()


class Watch:
    """An iterator of events without an end but `stop`, which goes on by itself when the daemon went away.

    When the next event is asked for, the one before counts as applied, and `resume_token` moves on. `async with` waits
    until the watch is open, so that nothing done inside of it is missed. Whoever gives up waiting, as with
    `asyncio.wait_for(anext(watch), 5)`, misses nothing either: the next event is given to whoever asks next.
    """

    def __init__(
        self,
        connection: Connection,
        selectors: Sequence[pb.Selector],
        resume_token: bytes,
        after_revision: int | None,
        bookmark_interval: float,
    ) -> None:
        #: Where to go on: the token of the last event that was applied.
        self.resume_token = resume_token
        self._connection, self._selectors = connection, tuple(selectors)
        self._after_revision, self._asked_interval, self._interval = (
            after_revision,
            bookmark_interval,
            bookmark_interval,
        )
        self._events = self._run()
        self._opened: WatchEvent | None = None
        self._step: asyncio.Future[WatchEvent] | None = None
        self._stopped, self._given = False, b""

    async def __aenter__(self) -> Self:
        self._opened = await anext(self._events)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WatchEvent:
        if self._stopped:
            # Whoever asks for the next event has applied this one, whether or not there is a next one.
            self.resume_token = self._given or self.resume_token
            raise StopAsyncIteration
        if event := self._opened:
            self._opened, self._given = None, event.resume_token
            return event
        if not self._step:
            self._step = asyncio.ensure_future(anext(self._events))
            self._step.add_done_callback(_seen)
        step, kept = self._step, False
        try:
            event = await asyncio.shield(step)
            self._given = event.resume_token
            return event
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            if self._stopped and not (task and task.cancelling()):
                raise StopAsyncIteration from None
            kept = not step.cancelled()
            # Ctrl-C in a program that does not care: what this module was just waiting for is of no interest.
            raise cancelled.with_traceback(None) from None
        finally:
            self._step = step if kept else None

    def stop(self) -> None:
        """Ends the loop over the events, as after the last one, also while it waits: for a signal handler."""
        self._stopped = True
        if self._step:
            self._step.cancel()

    async def close(self) -> None:
        """Ends the watch, also while somebody waits for its next event."""
        self.stop()
        if self._step:
            await asyncio.wait([self._step])
        await self._events.aclose()

    async def _run(self) -> AsyncGenerator[WatchEvent, None]:
        attempt, seen, forgotten = 0, False, False
        while True:
            wait: float | None = None
            try:
                stream = self._connection.download(
                    "WatchInvalidations",
                    self._request(),
                    pb.WatchInvalidationsResponse,
                    service="InvalidationService",
                    quiet=lambda: _PATIENCE * self._interval,
                )
                async with aclosing(stream) as messages:
                    async for message in messages:
                        if message.WhichOneof("event") != "opened":
                            attempt = 0  # not for a daemon that opens watches only to drop them
                        token = message.resume_token
                        if message.WhichOneof("event") == "draining":
                            wait = message.draining.retry_after.ToTimedelta().total_seconds()
                        else:
                            event = self._event(message)
                            token = event.resume_token
                            if forgotten:
                                event = replace(
                                    event, kind="reset", reset_reason="HISTORY_CHANGED", spread=self._interval
                                )
                            seen, forgotten = True, False
                            yield event
                        self.resume_token = token or self.resume_token
                        if wait is not None:
                            break
            except (Unavailable, Exhausted) as error:
                if error.reason == "UNREACHABLE" and not seen:
                    raise  # most likely a wrong address
                wait = error.retry_delay
            except Invalid as error:
                if error.reason != "INVALID_RESUME_TOKEN" or not seen:
                    raise
                # The token was good once: the daemon has lost its keys, and with them everything else.
                self.resume_token, self._after_revision, forgotten = b"", None, True
            await asyncio.sleep((wait or 0) + pause(attempt))
            attempt += 1

    def _request(self) -> pb.WatchInvalidationsRequest:
        request = pb.WatchInvalidationsRequest(namespace=self._connection.namespace, selectors=self._selectors)
        request.bookmark_interval.CopyFrom(duration(self._asked_interval))
        if self.resume_token:
            request.resume_token = self.resume_token
        elif self._after_revision is not None:
            request.after_revision = self._after_revision
        return request

    def _event(self, message: pb.WatchInvalidationsResponse) -> WatchEvent:
        kind, token = message.WhichOneof("event"), message.resume_token
        if kind == "opened":
            self._interval = message.opened.bookmark_interval.ToTimedelta().total_seconds() or self._asked_interval
            # A reset may follow, which is not to be lost: until something was heard, it goes on where it began.
            return WatchEvent("opened", message.opened.revision, resume_token=self.resume_token or token)
        if kind == "bookmark":
            return WatchEvent("bookmark", message.bookmark.revision, resume_token=token)
        if kind == "batch":
            changes = tuple(message.batch.changes)
            if all(change.kind in pb.ChangeKind.values()[1:] for change in changes):
                return WatchEvent("changes", changes[-1].revision, changes, resume_token=token)
            return WatchEvent("reset", changes[-1].revision, reset_reason="UNKNOWN_CHANGE", resume_token=token)
        if kind == "reset":
            known = message.reset.reason in pb.Reset.Reason.values()
            reason = enum_name(message.reset, "reason") if known else "UNKNOWN"
            return WatchEvent(
                "reset", message.reset.revision, (), reason, message.reset.spread.ToTimedelta().total_seconds(), token
            )
        return WatchEvent("reset", 0, reset_reason="UNKNOWN_CHANGE", resume_token=token)
