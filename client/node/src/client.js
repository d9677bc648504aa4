// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

import { randomUUID } from 'node:crypto';

import { Connection } from './connection.js';
import { History } from './history.js';
import { date, short } from './messages.js';
import { mount, pruneMounts } from './mount.js';
import { CALL, CLIENT, LOAD, MOUNT, PRUNE, REQUEST, SAVE, TLS, WATCH, check, checkOptions } from './options.js';
import { load, save } from './profiles.js';
import { Sessions } from './sessions.js';
import { saveStatus } from './transfers.js';
import { Watch } from './watch.js';

/** @typedef {import('./messages.js').Snapshot} Snapshot */
/** @typedef {import('./sessions.js').ReadOptions} ReadOptions */
/** @typedef {import('./connection.js').CallOptions} CallOptions */

/**
 * One of the daemon's stores.
 *
 * @typedef {object} StoreInfo
 * @property {string} engine what it is: `sqlite`, `redis`, `local`, `s3`, …
 * @property {string} location where it is, without credentials
 * @property {string} health `OK` or `UNAVAILABLE`
 * @property {string[]} warnings what an operator should know or do about it
 */

/**
 * @typedef {object} ServerInfo
 * @property {string} version the daemon's version
 * @property {string} instanceId a name of its process that no other has
 * @property {Date | undefined} startTime when it started
 * @property {string} namespace the namespace that the caller's empty one means
 * @property {StoreInfo} metadata the store of sessions, indices and events
 * @property {StoreInfo} blobs the store of profiles
 * @property {string} history names the unbroken run of revisions; empty while the metadata store is unavailable
 * @property {number} revision the namespace's revision
 * @property {string} exclusivity what this deployment really gives: `EXCLUSIVE` or `FENCED_WRITES_ONLY`
 * @property {string[]} capabilities what a client may count on
 * @property {{ messageBytes: number, storageStateBytes: number, profileEntries: number, profileBytes: number, pageSize: number }} limits
 */

/** A client of one cloakroomd, or of several replicas behind one address. */
export class Client extends History {
  /**
   * @param {string} [target] such as `127.0.0.1:7700`, `https://cloakroom.example:7700` or `dns:///cloakroom.example:7700`; if not given that of the environment variable
   *   `CLOAKROOM_TARGET`, or else `127.0.0.1:7700`
   * @param {import('./connection.js').ClientOptions} [options]
   */
  constructor(target = process.env.CLOAKROOM_TARGET || '127.0.0.1:7700', options = {}) {
    checkOptions('new Client', options, CLIENT);
    if (typeof options.tls === 'object') checkOptions('new Client', options.tls, TLS, 'tls.');
    super(new Connection(target, options));
    /** Sessions: one browser identity each. */
    this.sessions = new Sessions(this.connection);
  }

  /** The namespace that this client asks for; empty for the caller's own. */
  get namespace() {
    return this.connection.namespace;
  }

  /** Whether the client was closed: then whatever is asked of it is refused. */
  get closed() {
    return this.connection.closed;
  }

  /**
   * Loads a session's profile into a directory. The directory appears at the end, complete and verified, or not at all.
   *
   * @param {string} sessionId
   * @param {string} directory must not exist, unless `replace` is said
   * @param {import('./messages.js').LoadOptions} [options]
   * @returns {Promise<import('./messages.js').Loaded>}
   */
  async load(sessionId, directory, options = {}) {
    check('load', { sessionId, directory }, options, LOAD);
    this.connection.refuseClosed();
    return load(this.connection, sessionId, directory, options);
  }

  /**
   * Saves a directory as the session's new head. Only what differs from the snapshot that it was loaded from, or saved as last, travels.
   *
   * @param {string} sessionId
   * @param {string} directory a profile whose browser has exited
   * @param {import('./messages.js').SaveOptions} [options]
   * @returns {Promise<import('./messages.js').Saved>}
   */
  async save(sessionId, directory, options = {}) {
    check('save', { sessionId, directory }, options, SAVE);
    this.connection.refuseClosed();
    return save(this.connection, sessionId, directory, options);
  }

  /**
   * Gives a session's profile in a directory of this machine that nobody else has until it is released. Where that is still the head, nothing travels; else only what differs. A session in which
   * nothing was saved yet gets an empty one.
   *
   * @param {string} sessionId
   * @param {import('./mount.js').MountOptions} [options]
   * @returns {Promise<import('./mount.js').Mount>}
   */
  async mount(sessionId, options = {}) {
    check('mount', { sessionId }, options, MOUNT);
    this.connection.refuseClosed();
    return mount(this, sessionId, options);
  }

  /**
   * Removes the directories of mounts, of all sessions, that nobody has and nobody has used for a while.
   *
   * @param {import('./mount.js').PruneOptions} [options]
   * @returns {Promise<import('./mount.js').Pruned>}
   */
  async pruneMounts(options = {}) {
    check('pruneMounts', {}, options, PRUNE);
    return pruneMounts(options);
  }

  /**
   * Says what became of a save.
   *
   * @param {string} sessionId
   * @param {string} uploadId
   * @param {CallOptions} [options]
   * @returns {Promise<{ state: 'UNKNOWN' | 'COMMITTED', snapshot: Snapshot | undefined, revision: number }>}
   */
  async saveStatus(sessionId, uploadId, options = {}) {
    check('saveStatus', { sessionId, uploadId }, options, CALL);
    return saveStatus(this.connection, sessionId, uploadId, options);
  }

  /**
   * Hears of every change that others make, without gaps and without repetition: `for await (const event of client.watch())`.
   *
   * @param {import('./watch.js').WatchOptions} [options]
   * @returns {Watch}
   */
  watch(options = {}) {
    check('watch', {}, options, WATCH);
    this.connection.refuseClosed();
    return new Watch(this.connection, options);
  }

  /**
   * Tells every watcher to forget what it knows of some sessions, without changing them.
   *
   * @param {{ sessionId?: string, businessId?: string, email?: string }[]} selectors which sessions, 1 to 64
   * @param {CallOptions & { reason?: string, validateOnly?: boolean, requestId?: string }} [options] `validateOnly`: only count them
   * @returns {Promise<{ sessionCount: number, revision: number }>}
   */
  async invalidate(selectors, options = {}) {
    check('invalidate', { selectors }, options, { ...REQUEST, reason: 'text', validateOnly: 'flag' });
    const { signal, timeoutSeconds, ...rest } = options;
    const request = { selectors, requestId: randomUUID(), ...rest };
    return this.connection.unary('InvalidationService', 'invalidate', request, { signal, timeoutSeconds });
  }

  /**
   * Says what the daemon is, what it stands on and what it can do.
   *
   * @param {CallOptions} [options]
   * @returns {Promise<ServerInfo>}
   */
  async serverInfo(options = {}) {
    check('serverInfo', {}, options, CALL);
    const answer = await this.connection.unary('AdminService', 'getServerInfo', {}, options);
    const store = (/** @type {any} */ info) => ({
      engine: '',
      location: '',
      warnings: [],
      ...info,
      health: short(info?.health ?? 'STORE_HEALTH_UNSPECIFIED', 'STORE_HEALTH_'),
    });
    return {
      ...answer,
      startTime: date(answer.startTime),
      metadata: store(answer.metadata),
      blobs: store(answer.blobs),
      exclusivity: short(answer.exclusivity, 'EXCLUSIVITY_'),
    };
  }

  /** Closes the connection. Calls and watches that still run are ended. */
  close() {
    this.connection.close();
  }

  /** The same as `close`, for `using`. */
  [Symbol.dispose]() {
    this.close();
  }
}
