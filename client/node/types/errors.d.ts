/**
 * @param {unknown} error
 * @returns {error is Exhausted} whether the daemon had no room for the call for now, and did nothing of it
 */
export function isOverload(error: unknown): error is Exhausted;
/**
 * Makes an error of this package from whatever a call failed with.
 *
 * @param {any} error a grpc-js `ServiceError`, or anything else
 * @param {string} [target] the address that was called, for the advice
 * @returns {CloakroomError}
 */
export function fromGrpc(error: any, target?: string): CloakroomError;
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
    constructor(message: string, facts?: ErrorFacts);
    /** The gRPC code, such as `NOT_FOUND`; empty if the client itself found the error. */
    code: string;
    /** The reason, such as `SESSION_NOT_FOUND`; empty if the daemon gave none. */
    reason: string;
    /** What belongs to the reason. */
    metadata: Record<string, string>;
    /** How long to wait at least before trying again; undefined if the daemon said nothing. */
    retryDelaySeconds: number | undefined;
    /** The fields, conditions or quotas that were broken. */
    violations: Violation[];
    /** What to do next. */
    help: HelpLink[];
    /** @returns {boolean} whether the same call may succeed later without any change */
    get retryable(): boolean;
}
/** The request breaks a rule; `violations` names the fields. Change the request. */
export class Invalid extends CloakroomError {
    /**
     * @param {string} message
     * @param {string} [reason]
     * @param {Violation[]} [violations]
     * @returns {Invalid} found by this client, before anything was sent
     */
    static here(message: string, reason?: string, violations?: Violation[]): Invalid;
}
/** There is no such session, snapshot, profile or storage state; `reason` says which. */
export class NotFound extends CloakroomError {
}
/** The session expired and can be revived with `sessions.undelete`. */
export class SessionExpired extends NotFound {
}
/** The session was deleted and can be revived with `sessions.undelete`. */
export class SessionDeleted extends NotFound {
}
/** The snapshot was deleted and can be revived with `undeleteSnapshot`. */
export class SnapshotDeleted extends NotFound {
}
/** Nothing was ever saved in the session: start with a fresh profile. */
export class ProfileEmpty extends NotFound {
}
/** A session with this id exists, or existed and can still be revived. */
export class AlreadyExists extends CloakroomError {
}
/** Somebody else was faster. Read again, then decide. */
export class Conflict extends CloakroomError {
}
/** The resource changed since the given etag. */
export class EtagMismatch extends Conflict {
}
/** The lease token is not the session's current one: somebody else may be driving it. */
export class LeaseFenced extends Conflict {
}
/** The profile that was saved does not come from the session's head, which `metadata` names. */
export class ParentNotHead extends Conflict {
}
/** Other writers were faster several times in a row. */
export class Contention extends Conflict {
}
/** The state of things does not allow it: an illegal transition, an ambiguous prefix, a snapshot that is held, a missing key. */
export class Refused extends CloakroomError {
}
/** The credentials are missing, or do not allow this call in this namespace. */
export class Denied extends CloakroomError {
}
/** A quota, the daemon's capacity or a disk is used up. */
export class Exhausted extends CloakroomError {
}
/**
 * The daemon or one of its stores cannot be reached, or did not answer in time. Besides the contract's reasons: UNREACHABLE if there was no connection to the daemon for as
 * long as the client's patience lasted.
 */
export class Unavailable extends CloakroomError {
}
/** Stored bytes are damaged, as found by the daemon. Nothing was changed. */
export class DataCorrupt extends CloakroomError {
}
/** The call was given up, because its client was closed. */
export class Cancelled extends CloakroomError {
}
/**
 * A fault of the daemon itself, or an answer that this client does not understand. Besides the contract's reasons: NOT_CLOAKROOM if what answers at the target is something
 * else.
 */
export class Internal extends CloakroomError {
}
/**
 * Something is wrong on this machine, found by the client itself. Its own reasons: PROFILE_BUSY (a browser runs on it), PROFILE_CHANGING (a file changes while it is read),
 * PROFILE_MISSING (no directory there), LOAD_UNFINISHED (a load into it did not come to its end), OTHER_SESSION (it is another session's), NOTHING_TO_SAVE (nothing in it belongs to a
 * profile), TARGET_EXISTS (a load would overwrite something), UNSAVED_CHANGES (`openContext` would throw away what was not saved), MOUNT_RELEASED (its
 * directory is no longer this mount's), CLOSED (the client was closed before), CAPTURE_RULE (a bad glob or policy). A path that the contract forbids is PATH_INVALID.
 */
export class LocalError extends CloakroomError {
    /** @returns {LocalError} for what is begun after its client was closed */
    static closed(): LocalError;
    /**
     * @param {string} path of something in the profile that cannot travel
     * @param {string} fault why
     * @returns {LocalError}
     */
    static path(path: string, fault: string): LocalError;
    /**
     * @param {string} path of a file in the profile that does not stand still
     * @returns {LocalError}
     */
    static changing(path: string): LocalError;
}
/** What arrived does not make the profile that was announced. Nothing was left behind. */
export class LoadFailed extends LocalError {
    /**
     * @param {string} message
     * @param {string} [reason]
     * @returns {LoadFailed}
     */
    static because(message: string, reason?: string): LoadFailed;
}
/**
 * What an error knows beside its message.
 */
export type ErrorFacts = {
    /**
     * the gRPC code, such as `NOT_FOUND`
     */
    code?: string | undefined;
    /**
     * the reason, such as `SESSION_NOT_FOUND`: the table stands in `error.proto`
     */
    reason?: string | undefined;
    /**
     * what belongs to the reason, such as the head's id
     */
    metadata?: Record<string, string> | undefined;
    /**
     * how long to wait at least before trying again
     */
    retryDelaySeconds?: number | undefined;
    /**
     * the fields, conditions or quotas that were broken
     */
    violations?: Violation[] | undefined;
    /**
     * what to do next
     */
    help?: HelpLink[] | undefined;
    /**
     * the error below
     */
    cause?: unknown;
};
/**
 * one broken rule and what it is about
 */
export type Violation = {
    subject: string;
    description: string;
};
/**
 * one piece of advice
 */
export type HelpLink = {
    description: string;
    url: string;
};
