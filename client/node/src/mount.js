// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file Mounts: a session's profile in a directory of its own on this machine, which is handed back as it is while it is still the head. */

import { LocalError, ProfileEmpty } from './errors.js';
import { SAVE, check } from './options.js';
import { openOn, refuseMisplaced, shut } from './opening.js';
import { storageStateBytes } from './sessions.js';
import { Slot, pruneSlots } from './slots.js';

/** @typedef {import('./client.js').Client} Client */
/** @typedef {import('./messages.js').Loaded} Loaded */
/** @typedef {import('./messages.js').SaveOptions} SaveOptions */
/** @typedef {import('./messages.js').Saved} Saved */
/** @typedef {import('./messages.js').Snapshot} Snapshot */

/**
 * @typedef {object} MountOptions
 * @property {string} [root] where mounts are kept; if not given, what the environment variable `CLOAKROOM_MOUNTS` says, or else `cloakroom` in the user's cache directory
 * @property {string} [snapshotId] the wanted snapshot; the head if not given
 * @property {boolean} [withStorageState] also the storage state that was saved with the snapshot; true if not given
 * @property {number} [minRevision] nothing older than this
 * @property {import('./messages.js').Progress} [progress]
 * @property {AbortSignal} [signal]
 */

/**
 * @typedef {object} PruneOptions
 * @property {number} [olderThanSeconds] for how long nobody has used what is removed; 7 days if not given
 * @property {string} [root] as for `mount`
 * @property {AbortSignal} [signal]
 */

/** @typedef {{ removed: number, bytes: number }} Pruned how many directories of mounts were removed, and the sum of their files' sizes */

/** For how long what nobody uses is kept, if the caller does not say. */
const KEPT_SECONDS = 7 * 24 * 3600;

/** A session's profile in a directory that nobody else has until it is released. Released without a save, it leaves the session's head alone. */
export class Mount {
  #client;
  #sessionId;
  #slot;
  /** Whether what is in the directory came from the head. */
  #isHead;
  /** @type {Set<Promise<unknown>>} */
  #running = new Set();
  /** @type {Promise<void> | undefined} */
  #released;

  /**
   * @internal `client.mount` makes it
   * @param {Client} client
   * @param {string} sessionId
   * @param {Slot} slot
   * @param {Loaded | undefined} loaded undefined if nothing was saved in the session yet
   * @param {boolean} isHead
   */
  constructor(client, sessionId, slot, loaded, isHead) {
    this.#client = client;
    this.#sessionId = sessionId;
    this.#slot = slot;
    this.#isHead = isHead;
    /** Where the profile is. */
    this.directory = slot.profile;
    /** The snapshot that was loaded, or saved last; undefined if nothing was saved in the session yet. */
    this.snapshot = loaded?.snapshot;
    /**
     * The storage state that was saved with the snapshot.
     *
     * @type {any}
     */
    this.storageState = loaded?.storageState;
    /** The same byte for byte. */
    this.storageStateBytes = loaded?.storageStateBytes;
  }

  /**
   * Saves the directory as the session's new head; the next save goes on from there. Only what differs travels.
   *
   * @param {SaveOptions} [options]
   * @returns {Promise<Saved>}
   */
  save(options = {}) {
    return this.#use('save', () => this.#save(options));
  }

  /**
   * Starts a browser on the directory, with the session cookies of the storage state that was saved with it, as `openContext` of `cloakroom-client/playwright` does.
   *
   * @template {import('./browser.js').Context} C
   * @template O
   * @param {import('./browser.js').BrowserType<C, O>} browserType such as `chromium`
   * @param {O} [options] those of Playwright's `launchPersistentContext`
   * @returns {Promise<C>}
   */
  openContext(browserType, options) {
    const { snapshot, storageState } = this;
    const found = { snapshot, storageState, isHead: this.#isHead };
    return this.#use('openContext', async () => {
      check('openContext', { browserType, options: options ?? {} }, {}, {});
      refuseMisplaced(options ?? {}, () => 'it is for client.mount');
      return openOn(this.#client, this.#sessionId, browserType, this.directory, found, options);
    });
  }

  /**
   * Takes the storage state, closes the browser, waits until it has exited, and saves both, as `saveContext` of `cloakroom-client/playwright` does.
   *
   * @param {import('./browser.js').Context} context
   * @param {SaveOptions & { indexedDB?: boolean }} [options]
   * @returns {Promise<Saved>}
   */
  saveContext(context, { indexedDB = false, ...options } = {}) {
    return this.#use('saveContext', async () => {
      check('saveContext', { context }, { indexedDB, ...options }, { ...SAVE, indexedDB: 'flag' });
      if (this.#client.closed) throw LocalError.closed();
      return this.#save(await shut(context, this.directory, { indexedDB, ...options }));
    });
  }

  /**
   * @param {SaveOptions} options
   * @returns {Promise<Saved>}
   */
  async #save(options) {
    const saved = await this.#client.save(this.#sessionId, this.directory, options);
    const { storageState: given } = options;
    this.#isHead = true;
    this.snapshot = saved.snapshot;
    this.storageStateBytes = given === undefined ? undefined : storageStateBytes(given);
    this.storageState = this.storageStateBytes && JSON.parse(this.storageStateBytes.toString('utf8'));
    return saved;
  }

  /** Lets the directory go without a save: the head stays as it is, and the next mount gives that. */
  discard() {
    return this.release();
  }

  /**
   * Lets the directory go to others. What was not saved is not in the next mount. A browser has to be closed before. Released once more, nothing happens.
   *
   * @returns {Promise<void>}
   */
  release() {
    return (this.#released ??= this.#end());
  }

  /** The same as `release`, for `await using`. */
  [Symbol.asyncDispose]() {
    return this.release();
  }

  /**
   * @template T
   * @param {string} verb
   * @param {() => Promise<T>} work that needs the directory: it is not given away before the end
   * @returns {Promise<T>}
   */
  async #use(verb, work) {
    if (this.#released) {
      const message = `${verb}: the mount of session ${this.#sessionId} was released, and its directory may be another one's by now: mount the session again`;
      throw new LocalError(message, { reason: 'MOUNT_RELEASED' });
    }
    const running = work();
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  async #end() {
    await Promise.allSettled(this.#running);
    this.#slot.release();
  }
}

/**
 * @param {Client} client
 * @param {string} sessionId
 * @param {MountOptions} options
 * @returns {Promise<Mount>}
 */
export async function mount(client, sessionId, { root, withStorageState = true, ...options }) {
  const slot = Slot.take(root, client.namespace, sessionId);
  try {
    slot.tidy();
    const loaded = await client.load(sessionId, slot.profile, { ...options, withStorageState, replace: true }).catch((error) => {
      if (!(error instanceof ProfileEmpty)) throw error;
      return undefined;
    });
    // A first login: also what one before it left without a save is gone.
    if (!loaded) slot.clear();
    return new Mount(client, sessionId, slot, loaded, !options.snapshotId);
  } catch (error) {
    slot.release();
    throw error;
  }
}

/**
 * @param {PruneOptions} options
 * @returns {Promise<Pruned>}
 */
export function pruneMounts({ olderThanSeconds = KEPT_SECONDS, root, signal }) {
  return pruneSlots(root, olderThanSeconds, signal);
}
