# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""The way to a daemon: its address, the published service config, and whether somebody answers there."""

import asyncio
import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import grpc

from .arguments import checked
from .errors import LocalError, closed, unreachable

_READY, _SHUTDOWN = grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.SHUTDOWN
_LOCAL = re.compile(r"unix(-abstract)?:|(127\.[0-9]+\.[0-9]+\.[0-9]+|localhost|\[::1\])(:[0-9]+)?$")
_URL = re.compile(r"(?P<scheme>(https?://)?)(?P<host>[^/?#@\s:\[\]]+|\[[0-9a-fA-F:.%]+\])(:(?P<port>[0-9]{1,5}))?/?")
_GRPC = re.compile(r"(dns|ipv4|ipv6|unix|unix-abstract|vsock|xds):(?![0-9]+/?$)")
_HTTPS = 443
#: Seconds for which a call waits for a daemon that cannot be reached: one that was never seen is most likely not there,
#: or not there; one that was seen is most likely starting anew.
_BEFORE_CONTACT, _AFTER_CONTACT = 2.0, 30.0
_PROBE = 0.5
_OPTIONS = [
    # A dead connection shows itself within half a minute, also in the middle of a long save.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # After a restart of the daemon nobody waits long for the next attempt.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.enable_retries", 1),
]


@checked
@dataclass(frozen=True, slots=True)
class Tls:
    """How to speak TLS, as PEM bytes.

    Without `ca` the system's own authorities count; with `certificate` and `key` the client shows itself.
    """

    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None


def address(target: str, tls: Tls | bool) -> tuple[str, Tls | None]:
    """A target as gRPC takes it, and how to speak TLS there.

    Besides gRPC's own forms there are `http://host:port` and `https://host:port`, which means TLS; only with that one
    the port may be left out.
    """
    chosen, given = Tls() if tls is True else tls or None, target.strip()
    if _GRPC.match(given):
        return given, chosen
    url = _URL.fullmatch(given)
    port = int(url["port"] or _HTTPS) if url and (url["port"] or url["scheme"] == "https://") else 0
    if not url or not 0 < port < 1 << 16:
        shown = "(not shown, for it may hold a password)" if "@" in target else repr(target)
        advice = "use one with a port, like 127.0.0.1:7700, http://127.0.0.1:7700 or https://cloakroom.example:7700"
        raise LocalError(f"the target {shown} is no address of a daemon: {advice}", reason="OPTION")
    if url["scheme"] == "http://" and chosen:
        advice = f"write https://{url['host']}:{port}"
        raise LocalError(f"{target} says plain text and `tls` says TLS: {advice}", reason="OPTION")
    return f"{url['host']}:{port}", chosen or (Tls() if url["scheme"] == "https://" else None)


def is_local(target: str) -> bool:
    """Whether an address is of this host."""
    host = target.removeprefix("dns:///").removeprefix("ipv4:").removeprefix("ipv6:")
    return bool(_LOCAL.match(host))


@cache
def service_config() -> tuple[str, float]:
    """The published service config as this client uses it, and the deadline in seconds that it gives a single call.

    It repeats only calls that are harmless without a request id. This client gives every mutation one, and so repeats
    all of them alike. The deadline is taken out, so that a caller may choose a longer one.
    """
    config: Any = json.loads(files(__package__).joinpath("service_config.json").read_text(encoding="utf-8"))
    policy = config["methodConfig"][0]["retryPolicy"]
    deadlines = [float(entry.pop("timeout").removesuffix("s")) for entry in config["methodConfig"]]
    for entry in config["methodConfig"]:
        entry["retryPolicy"] = policy
    return json.dumps(config), max(deadlines)


class Channel:
    """A gRPC channel that knows whether there was contact, and says why there is none."""

    def __init__(self, target: str, tls: Tls | None, patience: float | None) -> None:
        self.target, self._patience, self._contact = target, patience, False
        self._closed = False
        options = [*_OPTIONS, ("grpc.service_config", service_config()[0])]
        if tls is None:
            self._channel = grpc.aio.insecure_channel(target, options)
        else:
            credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)
            self._channel = grpc.aio.secure_channel(target, credentials, options)

    def method(self, shape: str, path: str, *serializers: Any) -> Any:
        """A method to call; `shape` is such as `unary_unary`."""
        return getattr(self._channel, shape)(path, *serializers)

    def check(self) -> None:
        """Refuses to go on once it was closed."""
        if self._closed:
            raise closed(self.target)

    async def reach(self, at_most: float | None = None) -> None:
        """Waits for the daemon, as long as the client's patience lasts; then says why it cannot be reached."""
        self.check()
        if self._channel.get_state(try_to_connect=True) is _READY:
            self._contact = True
            return
        default = _AFTER_CONTACT if self._contact else _BEFORE_CONTACT
        patience = default if self._patience is None else self._patience
        patience = max(0.0, patience if at_most is None else min(patience, at_most))
        try:
            async with asyncio.timeout(patience):
                while (state := self._channel.get_state(try_to_connect=True)) is not _READY:
                    if state is _SHUTDOWN:
                        raise closed(self.target)
                    await self._channel.wait_for_state_change(state)
        except TimeoutError:
            await self._explain(patience)
        self._contact = True

    async def _explain(self, patience: float) -> None:
        # The channel keeps to itself what it failed with. A call that does not wait, and that nothing repeats, tells.
        try:
            await self.method("unary_unary", "/grpc.health.v1.Health/Check")(b"", timeout=_PROBE)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise unreachable(self.target, patience, error.details() or "") from None
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise unreachable(self.target, patience, "nobody answers") from None

    async def close(self) -> None:
        """Ends the channel and what runs on it."""
        self._closed = True
        await self._channel.close(None)
