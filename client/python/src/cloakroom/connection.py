# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""What the verbs stand on: one connection to a daemon, or to several behind one name."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import Message

from .channel import Channel, Tls, is_local, service_config
from .disk import ended
from .errors import CloakroomError, Exhausted, LocalError, ParentNotHead, Unavailable, from_rpc
from .v1 import profile_pb2, session_pb2

A = TypeVar("A", bound=Message)
R = TypeVar("R")

_PACKAGE = "cloakroom.v1"
_ATTEMPTS = 5
_OVERLOADED = "OVERLOADED"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


@dataclass(frozen=True, slots=True)
class Sent(Generic[R]):
    """The answer to an upload and what the upload took."""

    answer: R
    messages: int
    bytes: int


class Connection:
    """Calls with the published retries, deadlines for standing still, and errors in this package's words."""

    def __init__(
        self,
        target: str,
        namespace: str,
        token: str | None,
        tls: Tls | None,
        timeout: float | None,
        stall: float,
        patience: float | None = None,
    ) -> None:
        self.target, self.namespace, self._stall = target, namespace, stall
        self._timeout = service_config()[1] if timeout is None else timeout
        self._channel = Channel(target, tls, patience)
        self._metadata = [("authorization", f"Bearer {token}")] if token else []
        self._calls: dict[str, Any] = {}

    @property
    def local(self) -> bool:
        """Whether the daemon is on this host."""
        return is_local(self.target)

    async def unary(self, service: str, method: str, request: Message, answer: type[A]) -> A:
        """One question, one answer.

        When the connection breaks, or the daemon has no room for it now, it is asked again: a read changes nothing, a
        change carries a request id, and a touch may come twice.
        """
        call, clock = self._call("unary_unary", service, method, answer), asyncio.get_running_loop().time
        deadline = clock() + self._timeout
        for attempt in range(_ATTEMPTS):
            await self._channel.reach(deadline - clock())
            try:
                response: A = await call(request, timeout=max(0.0, deadline - clock()), metadata=self._metadata)
                return response
            except grpc.aio.AioRpcError as failure:
                error = from_rpc(failure, self.target)
            wait = (error.retry_delay or 0.0) + pause(attempt)
            passing = (isinstance(error, Unavailable) and not error.reason) or error.reason == _OVERLOADED
            if not passing or attempt == _ATTEMPTS - 1 or clock() + wait >= deadline:
                raise error
            await asyncio.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    async def upload(self, method: str, requests: AsyncGenerator[Message, None], answer: type[A]) -> Sent[A]:
        """Sends a stream to the profile service; there is no deadline but for standing still.

        In the end the stream is closed and nothing of it runs any more, whatever became of the call.
        """
        failure: Exception | None = None
        messages = sent = 0

        async def send() -> None:
            nonlocal failure, messages, sent
            try:
                async with aclosing(requests):
                    async for request in requests:
                        await call.write(request)
                        messages, sent = messages + 1, sent + request.ByteSize()
                        guard.beat()
                await call.done_writing()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                pass  # the call has ended, and says itself why
            except Exception as error:
                failure = error
                call.cancel()

        async with aclosing(requests):
            await self._channel.reach()
            call = self._call("stream_unary", "ProfileService", method, answer)(metadata=self._metadata)
            guard = _Guard(call, lambda: self._stall, self.target)
            sending = asyncio.ensure_future(send())
            with guard:
                try:
                    return Sent(await call, messages, sent)
                except grpc.aio.AioRpcError as error:
                    raise (failure or guard.stalled or from_rpc(error, self.target)) from None
                except asyncio.CancelledError:
                    if cause := failure or guard.stalled:
                        raise cause from None
                    raise
                finally:
                    sending.cancel()
                    await ended(sending)

    async def download(
        self,
        method: str,
        request: Message,
        answer: type[A],
        service: str = "ProfileService",
        quiet: Callable[[], float] | None = None,
    ) -> AsyncGenerator[A, None]:
        """Receives a stream; there is no deadline but for standing still."""
        await self._channel.reach()
        call = self._call("unary_stream", service, method, answer)(request, metadata=self._metadata)
        guard = _Guard(call, quiet or (lambda: self._stall), self.target)
        with guard:
            try:
                async for message in call:
                    guard.rest()
                    yield message
                    guard.beat()
            except grpc.aio.AioRpcError as error:
                raise (guard.stalled or from_rpc(error, self.target)) from None
            except asyncio.CancelledError:
                if guard.stalled:
                    raise guard.stalled from None
                raise
            finally:
                call.cancel()

    async def retry(self, once: Callable[[CloakroomError | None], Awaitable[R]], *also: str) -> R:
        """Does something as a whole again, a few times, while the daemon is away or full, or files do not stand still.

        The same goes for the reasons in `also`. It is told why it failed before.
        """
        previous: CloakroomError | None = None
        self._channel.check()
        for attempt in range(_ATTEMPTS):
            try:
                if isinstance(previous, Unavailable):
                    await self._channel.reach()
                return await once(previous)
            except (Unavailable, Exhausted, LocalError, ParentNotHead) as error:
                # What cannot be reached was waited for already.
                away = isinstance(error, Unavailable) and error.reason != "UNREACHABLE"
                passing = away or error.reason in ("PROFILE_CHANGING", _OVERLOADED, *also)
                if not passing or attempt == _ATTEMPTS - 1:
                    raise
                previous = error
                await asyncio.sleep((error.retry_delay or 0.0) + pause(attempt))
        raise AssertionError("the last attempt returns or raises")

    async def head(self, session_id: str) -> str:
        """The id of a session's head; empty if nothing was saved yet."""
        request = session_pb2.GetSessionRequest(namespace=self.namespace, session_id=session_id)
        return (
            await self.unary("SessionService", "GetSession", request, session_pb2.GetSessionResponse)
        ).session.head_snapshot_id

    async def save_status(self, session_id: str, upload_id: str) -> profile_pb2.GetSaveStatusResponse:
        """What became of a save."""
        request = profile_pb2.GetSaveStatusRequest(namespace=self.namespace, session_id=session_id, upload_id=upload_id)
        return await self.unary("ProfileService", "GetSaveStatus", request, profile_pb2.GetSaveStatusResponse)

    async def close(self) -> None:
        """Ends the connection and what runs on it."""
        await self._channel.close()

    def _call(self, shape: str, service: str, method: str, answer: type[A]) -> Any:
        path = f"/{_PACKAGE}.{service}/{method}"
        if path not in self._calls:
            self._calls[path] = self._channel.method(
                shape, path, lambda request: request.SerializeToString(), answer.FromString
            )
        return self._calls[path]


class _Guard:
    """Cancels a call that stands still; then `stalled` says so."""

    def __init__(self, call: Any, quiet: Callable[[], float], target: str) -> None:
        self._call, self._quiet, self._target = call, quiet, target
        self._timer: asyncio.TimerHandle | None = None
        self.stalled: Unavailable | None = None

    def __enter__(self) -> None:
        self.beat()

    def __exit__(self, *_: object) -> None:
        self.rest()

    def beat(self) -> None:
        """Something moved: wait anew."""
        self.rest()
        self._timer = asyncio.get_running_loop().call_later(self._quiet(), self._give_up)

    def rest(self) -> None:
        """It is not the daemon's turn."""
        if self._timer:
            self._timer.cancel()

    def _give_up(self) -> None:
        self.stalled = Unavailable(
            f"{self._target} stood still for {self._quiet():g} s", code=grpc.StatusCode.UNAVAILABLE
        )
        self._call.cancel()


def pause(attempt: int) -> float:
    """Seconds before the next attempt: anything up to a bound that doubles, so that a fleet does not return at once."""
    return random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt))
