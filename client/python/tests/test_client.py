# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""What the client does without a daemon: errors, events of a watch, retries, the synchronous face."""

import asyncio
import inspect
import os
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from daemon import free_port
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

import cloakroom
from cloakroom import (
    Client,
    Tls,
    channel,
    connection,
    enum_name,
    errors,
    kind_name,
    playwright,
    selector,
    sessions,
    state_name,
    sync,
    watch,
)
from cloakroom.channel import is_local
from cloakroom.connection import Connection, pause
from cloakroom.errors import from_rpc
from cloakroom.v1 import error_pb2, profile_pb2, session_pb2
from cloakroom.v1 import invalidation_pb2 as pb

CODE = grpc.StatusCode


def failed(code: grpc.StatusCode, message: str, *details: Any) -> errors.CloakroomError:
    status = status_pb2.Status()
    for detail in details:
        packed = Packed()
        packed.Pack(detail)
        status.details.append(packed)
    trailer = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    return from_rpc(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailer, message, None), "here:1")


def info(reason: str, **metadata: str) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(reason=reason, domain="cloakroom", metadata=metadata)


@pytest.mark.parametrize(
    ("code", "reason", "kind", "retryable"),
    [
        (CODE.INVALID_ARGUMENT, "INVALID_FIELD", errors.Invalid, False),
        (CODE.NOT_FOUND, "SESSION_NOT_FOUND", errors.NotFound, False),
        (CODE.NOT_FOUND, "SESSION_EXPIRED", errors.SessionExpired, False),
        (CODE.NOT_FOUND, "SESSION_DELETED", errors.SessionDeleted, False),
        (CODE.NOT_FOUND, "PROFILE_EMPTY", errors.ProfileEmpty, False),
        (CODE.ALREADY_EXISTS, "SESSION_EXISTS", errors.AlreadyExists, False),
        (CODE.ABORTED, "ETAG_MISMATCH", errors.EtagMismatch, False),
        (CODE.ABORTED, "LEASE_FENCED", errors.LeaseFenced, False),
        (CODE.ABORTED, "PARENT_NOT_HEAD", errors.ParentNotHead, False),
        (CODE.ABORTED, "CONTENTION", errors.Contention, True),
        (CODE.FAILED_PRECONDITION, "ILLEGAL_TRANSITION", errors.Refused, False),
        (CODE.UNAUTHENTICATED, "UNAUTHENTICATED", errors.Denied, False),
        (CODE.PERMISSION_DENIED, "PERMISSION_DENIED", errors.Denied, False),
        (CODE.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", errors.Exhausted, True),
        (CODE.UNAVAILABLE, "BLOBS_UNAVAILABLE", errors.Unavailable, True),
        (CODE.DEADLINE_EXCEEDED, "DEADLINE", errors.Unavailable, True),
        (CODE.DATA_LOSS, "DATA_CORRUPT", errors.DataCorrupt, False),
        (CODE.INTERNAL, "INTERNAL", errors.Internal, False),
    ],
)
def test_reasons_become_classes(code: grpc.StatusCode, reason: str, kind: type, retryable: bool) -> None:
    assert f"ERROR_REASON_{reason}" in error_pb2.ErrorReason.keys()  # noqa: SIM118 - not a dictionary
    error = failed(code, "so it is", info(reason))
    assert type(error) is kind
    assert (error.reason, error.code, error.message, error.retryable) == (reason, code, "so it is", retryable)
    assert str(error) == f"so it is [{reason}]"


def test_the_table_of_the_contract_is_followed() -> None:
    """Reason by reason, what `error.proto` says about code and retry."""
    proto = Path(__file__).resolve().parents[3] / "proto" / "cloakroom" / "v1" / "error.proto"
    rows = [line.strip("/| \n").split("|") for line in proto.read_text().splitlines() if line.startswith("// | ")][1:]
    table = {reason.strip(): (code.strip(), retry.strip() == "yes") for reason, code, _, retry in rows}
    assert len(table) == len(error_pb2.ErrorReason.keys()) - 1
    for reason, (code, retry) in table.items():
        error = failed(getattr(CODE, code), "", info(reason))
        assert error.retryable == retry, reason


def test_details_are_carried() -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(field="ttl", description="at least 60 s")
    link = error_details_pb2.Help.Link(description="Use a longer one")
    error = failed(
        CODE.INVALID_ARGUMENT,
        "ttl is 1 s",
        info("INVALID_FIELD", limit="60"),
        error_details_pb2.RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000)),
        error_details_pb2.BadRequest(field_violations=[violation]),
        error_details_pb2.Help(links=[link]),
        error_details_pb2.QuotaFailure(),
    )
    assert error.metadata == {"limit": "60"}
    assert error.violations == [("ttl", "at least 60 s")]
    assert (error.retry_delay, error.help) == (1.5, ["Use a longer one"])


@pytest.mark.parametrize(
    "code", [CODE.UNAVAILABLE, CODE.UNKNOWN, CODE.INTERNAL, CODE.CANCELLED, CODE.DEADLINE_EXCEEDED]
)
def test_what_is_not_the_daemons_own_word_is_the_networks(code: grpc.StatusCode) -> None:
    error = failed(code, "Socket closed")
    assert type(error) is errors.Unavailable
    assert "here:1" in error.message and "cloakroomd" in error.message and "Socket closed" in error.message


def test_another_service_behind_the_port() -> None:
    assert type(failed(CODE.UNIMPLEMENTED, "unknown service")) is errors.Internal


def test_damaged_details_leave_code_and_message() -> None:
    trailer = grpc.aio.Metadata(("grpc-status-details-bin", b"\xff\xff"))
    error = from_rpc(grpc.aio.AioRpcError(CODE.NOT_FOUND, grpc.aio.Metadata(), trailer, "none", None), "here:1")
    assert type(error) is errors.NotFound and "none" in error.message


# --- arguments


async def test_a_path_is_no_storage_state(tmp_path: Path) -> None:
    said = "takes the JSON itself, not a path"
    for given, reason in (("state.json", "STATE_UNUSABLE"), (tmp_path / "state.json", "INVALID_FIELD")):
        path: Any = given
        async with Client("127.0.0.1:1") as client:
            for attempt in (
                partial(client.save, "s", tmp_path, storage_state=path),
                partial(client.sessions.storage_state.put, "s", path),
            ):
                with pytest.raises(errors.LocalError, match=said) as caught:
                    await attempt()
                assert caught.value.reason == reason
                assert "state.json" not in str(caught.value)
    with pytest.raises(errors.LocalError, match=said):
        playwright.session_cookies("state.json")


async def test_a_closed_client_says_so(tmp_path: Path) -> None:
    client = Client("127.0.0.1:1", patience=0.1)
    waiting = asyncio.create_task(client.sessions.get("s"))
    await client.close()
    await client.close()
    (tmp_path / "p").mkdir()
    for attempt in (
        waiting,
        client.sessions.get("s"),
        client.load("s", tmp_path / "q"),
        client.save("s", tmp_path / "p"),
        anext(client.snapshots("s")),
        anext(client.watch()),
    ):
        with pytest.raises(
            errors.LocalError, match=r"this client of 127\.0\.0\.1:1 was closed: make another"
        ) as caught:
            await attempt
        assert caught.value.reason == "CLOSED"


def test_a_closed_synchronous_client_says_so(tmp_path: Path) -> None:
    with sync.Client("127.0.0.1:1") as client:
        watching = client.watch()
    client.close()
    watching.stop()
    for attempt in (
        lambda: client.sessions.get("s"),
        lambda: client.load("s", tmp_path / "q"),
        lambda: list(client.snapshots("s")),
        lambda: next(watching),
    ):
        with pytest.raises(errors.LocalError, match="this client was closed: make another one") as caught:
            attempt()
        assert caught.value.reason == "CLOSED"


def test_arguments_in_ones_own_words() -> None:
    assert sessions.state_of("ACTIVE") == sessions.state_of("SESSION_STATE_ACTIVE") == session_pb2.SESSION_STATE_ACTIVE
    assert sessions.state_of(3) == 3
    assert sessions.ttl_mode_of("ABSOLUTE") == session_pb2.TTL_MODE_ABSOLUTE
    for name in ("needs-login", "Needs_Login", "session_state_needs_login"):
        assert sessions.state_of(name) == session_pb2.SESSION_STATE_NEEDS_LOGIN
    with pytest.raises(
        errors.LocalError, match="'ready': use one of PENDING, ACTIVE, NEEDS_LOGIN, QUARANTINED, RETIRED "
    ):
        sessions.state_of("ready")
    assert sessions.ttl_mode_of("sliding") == session_pb2.TTL_MODE_SLIDING
    assert selector(kinds=["profile-saved"]) == selector(kinds=["PROFILE_SAVED"])
    assert sessions.duration(90) == sessions.duration(timedelta(seconds=90)) == Duration(seconds=90)
    assert sessions.state_bytes(b"{ }") == b"{ }"
    assert sessions.state_bytes("{}") == b"{}"
    assert sessions.state_bytes({"cookies": ["\u00e9"]}) == '{"cookies":["\u00e9"]}'.encode()
    assert sessions.state_bytes(None) == b""


def wrongly(verb: Any, *args: Any, **kwargs: Any) -> Any:
    return verb(*args, **kwargs)


@pytest.mark.parametrize(
    ("verb", "told"),
    [
        (lambda client: client.sessions.get(5), "session_id is 5 (int): it must be text (str)"),
        (lambda client: client.sessions.get(None), "session_id is None: it must be text (str)"),
        (lambda client: client.sessions.get("s", min_revision="1"), "min_revision is of type str: it must be a whole"),
        (lambda client: client.sessions.get("s", min_revision=1 << 63), "it must be a number of 64 bits"),
        (
            lambda client: client.sessions.get("\udc80"),
            "session_id is of type str: it must be text that can be written",
        ),
        (
            lambda client: client.sessions.create("b", labels=b"x"),
            "labels is of type bytes: it must be a mapping of text",
        ),
        (
            lambda client: client.sessions.create("b", labels={"a": b"x"}),
            "labels has something else in it: it must be a",
        ),
        (
            lambda client: client.sessions.create("b", ttl="1h"),
            "ttl is of type str: it must be a timedelta or a number",
        ),
        (lambda client: client.sessions.create("b", ttl=float("nan")), "nan is no time span"),
        (lambda client: client.sessions.create("b", ttl_mode=1 << 40), "ttl_mode is 1099511627776 (int): it must be a"),
        (lambda client: client.sessions.create("b", email=123456), "email is of type int: it must be text"),
        (
            lambda client: client.sessions.batch_get("one"),
            "session_ids is of type str: it must be a list, or the like,",
        ),
        (lambda client: client.sessions.batch_get(["a", 5]), "session_ids has something else in it: it must be a list"),
        (lambda client: client.sessions.transition("s", True), "to is True (bool): it must be text (str) or a whole"),
        (
            lambda client: client.sessions.list(page_size=1 << 31),
            "page_size is 2147483648 (int): it must be a number of",
        ),
        (lambda client: client.sessions.storage_state.put("s", 5), "storage_state is of type int: it must be bytes or"),
        (lambda client: client.sessions.storage_state.put("s", {"a": b"x"}), "storage_state cannot be written as JSON"),
        (lambda client: client.load("s", 5), "directory is 5 (int): it must be text (str) or a path"),
        (lambda client: client.save("s", "p", storage_state=[]), "storage_state is of type list: it must be bytes"),
        (
            lambda client: client.save("s", "p", exclude="x"),
            "exclude is of type str: it must be a list, or the like, of",
        ),
        (lambda client: client.save("s", "p", force=1), "force is 1 (int): it must be True or False"),
        (lambda client: client.save("s", "p", progress=1), "progress is 1 (int): it must be a function or None"),
        (lambda client: client.mount(5), "session_id is 5 (int): it must be text (str)"),
        (lambda client: client.mount("../s"), "session_id is '../s': it must match"),
        (lambda client: client.mount("s", root=5), "root is 5 (int): it must be text (str) or a path or None"),
        (lambda client: client.prune_mounts(older_than="7d"), "older_than is of type str: it must be a timedelta or a"),
        (lambda client: client.restore("s", 7), "snapshot_id is 7 (int): it must be text (str)"),
        (lambda client: client.watch([{"business_id": "b"}]), "selectors has something else in it: it must be a list"),
        (lambda client: client.watch(resume_token="t"), "resume_token is of type str: it must be bytes"),
        (lambda client: wrongly(selector, session_id=5), "session_id is 5 (int): it must be text (str)"),
        (lambda client: wrongly(Client, 7700), "target is 7700 (int): it must be text (str) or None"),
        (lambda client: wrongly(Tls, ca="/etc/ca.pem"), "ca is of type str: it must be bytes or None"),
        (lambda client: wrongly(Client, tls="yes"), "tls is of type str: it must be a Tls or True or False"),
        (
            lambda client: client.invalidate(selector()),
            "selectors is of type Selector: it must be a list, or the like,",
        ),
        (lambda client: wrongly(Client, token=123), "token is of type int: it must be text (str) or None"),
    ],
)
async def test_a_wrong_argument_is_called_by_its_name(verb: Any, told: str) -> None:
    async with Client(f"127.0.0.1:{free_port()}", patience=0.1) as client:
        with pytest.raises(errors.LocalError) as caught:
            await verb(client)
    assert caught.value.message.startswith(told) or told in caught.value.message
    assert caught.value.reason in ("INVALID_FIELD", "STATE_UNUSABLE")


async def test_what_is_of_the_same_kind_is_taken(tmp_path: Path) -> None:
    labels = session_pb2.Session(labels={"a": "1"}).labels
    text = session_pb2.BatchGetSessionsRequest(session_ids=["a"]).session_ids
    states: list[str | int] = ["ACTIVE", 2]
    async with Client(f"127.0.0.1:{free_port()}", patience=0.0) as client:
        for verb in (
            client.sessions.create("b", labels=labels, ttl=timedelta(hours=1), ttl_mode="SLIDING"),
            client.sessions.batch_get(text),
            anext(client.sessions.list(states=iter(states))),
            client.load("s", tmp_path / os.fsdecode(b"\xff"), compress=None),
            client.load("s", os.fsdecode(os.fsencode(tmp_path) + b"/\xff")),
        ):
            with pytest.raises(errors.Unavailable):
                await verb


def test_the_target_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLOAKROOM_TARGET", raising=False)

    def target(*given: str) -> str:
        with sync.Client(*given) as client:
            return client._inner._connection.target

    assert target() == cloakroom.DEFAULT_TARGET == "127.0.0.1:7700"
    monkeypatch.setenv("CLOAKROOM_TARGET", "http://127.0.0.1:7")
    assert (target(), target("127.0.0.1:8")) == ("127.0.0.1:7", "127.0.0.1:8")
    monkeypatch.setenv("CLOAKROOM_TARGET", "")
    assert target() == "127.0.0.1:7700"


def test_selectors() -> None:
    made = selector(business_id="b", kinds=["PROFILE_SAVED", pb.CHANGE_KIND_SESSION_CREATED])
    assert (made.business_id, list(made.kinds)) == ("b", [9, 1])
    with pytest.raises(errors.LocalError, match="PROFILE_SAVED"):
        selector(kinds=["SAVED"])


@pytest.mark.parametrize(
    ("target", "local"),
    [
        ("127.0.0.1:7700", True),
        ("localhost:7700", True),
        ("[::1]:7700", True),
        ("unix:/run/cloakroom.sock", True),
        ("dns:///localhost:7700", True),
        ("10.0.0.1:7700", False),
        ("127.example.test:7700", False),
        ("localhost.example.test:7700", False),
        ("dns:///cloakroom.example:7700", False),
    ],
)
def test_which_targets_are_of_this_host(target: str, local: bool) -> None:
    assert is_local(target) == local


async def test_a_token_does_not_leave_this_host_in_plain_text() -> None:
    with pytest.raises(errors.LocalError, match="in plain text") as caught:
        Client("cloakroom.example:7700", token="secret")
    assert "secret" not in str(caught.value)
    for options in ({"tls": True}, {"insecure": True}):
        await Client("cloakroom.example:7700", token="secret", **options).close()  # type: ignore[arg-type]
    await Client("127.0.0.1:7700", token="secret").close()


# --- connection


def nowhere(stall: float = 1.0) -> Connection:
    return Connection(f"127.0.0.1:{free_port()}", "", None, None, 0.3, stall)


async def test_things_are_done_again_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_FIRST_PAUSE", 0.001)
    link, told = nowhere(), list[str]()

    async def reach(self: channel.Channel, at_most: float | None = None) -> None:
        told.append("reached")

    monkeypatch.setattr(channel.Channel, "reach", reach)
    trouble = [
        errors.LocalError("moves", reason="PROFILE_CHANGING"),
        errors.Unavailable("away"),
        errors.Unavailable("still"),
    ]

    async def once(previous: errors.CloakroomError | None) -> str:
        told.append(previous.message if previous else "")
        if trouble:
            raise trouble.pop(0)
        return "done"

    assert await link.retry(once) == "done"
    assert told == ["", "moves", "reached", "away", "reached", "still"]

    async def always(error: errors.CloakroomError) -> int:
        calls = [0]

        async def once(previous: errors.CloakroomError | None) -> None:
            calls[0] += 1
            raise error

        with pytest.raises(type(error)):
            await link.retry(once)
        return calls[0]

    assert await always(errors.Unavailable("away", retry_delay=0.001)) == 5
    assert await always(errors.Unavailable("waited for already", reason="UNREACHABLE")) == 1
    assert await always(errors.Exhausted("full", reason="OVERLOADED", retry_delay=0.001)) == 5
    assert await always(errors.Exhausted("no", reason="QUOTA_EXCEEDED")) == 1
    assert await always(errors.ParentNotHead("no")) == 1
    assert await always(errors.LocalError("no", reason="PATH_INVALID")) == 1
    await link.close()


async def overloaded(times: int, delay: float, patience: float) -> tuple[str, int, float]:
    """Asks a server that has no room for some calls; answers what came of it, after how many calls and seconds."""
    calls = [0]

    async def answer(request: bytes, context: Any) -> bytes:
        calls[0] += 1
        if calls[0] > times:
            return bytes(session_pb2.GetSessionResponse(revision=7).SerializeToString())
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(timedelta(seconds=delay))
        status = status_pb2.Status(code=8, message="full")
        for detail in (info("OVERLOADED"), retry):
            status.details.add().Pack(detail)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        raise AssertionError("aborting raises")

    server = grpc.aio.server()
    verbs: dict[str, Any] = {"GetSession": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("cloakroom.v1.SessionService", verbs),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    link, began = Connection(f"127.0.0.1:{port}", "", None, None, patience, 1.0), time.monotonic()
    try:
        request = session_pb2.GetSessionRequest(session_id="s")
        got = str((await link.unary("SessionService", "GetSession", request, session_pb2.GetSessionResponse)).revision)
    except errors.Exhausted as error:
        got = error.reason
    took = time.monotonic() - began
    await link.close()
    await server.stop(None)
    return got, calls[0], took


async def test_a_daemon_without_room_is_asked_again_when_it_says() -> None:
    got, calls, took = await overloaded(2, 0.3, 20.0)
    assert (got, calls) == ("7", 3) and took >= 0.6
    assert (await overloaded(9, 0.01, 20.0))[:2] == ("OVERLOADED", 5)
    got, calls, took = await overloaded(9, 30.0, 5.0)
    assert (got, calls) == ("OVERLOADED", 1) and took < 4, "there is no time for another"


def test_pauses_double_up_to_a_bound_and_are_jittered() -> None:
    for attempt, bound in [(0, 0.1), (1, 0.2), (3, 0.8), (20, 5.0)]:
        pauses = [pause(attempt) for _ in range(200)]
        assert 0 <= min(pauses) < bound / 4 and bound / 2 < max(pauses) <= bound


# --- watch


def message(**event: Any) -> pb.WatchInvalidationsResponse:
    return pb.WatchInvalidationsResponse(resume_token=b"t", **event)


async def test_messages_become_events() -> None:
    link = nowhere()
    follower = watch.Watch(link, [], b"", None, 5.0)
    event = follower._event(message(opened=pb.Opened(revision=7, bookmark_interval=Duration(seconds=2))))
    assert (event.kind, event.revision, event.resume_token) == ("opened", 7, b"t")
    assert follower._interval == 2
    changes = [
        pb.Change(kind=pb.CHANGE_KIND_SESSION_CREATED, revision=8),
        pb.Change(kind=pb.CHANGE_KIND_PROFILE_SAVED, revision=9),
    ]
    event = follower._event(message(batch=pb.Batch(changes=changes)))
    assert (event.kind, event.revision, list(event.changes)) == ("changes", 9, changes)
    event = follower._event(message(bookmark=pb.Bookmark(revision=10)))
    assert (event.kind, event.revision) == ("bookmark", 10)
    reset = pb.Reset(reason=pb.Reset.REASON_GAP, revision=11, spread=Duration(seconds=4))
    event = follower._event(message(reset=reset))
    assert (event.kind, event.reset_reason, event.spread, event.revision) == ("reset", "GAP", 4.0, 11)
    assert all(0 <= event.smear() <= 4 for _ in range(50))
    await follower.close()
    await link.close()


def test_enumerations_have_names() -> None:
    session = session_pb2.Session(state=session_pb2.SESSION_STATE_NEEDS_LOGIN, ttl_mode=session_pb2.TTL_MODE_SLIDING)
    assert state_name(session) == state_name(session.state) == "NEEDS_LOGIN"
    assert enum_name(session, "ttl_mode") == "SLIDING"
    change = pb.Change(kind=pb.CHANGE_KIND_PROFILE_SAVED)
    assert kind_name(change) == kind_name(change.kind) == "PROFILE_SAVED"
    assert (state_name(0), state_name(99)) == ("UNSPECIFIED", "99"), "newer than this client"
    assert enum_name(pb.Reset(reason=pb.Reset.REASON_GAP), "reason") == "GAP"
    with pytest.raises(TypeError, match=r"Session\.email is no enumeration"):
        enum_name(session, "email")
    for name in session_pb2.SessionState.keys()[1:]:  # what is printed is what is taken
        assert sessions.state_of(state_name(session_pb2.SessionState.Value(name))) == session_pb2.SessionState.Value(
            name
        )


def test_answers_are_fit_to_be_printed() -> None:
    snapshot = profile_pb2.Snapshot(id="ab", session_id="s", entry_count=3, total_bytes=10)
    loaded = cloakroom.LoadResult(Path("/p"), snapshot, b"secret", "", 7)
    told = "snapshot ab of session s, 3 entries with 10 bytes"
    assert str(loaded) == f"{told} in /p; all of it was sent, 7 bytes of content"
    assert "secret" not in f"{loaded} {loaded!r}"
    assert str(cloakroom.SaveResult(snapshot, 4, "e", "u", 2, 99)) == f"{told}; 99 bytes were sent"
    changes = (pb.Change(session_id="s", kind=pb.CHANGE_KIND_PROFILE_SAVED),)
    assert str(cloakroom.WatchEvent("changes", 9, changes)) == "changes at revision 9: s PROFILE_SAVED"
    assert str(cloakroom.WatchEvent("reset", 9, reset_reason="GAP")) == "reset at revision 9: GAP"
    assert str(cloakroom.WatchEvent("bookmark", 9)) == "bookmark at revision 9"


async def test_what_is_unknown_is_a_reason_to_read_anew() -> None:
    link = nowhere()
    follower = watch.Watch(link, [], b"", None, 5.0)
    newer = pb.Change.FromString(b"\x08\x63\x10\x0c")  # kind 99, revision 12
    event = follower._event(message(batch=pb.Batch(changes=[newer])))
    assert (event.kind, event.reset_reason, event.revision, event.changes) == ("reset", "UNKNOWN_CHANGE", 12, ())
    assert follower._event(message()).kind == "reset"
    odd = pb.WatchInvalidationsResponse.FromString(b"\x22\x02\x08\x63")  # a reset with reason 99
    assert (follower._event(odd).kind, follower._event(odd).reset_reason) == ("reset", "UNKNOWN")
    await follower.close()
    await link.close()


async def test_a_reset_is_not_lost_with_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    async def download(self: Connection, method: str, request: Any, *_: Any, **__: Any) -> Any:
        asked.append(request.resume_token)
        yield pb.WatchInvalidationsResponse(opened=pb.Opened(revision=7), resume_token=b"new")
        if len(asked) == 1:
            raise errors.Unavailable("the connection broke")
        yield pb.WatchInvalidationsResponse(reset=pb.Reset(reason=pb.Reset.REASON_HISTORY_CHANGED), resume_token=b"new")

    monkeypatch.setattr(Connection, "download", download)
    link = nowhere()
    events = watch.Watch(link, [], b"old", None, 5.0)
    heard = [await anext(events) for _ in range(3)]
    assert [(event.kind, event.resume_token) for event in heard] == [
        ("opened", b"old"),
        ("opened", b"old"),
        ("reset", b"new"),
    ]
    assert asked == [b"old", b"old"]
    await events.close()
    await link.close()


async def test_where_a_watch_starts() -> None:
    link = nowhere()
    assert watch.Watch(link, [selector(session_id="s")], b"", None, 2.5)._request() == pb.WatchInvalidationsRequest(
        selectors=[pb.Selector(session_id="s")], bookmark_interval=Duration(seconds=2, nanos=500_000_000)
    )
    assert watch.Watch(link, [], b"", 0, 5.0)._request().WhichOneof("start") == "after_revision"
    assert watch.Watch(link, [], b"t", 7, 5.0)._request().resume_token == b"t", "a token says more than a revision"
    await link.close()


# --- the synchronous face


def test_the_synchronous_face_has_the_same_verbs() -> None:
    def verbs(kind: type) -> set[str]:
        return {name for name, member in inspect.getmembers(kind) if callable(member) and not name.startswith("_")}

    assert verbs(sync.Client) == verbs(Client)
    assert verbs(sync.Sessions) == verbs(sessions.Sessions)
    assert verbs(sync.StorageStates) == verbs(sessions.StorageStates)
    assert verbs(sync.Watch) == verbs(watch.Watch)


def test_the_synchronous_face_waits_and_fails_alike(tmp_path: Path) -> None:
    target = f"127.0.0.1:{free_port()}"
    with sync.Client(target, timeout=0.3) as client:
        began = time.monotonic()
        with pytest.raises(errors.Unavailable, match=target):
            client.sessions.get("s")
        with pytest.raises(errors.Unavailable):
            next(client.sessions.list())
        with pytest.raises(errors.LocalError) as caught:
            client.save("s", tmp_path / "nothing")
        assert caught.value.reason == "PROFILE_MISSING"
        assert time.monotonic() - began < 5


async def test_the_synchronous_face_can_be_used_beside_a_running_loop() -> None:
    def use() -> str:
        with sync.Client(f"127.0.0.1:{free_port()}", timeout=0.2) as client, pytest.raises(errors.Unavailable):
            client.server_info()
        return "used"

    assert await asyncio.to_thread(use) == "used"


def test_what_the_package_offers() -> None:
    assert set(cloakroom.__all__) <= set(dir(cloakroom))
    assert cloakroom.DEFAULT_TARGET == "127.0.0.1:7700"
