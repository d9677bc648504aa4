# Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.
"""What can go wrong, one class for each different thing that a caller can do about it.

Everything raised on purpose is a `CloakroomError`. Its `reason` is one of `proto/cloakroom/v1/error.proto`, which also
says what is worth a retry; errors of this client's own making use those reasons where one fits, and else the ones that
`LocalError` lists.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

_DOMAIN = "cloakroom"
_DETAILS = "grpc-status-details-bin"


class CloakroomError(Exception):
    """The root of all errors of this package."""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        code: grpc.StatusCode | None = None,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[tuple[str, str]] = (),
        retry_delay: float | None = None,
        help: Sequence[str] = (),  # noqa: A002 - the name of google.rpc.Help
    ) -> None:
        super().__init__(message)
        #: What was wrong, with which value, and what to do.
        self.message = message
        #: Why, for programs: an `ErrorReason` without its prefix, or one of this client's own.
        self.reason = reason
        #: The status code, if the call reached gRPC.
        self.code = code
        #: More about it, such as the head's id for PARENT_NOT_HEAD.
        self.metadata: dict[str, str] = dict(metadata or {})
        #: Pairs of field and description, for a request that breaks a rule.
        self.violations: list[tuple[str, str]] = list(violations)
        #: Seconds to wait before trying again, if the daemon said so.
        self.retry_delay = retry_delay
        #: What to do next, if the daemon said so.
        self.help: list[str] = list(help)

    @property
    def retryable(self) -> bool:
        """The same call may succeed later without any change."""
        return isinstance(self, (Unavailable, Exhausted, Contention))

    def __str__(self) -> str:
        return f"{self.message} [{self.reason}]" if self.reason else self.message


class Invalid(CloakroomError):
    """The request breaks a rule; `violations` names the fields. Change the request."""


class NotFound(CloakroomError):
    """There is no such session, snapshot, profile or storage state; `reason` says which."""


class SessionExpired(NotFound):
    """The session expired and can be revived with `sessions.undelete`."""


class SessionDeleted(NotFound):
    """The session was deleted and can be revived with `sessions.undelete`."""


class SnapshotDeleted(NotFound):
    """The snapshot was deleted and can be revived with `undelete_snapshot`."""


class ProfileEmpty(NotFound):
    """Nothing was ever saved in the session: start with a fresh profile."""


class AlreadyExists(CloakroomError):
    """A session with this id exists, or existed and can still be revived."""


class Conflict(CloakroomError):
    """Somebody else was faster. Read again, then decide."""


class EtagMismatch(Conflict):
    """The resource changed since the given etag."""


class LeaseFenced(Conflict):
    """The lease token is not the session's current one: somebody else may be driving it."""


class ParentNotHead(Conflict):
    """The profile that was saved does not come from the session's head, which `metadata` names."""


class Contention(Conflict):
    """Other writers were faster several times in a row."""


class Refused(CloakroomError):
    """The state of things does not allow it: an illegal transition, an ambiguous prefix, a missing key."""


class Denied(CloakroomError):
    """The credentials are missing, or do not allow this call in this namespace."""


class Exhausted(CloakroomError):
    """A quota, the daemon's capacity or a disk is used up."""


class Unavailable(CloakroomError):
    """The daemon or one of its stores cannot be reached, or did not answer in time.

    Besides the contract's reasons: UNREACHABLE if there was no connection to the daemon for as long as the client's
    patience lasted, none if the connection broke in the middle of a call.
    """


class DataCorrupt(CloakroomError):
    """Stored bytes are damaged, as found by the daemon. Nothing was changed."""


class Internal(CloakroomError):
    """A fault of the daemon itself, or an answer that this client does not understand.

    Besides the contract's reasons: NOT_CLOAKROOM if what answers at the target is something else.
    """


class LocalError(CloakroomError):
    """Something is wrong on this machine, found by the client itself.

    Its own reasons: PROFILE_BUSY (a browser runs on it), PROFILE_CHANGING (a file changes while it is read),
    PROFILE_MISSING (no directory there), OTHER_SESSION (it is the profile of another session), NOTHING_TO_SAVE (nothing
    in it belongs to a profile), LOAD_UNFINISHED (a load took it away, and was killed or is still at it), FILE_SYSTEM
    (it refused to read or write), TARGET_EXISTS (a load would overwrite something), UNSAVED_CHANGES (`open_context`
    would throw away what was not saved), MOUNT_RELEASED (its directory may be another's by now), CLOSED (so is the
    client), CAPTURE_RULE (a bad glob or policy), STATE_UNUSABLE (a storage state that no browser can take), INSECURE (a
    token would go out in plain text), OPTION (a target that is no address, or no place for mounts). A path that the
    contract forbids is PATH_INVALID, an argument INVALID_FIELD.
    """


class LoadFailed(LocalError):
    """What arrived does not make the profile that was announced. Nothing was left behind."""


class PortabilityWarning(UserWarning):
    """A browser on this machine will not find its logins in the loaded profile."""


class SidecarWarning(UserWarning):
    """A save is done, but the directory still counts as what it was before it; the message says what to do."""


class StorageStateWarning(UserWarning):
    """A save leaves out what the snapshot before it had: a storage state, and the session cookies in it."""


class NotAProfileWarning(UserWarning):
    """What is saved has nothing that a Chromium or Firefox profile has; most likely it is the wrong directory."""


_BY_CODE: dict[grpc.StatusCode, type[CloakroomError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: Invalid,
    grpc.StatusCode.OUT_OF_RANGE: Invalid,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.ABORTED: Conflict,
    grpc.StatusCode.FAILED_PRECONDITION: Refused,
    grpc.StatusCode.UNAUTHENTICATED: Denied,
    grpc.StatusCode.PERMISSION_DENIED: Denied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Exhausted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: Unavailable,
    grpc.StatusCode.CANCELLED: Unavailable,
    grpc.StatusCode.DATA_LOSS: DataCorrupt,
}
_BY_REASON: dict[str, type[CloakroomError]] = {
    "SESSION_EXPIRED": SessionExpired,
    "SESSION_DELETED": SessionDeleted,
    "SNAPSHOT_DELETED": SnapshotDeleted,
    "PROFILE_EMPTY": ProfileEmpty,
    "ETAG_MISMATCH": EtagMismatch,
    "LEASE_FENCED": LeaseFenced,
    "PARENT_NOT_HEAD": ParentNotHead,
    "CONTENTION": Contention,
}


_RUNNING = "is cloakroomd running and reachable there? It prints its gRPC address when it starts"
_OTHER_PORT = "cloakroomd answers gRPC on port 7700 by default, and 7701 is its HTTP port for health and metrics"
#: What gRPC says of a connection, in one word that a person can act upon, and how.
_CAUSES = [
    (re.compile(pattern, re.IGNORECASE), cause, advice)
    for pattern, cause, advice in (
        ("connection refused", "connection refused", _RUNNING),
        ("name not found|lookup failed|name resolution|getaddrinfo", "the host name is not known", "check the target"),
        (
            "no route to host|network is unreachable",
            "there is no route to the host",
            "check the target and the network",
        ),
        ("wrong_version_number", "what listens there does not speak TLS", "leave `tls` and https:// out"),
        ("certificate_verify_failed|certificate verify", "its certificate is not trusted", "give tls=Tls(ca=…)"),
        ("certificate_required|bad_certificate|handshake_failure", "it wants a certificate", "give tls=Tls(…)"),
        (
            "socket closed|connection reset|broken pipe",
            "it closes the connection",
            f"say https:// if it wants TLS; {_RUNNING}",
        ),
        ("http1|http/1", "an HTTP server answers there and not gRPC", _OTHER_PORT),
    )
]
_NOT_GRPC = re.compile("http2? header with status: [1-4]|content-type", re.IGNORECASE)


def closed(target: str) -> LocalError:
    """A call to a client that was closed before."""
    return LocalError(f"this client of {target} was closed: make another one", reason="CLOSED")


def unreachable(target: str, seconds: float, details: str) -> Unavailable:
    """There is no connection to a daemon; `details` is what gRPC says of it."""
    known = ((cause, advice) for pattern, cause, advice in _CAUSES if pattern.search(details))
    cause, advice = next(known, (details or "nobody answers", _RUNNING))
    message = f"no connection to {target} within {seconds:.3g} s: {cause}; {advice}"
    return Unavailable(message, reason="UNREACHABLE", code=grpc.StatusCode.UNAVAILABLE)


def from_rpc(error: grpc.aio.AioRpcError, target: str) -> CloakroomError:
    """Translates a failed call; `target` is named where the daemon itself said nothing."""
    code = error.code()
    message = error.details() or code.name
    info, violations, helps = error_details_pb2.ErrorInfo(), [], []
    retry_delay: float | None = None
    for detail in _details(error):
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            retry_delay = retry.retry_delay.ToTimedelta().total_seconds()
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            detail.Unpack(bad)
            violations = [(violation.field, violation.description) for violation in bad.field_violations]
        elif detail.Is(error_details_pb2.Help.DESCRIPTOR):
            advice = error_details_pb2.Help()
            detail.Unpack(advice)
            helps = [f"{link.description} {link.url}".strip() for link in advice.links]
    kind = _BY_REASON.get(info.reason) or _BY_CODE.get(code, Internal)
    if info.domain != _DOMAIN:
        if _NOT_GRPC.search(message):
            message = f"an HTTP server answers at {target} and not gRPC ({message}); {_OTHER_PORT}"
            return Internal(message, reason="NOT_CLOAKROOM", code=code)
        if code is grpc.StatusCode.UNIMPLEMENTED:
            message = f"{target} does not know this call: it is another service, or a cloakroomd older than this client"
            return Internal(message, reason="NOT_CLOAKROOM", code=code)
        if code in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL):
            kind = Unavailable  # a connection that broke in the middle of a call
        # Not the daemon's own words: the network's, a proxy's or the deadline's.
        message = f"{code.name} from {target}: {message}"
        if kind is Unavailable:
            message += f"; {_RUNNING}"
    return kind(
        message,
        reason=info.reason or ("DEADLINE" if code is grpc.StatusCode.DEADLINE_EXCEEDED else ""),
        code=code,
        metadata=dict(info.metadata),
        violations=violations,
        retry_delay=retry_delay,
        help=helps,
    )


def _details(error: grpc.aio.AioRpcError) -> list[Any]:
    trailer: Any = error.trailing_metadata() or ()
    for key, value in trailer:
        if key == _DETAILS and isinstance(value, bytes):
            try:
                return list(status_pb2.Status.FromString(value).details)
            except DecodeError:  # a proxy's, or damaged: the code and the message still stand
                return []
    return []


def must(holds: bool, reason: str, message: str) -> None:
    """Ends a load that breaks the contract."""
    if not holds:
        raise LoadFailed(f"the profile that arrived is damaged: {message}", reason=reason)
