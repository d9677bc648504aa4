# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""Reaching a daemon: what a target may be, how long a client waits, what it says, and which calls gRPC may repeat."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from conftest import CLIENT
from daemon import Daemon, free_port

from cloakroom import Client, Tls, channel, errors, sync
from cloakroom.v1 import admin_pb2, invalidation_pb2, profile_pb2, session_pb2


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens, and which nobody else gets."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    running = Daemon(tmp_path_factory.mktemp("daemon") / "data")
    yield running
    running.stop()


# --- nobody there


async def watched(client: Client) -> None:
    async with client.watch() as watch:
        await anext(watch)


@pytest.mark.parametrize(
    "verb",
    [
        lambda client, top: client.server_info(),
        lambda client, top: client.sessions.create("b"),
        lambda client, top: client.load("s", top / "p"),
        lambda client, top: client.save("s", top, force=True),
        lambda client, top: watched(client),
    ],
    ids=["read", "mutation", "load", "save", "watch"],
)
async def test_a_port_where_nobody_listens_is_named_soon_with_its_cause(
    verb: Callable[[Client, Path], Awaitable[Any]], nobody: str, tmp_path: Path
) -> None:
    async with Client(nobody) as client:
        began = time.monotonic()
        with pytest.raises(
            errors.Unavailable, match=f"{nobody} within 2 s: connection refused; is cloakroomd"
        ) as caught:
            await verb(client, tmp_path)
        assert time.monotonic() - began < 3.5
        assert (caught.value.reason, caught.value.code) == ("UNREACHABLE", grpc.StatusCode.UNAVAILABLE)
    assert list(tmp_path.iterdir()) == []


def test_the_synchronous_client_does_the_same(nobody: str) -> None:
    with sync.Client(nobody, patience=0.2) as client, pytest.raises(errors.Unavailable, match="connection refused"):
        client.server_info()


async def test_patience_is_the_callers(nobody: str) -> None:
    for options, bound in [
        ({"patience": 0.0}, 0.3),
        ({"patience": 3.0}, 3.4),
        ({"patience": 9.0, "timeout": 0.5}, 0.9),
    ]:
        async with Client(nobody, **options) as client:  # type: ignore[arg-type]
            began = time.monotonic()
            with pytest.raises(errors.Unavailable, match="connection refused"):
                await client.server_info()
            assert bound - 0.5 <= time.monotonic() - began < bound + 0.5


async def test_a_daemon_that_starts_within_the_patience_is_waited_for(tmp_path: Path) -> None:
    target = f"127.0.0.1:{free_port()}"
    async with Client(target, patience=30) as client:
        asking = asyncio.create_task(client.sessions.create("b"))
        await asyncio.sleep(0.5)
        running = await asyncio.to_thread(Daemon, tmp_path / "data", target)
        try:
            assert (await asking).session.id
            # Known once, it is waited for without being told: for a call, for a stream, and for a new watch.
            running.kill()
            jobs = [client.sessions.create("b"), client.snapshot("never-was"), watched(client)]
            waiting = [asyncio.create_task(job) for job in jobs]
            await asyncio.sleep(2.5)
            assert not any(task.done() for task in waiting)
            await asyncio.to_thread(running.start)
            results: list[Any] = await asyncio.gather(*waiting, return_exceptions=True)
            assert results[0].session.id and isinstance(results[1], errors.NotFound) and results[2] is None
        finally:
            running.stop()


async def test_a_host_that_has_no_address() -> None:
    async with Client("nobody.invalid:7700", patience=0.5) as client:
        with pytest.raises(errors.Unavailable, match=r"nobody\.invalid:7700.*(host name is not known|resol)"):
            await client.server_info()


# --- something else there


async def test_the_http_port_is_told_from_the_grpc_port(daemon: Daemon, tmp_path: Path) -> None:
    async with Client(daemon.http) as client:
        for call in (client.server_info(), client.load("s", tmp_path / "p"), watched(client)):
            with pytest.raises(errors.Internal, match=f"HTTP server answers at {daemon.http}.*7700.*7701") as caught:
                await call
            assert (caught.value.reason, caught.value.retryable) == ("NOT_CLOAKROOM", False)


async def test_a_server_of_another_kind(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                with peer:
                    peer.recv(1000)
                    peer.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        target = f"127.0.0.1:{server.getsockname()[1]}"
        async with Client(target, patience=0.5) as client:
            with pytest.raises(errors.CloakroomError, match=target) as caught:
                await client.server_info()
        assert "HTTP" in caught.value.message or "http" in caught.value.message
        server.shutdown(socket.SHUT_RDWR)


async def test_a_server_that_hangs_up() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with Client(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", patience=0.5) as client:
        with pytest.raises(errors.Unavailable, match="it closes the connection; say https:// if it wants TLS"):
            await client.server_info()
    server.close()


async def test_tls_to_a_daemon_without(daemon: Daemon) -> None:
    async with Client(f"https://{daemon.target}", patience=0.5) as client:
        with pytest.raises(errors.Unavailable, match="does not speak TLS"):
            await client.server_info()


# --- targets


@pytest.mark.parametrize(
    ("target", "tls", "address", "secured"),
    [
        ("127.0.0.1:7700", False, "127.0.0.1:7700", False),
        ("http://127.0.0.1:7700", False, "127.0.0.1:7700", False),
        (" http://localhost:7700/\n", False, "localhost:7700", False),
        ("localhost:7700", False, "localhost:7700", False),
        ("dns:7700", False, "dns:7700", False),
        ("[::1]:7700", False, "[::1]:7700", False),
        ("dns:cloakroom.example:7700", False, "dns:cloakroom.example:7700", False),
        ("ipv4:10.0.0.1:7700,10.0.0.2:7700", False, "ipv4:10.0.0.1:7700,10.0.0.2:7700", False),
        ("http://[::1]:7700", False, "[::1]:7700", False),
        ("https://cloakroom.example", False, "cloakroom.example:443", True),
        ("https://[::1]", False, "[::1]:443", True),
        ("https://cloakroom.example:7700", True, "cloakroom.example:7700", True),
        ("cloakroom.example:7700", True, "cloakroom.example:7700", True),
        ("dns:///cloakroom.example:7700", False, "dns:///cloakroom.example:7700", False),
        ("unix:///run/cloakroom.sock", False, "unix:///run/cloakroom.sock", False),
    ],
)
def test_what_a_target_may_be(target: str, tls: bool, address: str, secured: bool) -> None:
    assert channel.address(target, tls) == (address, Tls() if secured else None)


@pytest.mark.parametrize(
    "target",
    [
        *(
            "",
            " ",
            "a b:1",
            "ftp://h:1",
            "http://",
            "http://h:1/path",
            "http://u:secret@h:1",
            "u:secret@h:1",
            "https://h:1?x",
        ),
        *(
            "localhost",
            "http://localhost",
            "localhost:0",
            "localhost:99999",
            "https://h:99999",
            "localhost:http",
            "::1",
        ),
    ],
)
def test_what_no_target_is(target: str) -> None:
    with pytest.raises(errors.LocalError, match="no address of a daemon") as caught:
        channel.address(target, tls=False)
    assert caught.value.reason == "OPTION" and "secret" not in str(caught.value)


def test_plain_text_and_tls_contradict_each_other() -> None:
    own = Tls(ca=b"PEM")
    assert channel.address("https://h:1", own) == ("h:1", own)
    with pytest.raises(errors.LocalError, match="https://h:1"):
        channel.address("http://h:1", own)


async def test_a_url_works_as_a_target(daemon: Daemon) -> None:
    async with Client(f"http://{daemon.target}") as client:
        assert (await client.server_info()).version


async def test_a_token_goes_where_a_url_says_tls() -> None:
    await Client("https://cloakroom.example:7700", token="secret").close()
    with pytest.raises(errors.LocalError, match="in plain text"):
        Client("http://cloakroom.example:7700", token="secret")


# --- the published service config


def methods() -> dict[str, Any]:
    """Every unary method of the contract with its request."""
    files = (session_pb2, admin_pb2, invalidation_pb2, profile_pb2)
    services = [service for file in files for service in file.DESCRIPTOR.services_by_name.values()]
    every = [method for service in services for method in service.methods]
    return {
        f"{method.containing_service.full_name}/{method.name}": method.input_type
        for method in every
        if not method.client_streaming and not method.server_streaming
    }


def entries(config: Any) -> dict[str, Any]:
    """What a config says of each method."""
    out: dict[str, Any] = {}
    for entry in config["methodConfig"]:
        for name in entry["name"]:
            named = [path for path in methods() if path.startswith(f"{name['service']}/{name.get('method', '')}")]
            named = [path for path in named if "method" not in name or path.endswith(f"/{name['method']}")]
            assert named and not out.keys() & set(named), name
            out |= dict.fromkeys(named, entry)
    return out


#: Mutations with a request id that may come twice without one: the second finds nothing to do, or says again what
#: nobody minds hearing twice.
HARMLESS = {"DeleteSession", "UndeleteSession", "DeleteSnapshot", "UndeleteSnapshot", "Invalidate"}


def test_what_stock_clients_repeat_is_harmless_without_a_request_id() -> None:
    published = json.loads((CLIENT.parent / "proto" / "service_config.json").read_text(encoding="utf-8"))
    said = entries(published)
    assert said.keys() == methods().keys(), "every unary call has its deadline there"
    for path, entry in said.items():
        name = path.rpartition("/")[2]
        repeatable = "request_id" not in methods()[path].fields_by_name or name in HARMLESS
        assert ("retryPolicy" in entry) == repeatable, path
        assert entry["timeout"] == "10s" and "waitForReady" not in entry, path


def test_this_client_repeats_every_single_call() -> None:
    text, timeout = channel.service_config()
    assert timeout == 10.0
    said = entries(json.loads(text))
    assert said.keys() == methods().keys()
    assert all(entry["retryPolicy"]["maxAttempts"] == 5 and "timeout" not in entry for entry in said.values())


async def test_a_mutation_whose_connection_broke_happens_once(daemon: Daemon) -> None:
    """A proxy that cuts the first connection after the request went through: the answer is lost, the change is not."""
    host, _, port = daemon.target.rpartition(":")
    handlers: list[asyncio.Task[Any] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        first = not handlers
        handlers.append(asyncio.current_task())

        async def back() -> None:
            while data := await there_reader.read(65536):
                # The answer has the session's id in it; it never arrives.
                if first and b"lost-answer" in data:
                    writer.transport.abort()
                    return
                writer.write(data)

        async def forth() -> None:
            while data := await reader.read(65536):
                there_writer.write(data)

        tasks = [asyncio.ensure_future(back()), asyncio.ensure_future(forth())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in (writer, there_writer):
            one.close()
            with suppress(OSError):
                await one.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        async with Client(f"127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
            made = await client.sessions.create("once", session_id="lost-answer")
            assert made.session.id == "lost-answer" and len(handlers) == 2
            assert [found.id async for found in client.sessions.list(business_id="once")] == ["lost-answer"]
    finally:
        server.close()
        await asyncio.gather(*(handler for handler in handlers if handler))
