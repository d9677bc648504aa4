// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

import { status as Code } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

import { errorProtoDirectory } from './resources.js';

/**
 * What an error knows beside its message.
 *
 * @typedef {object} ErrorFacts
 * @property {string} [code] the gRPC code, such as `NOT_FOUND`
 * @property {string} [reason] the reason, such as `SESSION_NOT_FOUND`: the table stands in `error.proto`
 * @property {Record<string, string>} [metadata] what belongs to the reason, such as the head's id
 * @property {number} [retryDelaySeconds] how long to wait at least before trying again
 * @property {Violation[]} [violations] the fields, conditions or quotas that were broken
 * @property {HelpLink[]} [help] what to do next
 * @property {unknown} [cause] the error below
 */

/** @typedef {{ subject: string, description: string }} Violation one broken rule and what it is about */
/** @typedef {{ description: string, url: string }} HelpLink one piece of advice */

/** Every error of this package. Its subclasses differ in what the caller can do about them. */
export class CloakroomError extends Error {
  /**
   * @param {string} message
   * @param {ErrorFacts} [facts]
   */
  constructor(message, facts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.name = new.target.name;
    /** The gRPC code, such as `NOT_FOUND`; empty if the client itself found the error. */
    this.code = facts.code ?? '';
    /** The reason, such as `SESSION_NOT_FOUND`; empty if the daemon gave none. */
    this.reason = facts.reason ?? '';
    /** What belongs to the reason. */
    this.metadata = facts.metadata ?? {};
    /** How long to wait at least before trying again; undefined if the daemon said nothing. */
    this.retryDelaySeconds = facts.retryDelaySeconds;
    /** The fields, conditions or quotas that were broken. */
    this.violations = facts.violations ?? [];
    /** What to do next. */
    this.help = facts.help ?? [];
  }

  /** @returns {boolean} whether the same call may succeed later without any change */
  get retryable() {
    return this instanceof Unavailable || this instanceof Exhausted || this instanceof Contention;
  }
}

/** The request breaks a rule; `violations` names the fields. Change the request. */
export class Invalid extends CloakroomError {
  /**
   * @param {string} message
   * @param {string} [reason]
   * @param {Violation[]} [violations]
   * @returns {Invalid} found by this client, before anything was sent
   */
  static here(message, reason = 'INVALID_FIELD', violations = []) {
    return new Invalid(message, { code: 'INVALID_ARGUMENT', reason, violations });
  }
}
/** There is no such session, snapshot, profile or storage state; `reason` says which. */
export class NotFound extends CloakroomError {}
/** The session expired and can be revived with `sessions.undelete`. */
export class SessionExpired extends NotFound {}
/** The session was deleted and can be revived with `sessions.undelete`. */
export class SessionDeleted extends NotFound {}
/** The snapshot was deleted and can be revived with `undeleteSnapshot`. */
export class SnapshotDeleted extends NotFound {}
/** Nothing was ever saved in the session: start with a fresh profile. */
export class ProfileEmpty extends NotFound {}
/** A session with this id exists, or existed and can still be revived. */
export class AlreadyExists extends CloakroomError {}
/** Somebody else was faster. Read again, then decide. */
export class Conflict extends CloakroomError {}
/** The resource changed since the given etag. */
export class EtagMismatch extends Conflict {}
/** The lease token is not the session's current one: somebody else may be driving it. */
export class LeaseFenced extends Conflict {}
/** The profile that was saved does not come from the session's head, which `metadata` names. */
export class ParentNotHead extends Conflict {}
/** Other writers were faster several times in a row. */
export class Contention extends Conflict {}
/** The state of things does not allow it: an illegal transition, an ambiguous prefix, a snapshot that is held, a missing key. */
export class Refused extends CloakroomError {}
/** The credentials are missing, or do not allow this call in this namespace. */
export class Denied extends CloakroomError {}
/** A quota, the daemon's capacity or a disk is used up. */
export class Exhausted extends CloakroomError {}
/**
 * The daemon or one of its stores cannot be reached, or did not answer in time. Besides the contract's reasons: UNREACHABLE if there was no connection to the daemon for as
 * long as the client's patience lasted.
 */
export class Unavailable extends CloakroomError {}
/** Stored bytes are damaged, as found by the daemon. Nothing was changed. */
export class DataCorrupt extends CloakroomError {}
/** The call was given up, because its client was closed. */
export class Cancelled extends CloakroomError {}
/**
 * A fault of the daemon itself, or an answer that this client does not understand. Besides the contract's reasons: NOT_CLOAKROOM if what answers at the target is something
 * else.
 */
export class Internal extends CloakroomError {}

/**
 * Something is wrong on this machine, found by the client itself. Its own reasons: PROFILE_BUSY (a browser runs on it), PROFILE_CHANGING (a file changes while it is read),
 * PROFILE_MISSING (no directory there), LOAD_UNFINISHED (a load into it did not come to its end), OTHER_SESSION (it is another session's), NOTHING_TO_SAVE (nothing in it belongs to a
 * profile), TARGET_EXISTS (a load would overwrite something), UNSAVED_CHANGES (`openContext` would throw away what was not saved), MOUNT_RELEASED (its
 * directory is no longer this mount's), CLOSED (the client was closed before), CAPTURE_RULE (a bad glob or policy). A path that the contract forbids is PATH_INVALID.
 */
export class LocalError extends CloakroomError {
  /** @returns {LocalError} for what is begun after its client was closed */
  static closed() {
    return new LocalError('the client was closed: make a new one', { reason: 'CLOSED' });
  }

  /**
   * @param {string} path of something in the profile that cannot travel
   * @param {string} fault why
   * @returns {LocalError}
   */
  static path(path, fault) {
    return new LocalError(`${JSON.stringify(path)} cannot be saved: ${fault}; rename, remove or exclude it`, {
      reason: 'PATH_INVALID',
      metadata: { path },
    });
  }

  /**
   * @param {string} path of a file in the profile that does not stand still
   * @returns {LocalError}
   */
  static changing(path) {
    return new LocalError(`${JSON.stringify(path)} changes while it is read: wait until the browser has exited, then try again`, {
      reason: 'PROFILE_CHANGING',
    });
  }
}

/** What arrived does not make the profile that was announced. Nothing was left behind. */
export class LoadFailed extends LocalError {
  /**
   * @param {string} message
   * @param {string} [reason]
   * @returns {LoadFailed}
   */
  static because(message, reason = 'DATA_INVALID') {
    return new LoadFailed(`the profile that arrived is damaged: ${message}`, { reason });
  }
}

/**
 * @param {unknown} error
 * @returns {error is Exhausted} whether the daemon had no room for the call for now, and did nothing of it
 */
export function isOverload(error) {
  return error instanceof Exhausted && error.reason === 'OVERLOADED';
}

/** @type {Record<string, typeof CloakroomError>} */
const byReason = {
  SESSION_EXPIRED: SessionExpired,
  SESSION_DELETED: SessionDeleted,
  SNAPSHOT_DELETED: SnapshotDeleted,
  PROFILE_EMPTY: ProfileEmpty,
  ETAG_MISMATCH: EtagMismatch,
  LEASE_FENCED: LeaseFenced,
  PARENT_NOT_HEAD: ParentNotHead,
  CONTENTION: Contention,
};

/** @type {Record<string, typeof CloakroomError>} */
const byCode = {
  INVALID_ARGUMENT: Invalid,
  OUT_OF_RANGE: Invalid,
  NOT_FOUND: NotFound,
  ALREADY_EXISTS: AlreadyExists,
  ABORTED: Conflict,
  FAILED_PRECONDITION: Refused,
  UNAUTHENTICATED: Denied,
  PERMISSION_DENIED: Denied,
  RESOURCE_EXHAUSTED: Exhausted,
  UNAVAILABLE: Unavailable,
  DEADLINE_EXCEEDED: Unavailable,
  DATA_LOSS: DataCorrupt,
  CANCELLED: Cancelled,
};

const details = loadSync(['google/rpc/status.proto', 'google/rpc/error_details.proto'], {
  includeDirs: [errorProtoDirectory],
  longs: Number,
  defaults: true,
});

/**
 * @param {string} type full name of a message type
 * @param {Uint8Array} bytes
 * @returns {any}
 */
function decode(type, bytes) {
  const definition = /** @type {import('@grpc/proto-loader').MessageTypeDefinition<any, any>} */ (details[type]);
  return definition.deserialize(Buffer.from(bytes));
}

/**
 * The facts in a `google.rpc.Status`. Kinds of details that this version does not know are left out, and so are damaged ones: whatever
 * happens here, the caller must still see the error itself.
 *
 * @param {Uint8Array} bytes
 * @returns {ErrorFacts}
 */
function factsOf(bytes) {
  /** @type {ErrorFacts} */
  const facts = { violations: [], help: [] };
  try {
    for (const { type_url: url, typeUrl = url, value } of decode('google.rpc.Status', bytes).details) {
      const type = String(typeUrl).split('/').pop() ?? '';
      const detail = type in details ? decode(type, value) : {};
      if (type === 'google.rpc.ErrorInfo') Object.assign(facts, { reason: detail.reason, metadata: detail.metadata });
      if (type === 'google.rpc.RetryInfo') facts.retryDelaySeconds = Number(detail.retryDelay?.seconds ?? 0) + (detail.retryDelay?.nanos ?? 0) / 1e9;
      for (const { field, type: kind, subject, description } of detail.fieldViolations ?? detail.violations ?? []) {
        facts.violations?.push({ subject: field ?? [kind, subject].filter(Boolean).join(' '), description });
      }
      for (const { description, url: link } of detail.links ?? []) facts.help?.push({ description, url: link });
    }
  } catch {
    return facts;
  }
  return facts;
}

/**
 * @param {any} error
 * @param {string} [target]
 * @returns {Internal}
 */
function notCloakroom(error, target = 'the given address') {
  const message = /HTTP|content-type/i.test(error.details)
    ? `what answers at ${target} is an HTTP server, and not gRPC (${error.details}): cloakroomd's gRPC port is 7700 by default, and 7701 is its HTTP port`
    : `what answers at ${target} does not know this call (${error.details}): check the address, and whether the daemon is older than this client`;
  return new Internal(message, { code: Code[error.code], reason: 'NOT_CLOAKROOM', cause: error });
}

/**
 * Makes an error of this package from whatever a call failed with.
 *
 * @param {any} error a grpc-js `ServiceError`, or anything else
 * @param {string} [target] the address that was called, for the advice
 * @returns {CloakroomError}
 */
export function fromGrpc(error, target) {
  if (error instanceof CloakroomError) return error;
  const code = Code[error?.code];
  if (code === undefined || error?.details === undefined) {
    return new Internal(error?.message ?? String(error), { code: 'INTERNAL', cause: error });
  }
  const [bytes] = error.metadata?.get('grpc-status-details-bin') ?? [];
  const facts = { ...(bytes ? factsOf(bytes) : {}), code, cause: error };
  const type = byReason[facts.reason ?? ''] ?? byCode[code] ?? Internal;
  // Not the daemon's own words, but the network's or those of whatever else is there.
  const foreign = !bytes && (code === 'UNIMPLEMENTED' || /HTTP status code [1-4]|content-type/i.test(error.details));
  if (foreign) return notCloakroom(error, target);
  const said = error.details;
  const message =
    !bytes && code === 'UNAVAILABLE'
      ? `the connection to cloakroomd at ${target ?? 'the given address'} broke (${error.details}): check that it runs, and try again`
      : [
          said,
          ...(facts.violations ?? []).map(({ subject, description }) => (said.includes(description) ? '' : `${subject}: ${description}`)),
          ...(facts.help ?? []).map(({ description }) => (said.includes(description) ? '' : description)),
        ]
          .filter(Boolean)
          .join('; ');
  return new type(message, facts);
}
