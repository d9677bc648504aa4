// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

import { randomUUID } from 'node:crypto';

import { enumValue } from './contract.js';
import { Invalid } from './errors.js';
import { date, duration, session } from './messages.js';
import { FIELDS, OWNER, READ, REQUEST, TOUCH, WRITE, check, checkOptions } from './options.js';

/** @typedef {import('./messages.js').Session} Session */
/** @typedef {import('./messages.js').SessionState} SessionState */
/** @typedef {import('./messages.js').TtlMode} TtlMode */
/** @typedef {import('./connection.js').CallOptions} CallOptions */
/** @typedef {CallOptions & { minRevision?: number }} ReadOptions `minRevision`: answer nothing older than this */
/** @typedef {CallOptions & { etag?: string, leaseToken?: number }} TouchOptions `etag`: only if it is still this; `leaseToken`: the lease under which this is done */
/** @typedef {TouchOptions & { requestId?: string }} WriteOptions `requestId`: makes a repetition harmless; made by the client if not given */
/**
 * A session's storage state, as it was stored.
 *
 * @typedef {object} StoredState
 * @property {{ cookies: any[], origins: any[], [more: string]: any }} storageState Playwright's document: what `browser.newContext({ storageState })` takes
 * @property {Buffer} bytes the same byte for byte, as it was put
 * @property {string} etag the storage state's own: give it back to `put` to make that conditional
 * @property {Date | undefined} updateTime when it was put or saved
 * @property {number} revision the namespace's revision that the answer reflects
 */
/** @typedef {{ businessId?: string, email?: string, labels?: Record<string, string>, ttlSeconds?: number, ttlMode?: TtlMode }} SessionFields what a caller may set */

/**
 * @param {object} given
 * @param {string} what
 */
function required(given, what) {
  if (given === undefined || given === null || (typeof given === 'object' && Object.keys(given).length === 0)) {
    throw Invalid.here(`${what} is missing`);
  }
}

/**
 * @param {SessionFields} fields
 */
function sessionFields({ ttlSeconds, ttlMode, ...rest }) {
  return {
    ...rest,
    ...(ttlSeconds !== undefined && { ttl: duration(ttlSeconds) }),
    ...(ttlMode !== undefined && { ttlMode: enumValue('TtlMode', ttlMode) }),
  };
}

/**
 * Splits what steers the call from what it says. Every change carries a request id, so that the published retries never do it twice.
 *
 * @param {WriteOptions} options
 */
function write({ signal, timeoutSeconds, ...condition }) {
  return { call: { signal, timeoutSeconds }, condition: { requestId: randomUUID(), ...condition } };
}

/** Playwright storage states of sessions. */
export class StorageStates {
  /** @param {import('./connection.js').Connection} connection */
  constructor(connection) {
    /** @private */
    this.connection = connection;
  }

  /**
   * Reads the session's storage state: what was put last, or saved last with a profile.
   *
   * @param {string} sessionId
   * @param {ReadOptions} [options]
   * @returns {Promise<StoredState>}
   */
  async get(sessionId, options = {}) {
    check('sessions.storageState.get', { sessionId }, options, READ);
    const { minRevision, ...call } = options;
    const answer = await this.connection.unary('SessionService', 'getStorageState', { sessionId, minRevision }, call);
    return {
      storageState: JSON.parse(answer.storageState.toString('utf8')),
      bytes: answer.storageState,
      etag: answer.etag,
      updateTime: date(answer.updateTime),
      revision: answer.revision,
    };
  }

  /**
   * Replaces the session's storage state. Counts as a use.
   *
   * @param {string} sessionId
   * @param {object | string | Uint8Array} storageState what Playwright's `storageState()` gives, or that as JSON
   * @param {WriteOptions} [options] `etag` is the storage state's
   * @returns {Promise<{ etag: string, revision: number }>}
   */
  async put(sessionId, storageState, options = {}) {
    check('sessions.storageState.put', { sessionId, storageState }, options, WRITE);
    const { call, condition } = write(options);
    return this.connection.unary(
      'SessionService',
      'putStorageState',
      { sessionId, storageState: storageStateBytes(storageState), ...condition },
      call,
    );
  }
}

/**
 * @param {object | string | Uint8Array} storageState
 * @returns {Buffer} its JSON
 */
export function storageStateBytes(storageState) {
  if (storageState instanceof Uint8Array) return Buffer.from(storageState);
  return Buffer.from(typeof storageState === 'string' ? storageState : JSON.stringify(storageState));
}

/** Sessions: one browser identity each. */
export class Sessions {
  /** @param {import('./connection.js').Connection} connection */
  constructor(connection) {
    /** @private */
    this.connection = connection;
    /** Playwright storage states of sessions. */
    this.storageState = new StorageStates(connection);
  }

  /**
   * @private
   * @param {string} method
   * @param {Record<string, unknown>} request
   * @param {CallOptions} call
   * @returns {Promise<Session>}
   */
  async one(method, request, call) {
    const answer = await this.connection.unary('SessionService', method, request, call);
    return session(answer.session, answer.revision);
  }

  /**
   * Creates a session in state PENDING.
   *
   * @param {SessionFields & { businessId: string, sessionId?: string }} fields `sessionId`: the wanted id; the daemon makes one if not given
   * @param {CallOptions & { requestId?: string }} [options]
   * @returns {Promise<Session>}
   */
  async create(fields, options = {}) {
    required(fields, 'what the session shall be, at least its businessId,');
    checkOptions('sessions.create', fields, { sessionId: 'text', ...FIELDS });
    check('sessions.create', {}, options, REQUEST);
    const { call, condition } = write(options);
    return this.one('createSession', { ...sessionFields(fields), ...condition }, call);
  }

  /**
   * Reads one session. Reading is not a use: it does not move the expiry.
   *
   * @param {string} sessionId
   * @param {ReadOptions} [options]
   * @returns {Promise<Session>}
   */
  async get(sessionId, options = {}) {
    check('sessions.get', { sessionId }, options, READ);
    const { minRevision, ...call } = options;
    return this.one('getSession', { sessionId, minRevision }, call);
  }

  /**
   * Reads up to 100 sessions in one consistent read.
   *
   * @param {string[]} sessionIds
   * @param {ReadOptions} [options]
   * @returns {Promise<{ sessions: Session[], missing: string[], revision: number }>} `missing`: the ids that name no live session
   */
  async batchGet(sessionIds, options = {}) {
    check('sessions.batchGet', { sessionIds }, options, READ);
    const { minRevision, ...call } = options;
    const answer = await this.connection.unary('SessionService', 'batchGetSessions', { sessionIds, minRevision }, call);
    const { sessions, missingSessionIds: missing, revision } = answer;
    return { sessions: sessions.map((/** @type {any} */ message) => session(message, revision)), missing, revision };
  }

  /**
   * Changes the given fields and leaves the others.
   *
   * @param {string} sessionId
   * @param {SessionFields} fields
   * @param {WriteOptions} [options]
   * @returns {Promise<Session>}
   */
  async update(sessionId, fields, options = {}) {
    check('sessions.update', { sessionId }, options, WRITE);
    checkOptions('sessions.update', fields ?? {}, FIELDS);
    const given = Object.entries(sessionFields(fields ?? {})).filter(([, value]) => value !== undefined);
    required(given, 'what to change: at least one of businessId, email, labels, ttlSeconds, ttlMode');
    const { call, condition } = write(options);
    const paths = given.map(([name]) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));
    return this.one('updateSession', { session: { id: sessionId, ...Object.fromEntries(given) }, updateMask: { paths }, ...condition }, call);
  }

  /**
   * Hides a session from every list and lookup; it stays revivable for 7 days. Deleting a deleted one succeeds.
   *
   * @param {string} sessionId
   * @param {WriteOptions} [options]
   * @returns {Promise<Session>}
   */
  async delete(sessionId, options = {}) {
    check('sessions.delete', { sessionId }, options, WRITE);
    const { call, condition } = write(options);
    return this.one('deleteSession', { sessionId, ...condition }, call);
  }

  /**
   * Revives a deleted or expired session in the state it had before.
   *
   * @param {string} sessionId
   * @param {WriteOptions} [options]
   * @returns {Promise<Session>}
   */
  async undelete(sessionId, options = {}) {
    check('sessions.undelete', { sessionId }, options, WRITE);
    const { call, condition } = write(options);
    return this.one('undeleteSession', { sessionId, ...condition }, call);
  }

  /**
   * Lists live sessions, oldest first, page by page as they are asked for. Whatever exists during the whole listing appears exactly once.
   *
   * @param {ReadOptions & { businessId?: string, email?: string, states?: SessionState[], labels?: Record<string, string>, pageSize?: number }} [filter]
   *   all given ones must match
   * @returns {AsyncGenerator<Session, void, void>}
   */
  async *list(filter = {}) {
    check('sessions.list', {}, filter, { ...OWNER, states: 'texts', labels: 'labels', pageSize: 'count', ...READ });
    const { minRevision, pageSize, states, signal, timeoutSeconds, ...rest } = filter;
    const request = { ...rest, minRevision, pageSize, states: states?.map((state) => enumValue('SessionState', state)) };
    for (let pageToken = ''; ;) {
      const page = await this.connection.unary('SessionService', 'listSessions', { ...request, pageToken }, { signal, timeoutSeconds });
      for (const message of page.sessions) yield session(message, page.revision);
      pageToken = page.nextPageToken;
      if (!pageToken) return;
    }
  }

  /**
   * The most recently used ACTIVE session of a business or an e-mail address.
   *
   * @param {{ businessId: string } | { email: string }} owner
   * @param {ReadOptions} [options]
   * @returns {Promise<Session>}
   */
  async active(owner, options = {}) {
    required(owner, 'whose session: { businessId } or { email }');
    checkOptions('sessions.active', owner, OWNER);
    check('sessions.active', {}, options, READ);
    const { minRevision, ...call } = options;
    return this.one('getActiveSession', { ...owner, minRevision }, call);
  }

  /**
   * Counts as a use: moves `lastUseTime` and a sliding expiry.
   *
   * @param {string} sessionId
   * @param {TouchOptions} [options]
   * @returns {Promise<{ expireTime: Date | undefined, revision: number }>}
   */
  async touch(sessionId, options = {}) {
    check('sessions.touch', { sessionId }, options, TOUCH);
    const { signal, timeoutSeconds, ...condition } = options;
    const answer = await this.connection.unary('SessionService', 'touchSession', { sessionId, ...condition }, { signal, timeoutSeconds });
    return { expireTime: date(answer.expireTime), revision: answer.revision };
  }

  /**
   * Moves a session to another state.
   *
   * @param {string} sessionId
   * @param {SessionState} to
   * @param {WriteOptions & { reason?: string }} [options] `reason`: why, for those who read it; without secrets
   * @returns {Promise<Session>}
   */
  async transition(sessionId, to, options = {}) {
    check('sessions.transition', { sessionId, to }, options, { ...WRITE, reason: 'text' });
    const { reason, ...rest } = options;
    const { call, condition } = write(rest);
    return this.one('transitionSession', { sessionId, to: enumValue('SessionState', to), reason, ...condition }, call);
  }

  /**
   * Finds the one live session whose id starts with a prefix.
   *
   * @param {string} idPrefix
   * @param {ReadOptions} [options]
   * @returns {Promise<Session>}
   */
  async resolve(idPrefix, options = {}) {
    check('sessions.resolve', { idPrefix }, options, READ);
    const { minRevision, ...call } = options;
    return this.one('resolveSession', { idPrefix, minRevision }, call);
  }
}
