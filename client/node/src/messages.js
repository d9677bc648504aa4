// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/**
 * @file The shapes that callers see. They are the contract's messages with JavaScript's own types: states and kinds without their prefixes, times as
 * `Date`, durations as seconds, revisions and sizes as numbers (the contract keeps them below 2^53), bytes as `Buffer`.
 */

/** @typedef {'PENDING' | 'ACTIVE' | 'NEEDS_LOGIN' | 'QUARANTINED' | 'RETIRED' | 'EXPIRED' | 'DELETED'} SessionState where a session is in its life */
/** @typedef {'SLIDING' | 'ABSOLUTE'} TtlMode how the time to live runs: from the last use, or from the creation */

/**
 * One browser identity.
 *
 * @typedef {object} Session
 * @property {string} id unique in the namespace
 * @property {string} namespace the namespace it lives in
 * @property {string} businessId the business it belongs to
 * @property {string} email the account's e-mail address; empty if there is none
 * @property {SessionState} state where it is in its life
 * @property {string} stateReason why, as given by whoever moved it
 * @property {Record<string, string>} labels free labels
 * @property {number} ttlSeconds time to live
 * @property {TtlMode} ttlMode how the time to live runs
 * @property {Date | undefined} createTime when it was created
 * @property {Date | undefined} updateTime when it was changed last
 * @property {Date | undefined} lastUseTime when it was used last
 * @property {Date | undefined} expireTime when it expires if nothing happens; of a deleted or expired one: until when it can be revived
 * @property {string} etag version; give it back in a write to make it conditional
 * @property {string} headSnapshotId id of the snapshot that `load` gives by default; empty if nothing was saved
 * @property {number} storageStateRevision revision of the storage state; 0 if there is none
 * @property {boolean} storageStateSaved whether the storage state came along with a save or a restore, so that a snapshot has it too; false if it was put by itself, or there is none
 * @property {number} fence the current fencing token; 0 if it was never leased
 * @property {number} revision of a change: its own; of a read: the namespace's revision that the answer reflects
 */

/**
 * Where a profile comes from and where it can go.
 *
 * @typedef {object} Portability
 * @property {string} os `linux`, `macos` or `windows`; empty if unknown
 * @property {string} brand `chromium`, `chrome`, `firefox`, …; empty if unknown
 * @property {string} browserVersion such as `156.0.8078.79`; empty if unknown
 * @property {string} passwordStore where Chromium kept its cookie key, such as `basic`; empty if unknown
 * @property {boolean} quiesced the browser had exited before the capture
 * @property {string} capturePolicy `default`, `lean` or `full`; empty if unknown
 */

/**
 * One immutable saved state of a session.
 *
 * @typedef {object} Snapshot
 * @property {string} id 32 hexadecimal digits
 * @property {string} sessionId the session it was saved in
 * @property {number} sequence its place in the session's chain of commits, from 1
 * @property {string} parentSnapshotId the snapshot it was made from; empty if from nothing
 * @property {string} kind how it came to be: `SAVE`
 * @property {Buffer} manifestRoot digest of the whole tree: 32 bytes
 * @property {number} entryCount how many files, directories and links it has
 * @property {number} totalBytes the sum of its files' sizes
 * @property {number} storedBytes what this save added to the blob store
 * @property {boolean} hasStorageState whether a storage state was saved with it
 * @property {Portability} portability where it comes from
 * @property {Date | undefined} createTime when it was committed
 * @property {number} revision the revision of its commit
 * @property {boolean} head it is what `load` gives by default
 * @property {string} uploadId the upload that made it
 * @property {Date | undefined} pinTime when it was pinned; undefined while it is not
 * @property {string} pinNote why it is pinned
 * @property {Date | undefined} deleteTime when it was deleted; undefined while it is not
 * @property {Date | undefined} expireTime of a deleted one: until when it can be revived
 */

/**
 * What happened.
 *
 * @typedef {'SESSION_CREATED' | 'SESSION_UPDATED' | 'SESSION_TRANSITIONED' | 'SESSION_DELETED' | 'SESSION_EXPIRED' | 'SESSION_UNDELETED' | 'SESSION_PURGED'
 *   | 'STORAGE_STATE_PUT' | 'PROFILE_SAVED' | 'PROFILE_RESTORED' | 'SNAPSHOT_CHANGED' | 'INVALIDATED'} ChangeKind
 */

/**
 * One change, as a watch tells it.
 *
 * @typedef {object} Change
 * @property {ChangeKind | 'UNKNOWN'} kind what happened; `UNKNOWN` if the daemon is newer than this client
 * @property {number} revision the revision of the transaction; changes of one transaction share it
 * @property {string} sessionId the session
 * @property {string} businessId its business after the change
 * @property {string} previousBusinessId its business before the change, if another
 * @property {Buffer} emailHmac keyed digest of its e-mail address after the change; empty if it has none
 * @property {Buffer} previousEmailHmac the same before the change, if another
 * @property {SessionState | ''} state its state after the change
 * @property {SessionState | ''} previousState its state before the change, if another
 * @property {string} snapshotId its head snapshot after the change, for `PROFILE_SAVED` and `PROFILE_RESTORED`; the snapshot that changed, for `SNAPSHOT_CHANGED`
 * @property {string} reason why, as given by the caller of `invalidate` or `transition`
 */

/** @typedef {{ code: string, message: string }} Warning `code` is such as `CLOAKROOM_EMPTY_PROFILE` */

/**
 * @typedef {object} SaveExtras
 * @property {object | string | Uint8Array} [storageState] Playwright's storage state, to be saved and restored with the profile
 * @property {string} [uploadId] names this save for repetitions; made by the client if not given
 * @property {string} [etag] only if the session still has this
 * @property {number} [leaseToken] the lease under which this is saved
 * @property {Partial<Portability>} [portability] where the profile comes from, as far as the caller knows better; what is not known at all stays as it was loaded
 * @property {boolean} [replace] make the directory the session's head, whatever is its head now and wherever the directory came from; what was the head stays as an earlier snapshot
 * @property {boolean} [force] save although a live browser holds the profile, and what it has not yet written is missing; or although there is nothing to save
 * @property {boolean} [compress] pack the data on its way; if not given, unless the daemon is on this host and there is much of it
 * @property {Progress} [progress]
 * @property {AbortSignal} [signal]
 */
/** @typedef {SaveExtras & import('./capture.js').CaptureOptions} SaveOptions */
/**
 * @typedef {object} Saved
 * @property {Snapshot} snapshot the session's new head
 * @property {number} revision the revision of the change
 * @property {string} sessionEtag the session's etag after the save; empty if the answer was lost and the save was found committed afterwards
 * @property {string} uploadId names this save; give it back to repeat it
 * @property {number} messages how many were sent; 0 if the answer was lost
 * @property {number} wireBytes their bytes, before gRPC frames them; 0 if the answer was lost
 * @property {Warning[]} warnings what is strange about it, also emitted as warnings of the process
 */

/**
 * @typedef {object} LoadOptions
 * @property {string} [snapshotId] the wanted snapshot; the head if not given
 * @property {string} [have] a directory with a former snapshot of the session: what is unchanged comes from it; with `replace` the directory itself if not given
 * @property {boolean} [replace] put the profile in the place of what is there, in one step at the end; without it nothing is replaced, also not what appears meanwhile
 * @property {boolean} [force] replace it although a live browser holds it
 * @property {boolean} [withStorageState] whether the storage state that was saved with the snapshot comes along (true): a browser that starts without it has lost its session cookies
 * @property {boolean} [compress] have the data packed on its way; if not given, unless the daemon is on this host
 * @property {number} [minRevision] nothing older than this
 * @property {Progress} [progress]
 * @property {AbortSignal} [signal]
 */
/**
 * @typedef {object} Loaded
 * @property {string} directory where the profile is
 * @property {Snapshot} snapshot what it is
 * @property {string} baseSnapshotId what the stream was a difference to; empty for a full load
 * @property {number} contentBytes bytes of file content that travelled, unpacked
 * @property {any} storageState the storage state, if it was asked for and saved with the snapshot
 * @property {Buffer | undefined} storageStateBytes the same byte for byte
 */

/** @typedef {'file' | 'directory' | 'link'} EntryKind what an entry of a profile is */

/**
 * One file, directory or link of a profile.
 *
 * @typedef {object} Entry
 * @property {EntryKind} kind
 * @property {string} path relative, with `/` between its components
 * @property {number} mode permission bits; 0777 for a link
 * @property {bigint} mtimeNs modification time in nanoseconds since 1970; 0 for a link
 * @property {number} size of a file its length, of a link its target's length, of a directory 0
 * @property {Buffer} root digest of a file's content; empty for others
 * @property {Buffer} leaves digests of a file's leaves, one after the other; empty for others
 * @property {string} target where a link points; empty for others
 * @property {string} stat what the system said of it when it was looked at; empty if a change could hide behind that
 */

/** @typedef {{ entry: number, firstLeaf: number, leafCount: number, copyPath?: string, copyFirstLeaf?: number }} Run consecutive leaves; without `copyPath`: with bytes */
/** @typedef {{ entries: Entry[], removed: string[], runs: Run[] }} Difference what makes one tree of another */

/** @typedef {(moved: { done: number, total: number }) => void} Progress told the bytes of content that have travelled, and how many will */

/**
 * @param {string | number} value an enum value of the contract
 * @param {string} prefix
 * @returns {any} without its prefix: empty for the unspecified one, `UNKNOWN` for one that this client's contract does not have
 */
export function short(value, prefix) {
  if (typeof value !== 'string') return 'UNKNOWN';
  const name = value.slice(prefix.length);
  return name === 'UNSPECIFIED' ? '' : name;
}

/**
 * @param {{ seconds: number | string, nanos: number } | null | undefined} time
 * @returns {Date | undefined}
 */
export function date(time) {
  return time ? new Date(Number(time.seconds) * 1000 + Math.floor(time.nanos / 1e6)) : undefined;
}

/**
 * @param {{ seconds: number | string, nanos: number } | null | undefined} duration
 * @returns {number}
 */
export function seconds(duration) {
  return duration ? Number(duration.seconds) + duration.nanos / 1e9 : 0;
}

/**
 * @param {number | undefined} value seconds
 * @returns {{ seconds: number, nanos: number } | undefined}
 */
export function duration(value) {
  if (value === undefined) return undefined;
  const whole = Math.trunc(value);
  return { seconds: whole, nanos: Math.round((value - whole) * 1e9) };
}

/**
 * @param {any} message
 * @param {number} revision
 * @returns {Session}
 */
export function session({ ttl, ...message }, revision) {
  return {
    ...message,
    state: short(message.state, 'SESSION_STATE_'),
    labels: { ...message.labels },
    ttlSeconds: seconds(ttl),
    ttlMode: short(message.ttlMode, 'TTL_MODE_'),
    createTime: date(message.createTime),
    updateTime: date(message.updateTime),
    lastUseTime: date(message.lastUseTime),
    expireTime: date(message.expireTime),
    revision: Number(revision),
  };
}

/**
 * @param {any} message
 * @returns {Snapshot}
 */
export function snapshot(message) {
  const { os = '', brand = '', browserVersion = '', passwordStore = '', quiesced = false, capturePolicy = '' } = message.portability ?? {};
  return {
    ...message,
    kind: short(message.kind, 'SNAPSHOT_KIND_'),
    sequence: Number(message.sequence),
    entryCount: Number(message.entryCount),
    totalBytes: Number(message.totalBytes),
    storedBytes: Number(message.storedBytes),
    portability: { os, brand, browserVersion, passwordStore, quiesced, capturePolicy },
    createTime: date(message.createTime),
    revision: Number(message.revision),
    pinTime: date(message.pinTime),
    deleteTime: date(message.deleteTime),
    expireTime: date(message.expireTime),
  };
}

/**
 * @param {any} message
 * @returns {Change}
 */
export function change(message) {
  return {
    ...message,
    kind: short(message.kind, 'CHANGE_KIND_') || 'UNKNOWN',
    state: short(message.state, 'SESSION_STATE_'),
    previousState: short(message.previousState, 'SESSION_STATE_'),
  };
}
