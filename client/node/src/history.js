// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file What can be done with snapshots: listed and read, made the head again, kept, put away, compared. */

import { randomUUID } from 'node:crypto';

import { short, snapshot } from './messages.js';
import { READ, WRITE, check } from './options.js';

/** @typedef {import('./connection.js').Connection} Connection */
/** @typedef {import('./messages.js').Snapshot} Snapshot */
/** @typedef {import('./sessions.js').ReadOptions} ReadOptions */
/** @typedef {import('./sessions.js').WriteOptions} WriteOptions */

/**
 * An entry of a snapshot, as the daemon lists it.
 *
 * @typedef {object} ListedEntry
 * @property {import('./messages.js').EntryKind} kind
 * @property {string} path
 * @property {number} mode
 * @property {bigint} mtimeNs
 * @property {number} size
 * @property {Buffer} root
 * @property {string} target
 */

/**
 * A restore that was made.
 *
 * @typedef {object} Restored
 * @property {Snapshot} snapshot what is the head again
 * @property {string} formerHeadSnapshotId the head before: restoring it is redo. The snapshot itself if nothing had to be done
 * @property {string} sessionEtag the session's etag after it
 * @property {number} revision the revision of the change
 */

/** @typedef {{ snapshot: Snapshot, revision: number }} Marked a snapshot after it was pinned, unpinned, deleted or undeleted, and the revision of that */

/** @typedef {'ADDED' | 'REMOVED' | 'CHANGED' | 'UNKNOWN'} DifferenceKind whether only the newer one has it, only the older one, or both and not the same */

/**
 * One entry that differs: in its kind, size, mode, modification time, target or content.
 *
 * @typedef {object} EntryDifference
 * @property {DifferenceKind} kind how
 * @property {ListedEntry | undefined} before the entry in the older snapshot
 * @property {ListedEntry | undefined} after the entry in the newer snapshot
 * @property {number} changedBytes bytes of the newer file that differ, counted in leaves of 4 KiB
 */

/**
 * One cookie that differs. Its value is never told.
 *
 * @typedef {object} CookieDifference
 * @property {DifferenceKind} kind how
 * @property {string} host its host, with a leading dot when it is for all below too
 * @property {string} name
 * @property {string} path
 * @property {boolean} valueChanged of a changed one: what the browser stores as its value is not the same
 * @property {boolean} attributesChanged of a changed one: its expiry or its flags are not the same
 */

/**
 * What differs in one cookie database of Chromium's.
 *
 * @typedef {object} CookieDatabaseDifference
 * @property {string} path where it is in the profile
 * @property {'KNOWN' | 'UNKNOWN'} comparison whether it could be compared
 * @property {string} unknownReason why not
 * @property {CookieDifference[]} cookies those that differ, in the order of their hosts and names
 * @property {boolean} truncated more differ than an answer has room for
 */

/**
 * What differs between two snapshots.
 *
 * @typedef {object} SnapshotDiff
 * @property {Snapshot} snapshot the newer one
 * @property {Snapshot | undefined} base the older one; undefined if the newer is compared with an empty profile
 * @property {EntryDifference[]} differences all entries that differ, in order of their paths
 * @property {number} added how many entries are new
 * @property {number} removed how many are gone
 * @property {number} changed how many are in both and differ
 * @property {number} changedBytes bytes of the newer files that differ, counted in leaves of 4 KiB
 * @property {CookieDatabaseDifference[]} cookies the cookie databases that differ
 * @property {number} revision the namespace's revision that the answer reflects
 */

/** @type {Record<string, import('./messages.js').EntryKind>} */
const entryKinds = { ENTRY_KIND_FILE: 'file', ENTRY_KIND_DIRECTORY: 'directory', ENTRY_KIND_SYMLINK: 'link' };

/**
 * @param {any} message
 * @returns {ListedEntry}
 */
function listed({ kind, mtimeNs, size, symlinkTarget: target, ...entry }) {
  return { ...entry, kind: entryKinds[kind], mtimeNs: BigInt(mtimeNs), size: Number(size), target };
}

/** The verbs on a session's snapshots. */
export class History {
  /** @param {Connection} connection */
  constructor(connection) {
    /** @protected */
    this.connection = connection;
  }

  /**
   * Lists a session's snapshots, newest first, page by page as they are asked for.
   *
   * @param {string} sessionId
   * @param {ReadOptions & { showDeleted?: boolean, pageSize?: number }} [options] `showDeleted`: also those that were deleted and can still be revived
   * @returns {AsyncGenerator<Snapshot, void, void>}
   */
  async *snapshots(sessionId, options = {}) {
    check('snapshots', { sessionId }, options, { showDeleted: 'flag', pageSize: 'count', ...READ });
    const { showDeleted, pageSize, minRevision, ...call } = options;
    for (let pageToken = ''; ;) {
      const request = { sessionId, showDeleted, pageSize, pageToken, minRevision };
      const page = await this.connection.unary('ProfileService', 'listSnapshots', request, call);
      for (const message of page.snapshots) yield snapshot(message);
      pageToken = page.nextPageToken;
      if (!pageToken) return;
    }
  }

  /**
   * Reads one snapshot, if wanted with its entries in order of their paths.
   *
   * @param {string} sessionId
   * @param {ReadOptions & { snapshotId?: string, withEntries?: boolean }} [options] `snapshotId`: the head if not given
   * @returns {Promise<Snapshot & { entries: ListedEntry[] | undefined }>}
   */
  async snapshot(sessionId, options = {}) {
    check('snapshot', { sessionId }, options, { snapshotId: 'text', withEntries: 'flag', ...READ });
    const { snapshotId, withEntries = false, minRevision, ...call } = options;
    /** @type {ListedEntry[]} */
    const entries = [];
    for (let pageToken = '', id = snapshotId; ;) {
      const request = { sessionId, snapshotId: id, withEntries, pageToken, minRevision };
      const page = await this.connection.unary('ProfileService', 'getSnapshot', request, call);
      entries.push(...page.entries.map(listed));
      // The head may move between two pages.
      id = page.snapshot.id;
      pageToken = page.nextPageToken;
      if (!pageToken) return { ...snapshot(page.snapshot), entries: withEntries ? entries : undefined };
    }
  }

  /**
   * Makes an earlier snapshot of a session its head again, together with the storage state that was saved with it. Nothing is lost: what was the head stays a snapshot.
   *
   * @param {string} sessionId
   * @param {WriteOptions & { snapshotId?: string, headSnapshotId?: string }} [options] `snapshotId`: what shall be the head again, if not given the one that the head was made
   *   from, which is undo; `headSnapshotId`: only if this is the head
   * @returns {Promise<Restored>}
   */
  async restore(sessionId, options = {}) {
    check('restore', { sessionId }, options, { snapshotId: 'text', headSnapshotId: 'text', ...WRITE });
    const { snapshot: message, revision, sessionEtag, formerHeadSnapshotId } = await this.change('restoreSnapshot', { sessionId, ...options });
    return { snapshot: snapshot(message), formerHeadSnapshotId, sessionEtag, revision: Number(revision) };
  }

  /**
   * Pins a snapshot, which then cannot be deleted.
   *
   * @param {string} sessionId
   * @param {WriteOptions & { snapshotId?: string, note?: string }} [options] `snapshotId`: the head if not given; `note`: why, for those who read it
   * @returns {Promise<Marked>}
   */
  async pin(sessionId, options = {}) {
    check('pin', { sessionId }, options, { snapshotId: 'text', note: 'text', ...WRITE });
    return this.mark('pinSnapshot', { sessionId, ...options });
  }

  /**
   * Unpins a snapshot.
   *
   * @param {string} sessionId
   * @param {WriteOptions & { snapshotId?: string }} [options] `snapshotId`: the head if not given
   * @returns {Promise<Marked>}
   */
  async unpin(sessionId, options = {}) {
    check('unpin', { sessionId }, options, { snapshotId: 'text', ...WRITE });
    return this.mark('pinSnapshot', { sessionId, unpin: true, ...options });
  }

  /**
   * Deletes a snapshot, which can be revived for 7 days; never the head or a pinned one.
   *
   * @param {string} sessionId
   * @param {string} snapshotId
   * @param {WriteOptions} [options]
   * @returns {Promise<Marked>}
   */
  async deleteSnapshot(sessionId, snapshotId, options = {}) {
    check('deleteSnapshot', { sessionId, snapshotId }, options, WRITE);
    return this.mark('deleteSnapshot', { sessionId, snapshotId, ...options });
  }

  /**
   * Revives a deleted snapshot.
   *
   * @param {string} sessionId
   * @param {string} snapshotId
   * @param {WriteOptions} [options]
   * @returns {Promise<Marked>}
   */
  async undeleteSnapshot(sessionId, snapshotId, options = {}) {
    check('undeleteSnapshot', { sessionId, snapshotId }, options, WRITE);
    return this.mark('undeleteSnapshot', { sessionId, snapshotId, ...options });
  }

  /**
   * Compares two snapshots: which entries differ, and which cookies of Chromium's, by host and name and never with their values.
   *
   * @param {string} sessionId
   * @param {ReadOptions & { baseSnapshotId?: string, snapshotId?: string, pageSize?: number }} [options] `snapshotId`: the newer one, the head if not given; `baseSnapshotId`: the
   *   older one, if not given the one that the newer was made from
   * @returns {Promise<SnapshotDiff>}
   */
  async diff(sessionId, options = {}) {
    check('diff', { sessionId }, options, { baseSnapshotId: 'text', snapshotId: 'text', pageSize: 'count', ...READ });
    const { baseSnapshotId, snapshotId, pageSize, minRevision, ...call } = options;
    const ask = (/** @type {string | undefined} */ id, /** @type {string} */ pageToken) =>
      this.connection.unary('ProfileService', 'diffSnapshots', { sessionId, baseSnapshotId, snapshotId: id, pageSize, minRevision, pageToken }, call);
    const first = await ask(snapshotId, '');
    /** @type {EntryDifference[]} */
    const differences = [];
    for (let page = first; ; page = await ask(first.snapshot.id, page.nextPageToken)) {
      for (const { kind, before, after, changedBytes } of page.differences) {
        differences.push({
          kind: short(kind, 'DIFFERENCE_KIND_'),
          before: before ? listed(before) : undefined,
          after: after ? listed(after) : undefined,
          changedBytes: Number(changedBytes),
        });
      }
      // The head may move between two pages.
      if (!page.nextPageToken) break;
    }
    return {
      snapshot: snapshot(first.snapshot),
      base: first.baseSnapshot ? snapshot(first.baseSnapshot) : undefined,
      differences,
      added: Number(first.addedCount),
      removed: Number(first.removedCount),
      changed: Number(first.changedCount),
      changedBytes: Number(first.changedBytes),
      cookies: first.cookieDatabases.map((/** @type {any} */ { cookies, comparison, ...database }) => ({
        ...database,
        comparison: short(comparison, 'COOKIE_COMPARISON_'),
        cookies: cookies.map((/** @type {any} */ { kind, ...cookie }) => ({ ...cookie, kind: short(kind, 'DIFFERENCE_KIND_') })),
      })),
      revision: Number(first.revision),
    };
  }

  /**
   * @private
   * @param {string} method
   * @param {Record<string, any>} request
   * @returns {Promise<any>}
   */
  change(method, { signal, timeoutSeconds, ...request }) {
    return this.connection.unary('ProfileService', method, { requestId: randomUUID(), ...request }, { signal, timeoutSeconds });
  }

  /**
   * @private
   * @param {string} method
   * @param {Record<string, any>} request
   * @returns {Promise<Marked>}
   */
  async mark(method, request) {
    const answer = await this.change(method, request);
    return { snapshot: snapshot(answer.snapshot), revision: Number(answer.revision) };
  }
}
