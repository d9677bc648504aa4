// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/**
 * @file Playwright on profiles. A profile carries everything that the browser itself keeps: cookies with an expiry, localStorage, IndexedDB. It does not carry session
 * cookies, which Chromium deletes when it starts: they travel in the storage state beside it. Take that with `capture` before the context is closed, and give it to `launch`
 * after the profile was loaded; save after closing, because only then the browser has written everything. `openContext` and `saveContext` do all of that.
 * Playwright's objects come from the caller, so this package does not depend on it.
 */

import fs from 'node:fs';
import path from 'node:path';

import { checkBrowser, intact, strays } from './directories.js';
import { LocalError, NotFound, ProfileEmpty } from './errors.js';
import { openOn, refuseMisplaced, shut } from './opening.js';
import { LOAD, SAVE, check } from './options.js';
import { isOf, readSidecar } from './sidecar.js';

export { PORTABLE_FLAGS, capture, launch, mend, restore, sessionCookies } from './browser.js';

/** @typedef {import('./client.js').Client} Client */
/** @typedef {import('./browser.js').Context} Context */
/** @typedef {import('./browser.js').Cookie} Cookie */
/** @typedef {import('./browser.js').StorageState} StorageState */
/**
 * What of a Playwright `BrowserType` is used here.
 *
 * @template {Context} C
 * @template [O=any] the options of `launchPersistentContext`
 * @typedef {import('./browser.js').BrowserType<C, O>} BrowserType
 */

/**
 * @param {string} directory
 * @returns {string[] | undefined} the names in it; undefined if there is no directory
 */
function contents(directory) {
  return fs.lstatSync(directory, { throwIfNoEntry: false })?.isDirectory() ? fs.readdirSync(directory) : undefined;
}

/**
 * @param {string} directory
 * @param {string} sessionId
 * @returns {LocalError} for a first login, which replaces nothing
 */
function unnamed(directory, sessionId) {
  const message = `nothing was saved in ${sessionId} yet and ${directory} holds something`;
  return new LocalError(`${message}: save it if that is the login, or launch on it, or choose another directory`, { reason: 'TARGET_EXISTS' });
}

/**
 * Looks whether a directory of the session holds anything that was not saved.
 *
 * @param {Client} client
 * @param {string} sessionId
 * @param {string} directory
 * @param {AbortSignal} [signal]
 * @returns {Promise<boolean>} false if every file is as it was loaded or saved, and nothing is new that would travel as the snapshot did
 */
async function hasChanges(client, sessionId, directory, signal) {
  const base = await intact(directory, sessionId, client.namespace);
  if (!base) return true;
  // What never travels says nothing, and the daemon need not be asked for a directory without anything new.
  if (strays(base, 'full').length === 0) return false;
  const { snapshotId } = base;
  const policy = await client.snapshot(sessionId, { snapshotId, signal }).then(
    ({ portability }) => portability.capturePolicy,
    (error) => {
      if (error instanceof NotFound) return 'default';
      throw error;
    },
  );
  return strays(base, policy || 'default').length > 0;
}

/**
 * Looks whether what stands at a directory may give way to a session's profile: something of the same session that is saved, an empty directory, or nothing.
 *
 * @param {Client} client
 * @param {string} sessionId
 * @param {string} directory
 * @param {import('./messages.js').LoadOptions} load
 * @returns {Promise<{ replace: boolean, taken: boolean }>} whether the load is to replace it, and whether it was taken away
 */
async function givesWay(client, sessionId, directory, { force = false, signal }) {
  if (!fs.lstatSync(directory, { throwIfNoEntry: false })) return { replace: false, taken: false };
  const known = readSidecar(path.resolve(directory));
  const names = contents(directory);
  if (names?.length && isOf(known, sessionId, client.namespace)) {
    checkBrowser(directory, force);
    if (!(await hasChanges(client, sessionId, path.resolve(directory), signal))) return { replace: true, taken: false };
    const advice = 'save it (client.save), or say load: { replace: true } to throw it away';
    throw new LocalError(`${directory} was changed since it was loaded or saved, and that is not saved: ${advice}`, { reason: 'UNSAVED_CHANGES' });
  }
  if (names?.length !== 0) {
    if (names && !(await client.sessions.get(sessionId, { signal })).headSnapshotId) throw unnamed(directory, sessionId);
    const whose = known ? `is the profile of session ${known.sessionId}` : 'does not come from this session';
    throw new LocalError(`${directory} is there and ${whose}: choose another directory, or say load: { replace: true } to throw away what is in it`, {
      reason: 'TARGET_EXISTS',
    });
  }
  // So that what comes into it while the load runs is not replaced.
  fs.rmdirSync(directory);
  return { replace: false, taken: true };
}

/**
 * Loads a session's profile and starts a browser on it, with the session cookies of the storage state that was saved with it. If the head was saved without one, those of a
 * storage state that was put into the session by itself count. A session that nothing was saved in yet starts with a fresh profile, which gets all cookies of the storage state that was put into it, if
 * there is one; what else that holds, such as localStorage, has no way into a profile.
 *
 * @template {Context} C
 * @template O
 * @param {Client} client
 * @param {string} sessionId
 * @param {BrowserType<C, O>} browserType
 * @param {string} directory where the profile goes. What is there gives way if it has a sidecar of this session and was not changed since, or is empty; anything else only
 *   with `load: { replace: true }`
 * @param {O & { load?: import('./messages.js').LoadOptions }} [given] the options of Playwright's `launchPersistentContext`, such as `headless`, `channel`, `viewport` and `proxy`,
 *   and in `load` how to load
 * @returns {Promise<C>}
 */
export async function openContext(client, sessionId, browserType, directory, given) {
  check('openContext', { client, sessionId, browserType, directory, options: given ?? {} }, {}, {});
  if (client.closed) throw LocalError.closed();
  const { load = {}, ...options } = /** @type {Record<string, any>} */ (given ?? {});
  check('openContext', {}, { load }, { load: LOAD });
  refuseMisplaced(options, (name) => `say load: { ${name} }`);
  const { replace, taken } =
    load.replace === undefined ? await givesWay(client, sessionId, directory, load) : { replace: load.replace, taken: false };
  const loaded = await client.load(sessionId, directory, { withStorageState: true, ...load, replace }).catch((error) => {
    // Nothing came in its place.
    if (taken && !fs.lstatSync(directory, { throwIfNoEntry: false })) fs.mkdirSync(directory, { mode: 0o700 });
    if (!(error instanceof ProfileEmpty)) throw error;
    if (contents(directory)?.length) throw unnamed(directory, sessionId);
    return undefined;
  });
  const found = { snapshot: loaded?.snapshot, storageState: loaded?.storageState, isHead: !load.snapshotId, signal: load.signal };
  return openOn(client, sessionId, browserType, directory, found, /** @type {any} */ (options));
}

/**
 * Takes the storage state, closes the browser, waits until it has exited, and saves both as the session's new head. IndexedDB goes with the profile, as a difference; with
 * `indexedDB` it goes with the storage state once more, whole, for workers that use that without the profile.
 *
 * @param {Client} client
 * @param {string} sessionId
 * @param {Context} context
 * @param {string} directory its profile
 * @param {import('./messages.js').SaveOptions & { indexedDB?: boolean }} [options]
 * @returns {Promise<import('./messages.js').Saved>}
 */
export async function saveContext(client, sessionId, context, directory, { indexedDB = false, ...options } = {}) {
  // Before the browser is closed.
  check('saveContext', { client, sessionId, context, directory }, { indexedDB, ...options }, { ...SAVE, indexedDB: 'flag' });
  if (client.closed) throw LocalError.closed();
  return client.save(sessionId, directory, await shut(context, directory, { indexedDB, ...options }));
}
