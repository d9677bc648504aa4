// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/**
 * @file Playwright on profiles. A profile carries everything that the browser itself keeps: cookies with an expiry, localStorage, IndexedDB. It does not carry session
 * cookies, which Chromium deletes when it starts: they travel in the storage state beside it. Take that with `capture` before the context is closed, and give it to `launch`
 * after the profile was loaded; save after closing, because only then the browser has written everything. `openContext` and `saveContext` do all of that.
 * Playwright's objects come from the caller, so this package does not depend on it.
 */

import fs from 'node:fs';
import path from 'node:path';

import { LocalError, ProfileEmpty } from './errors.js';
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
 * Looks whether what stands at a directory may give way to a session's profile: something of the same session, an empty directory, or nothing.
 *
 * @param {string} directory
 * @param {string} sessionId
 * @param {string} namespace
 * @returns {{ replace: boolean, taken: boolean }} whether the load is to replace it, and whether it was taken away
 */
function givesWay(directory, sessionId, namespace) {
  if (!fs.lstatSync(directory, { throwIfNoEntry: false })) return { replace: false, taken: false };
  const known = readSidecar(path.resolve(directory));
  if (contents(directory) && isOf(known, sessionId, namespace)) return { replace: true, taken: false };
  if (contents(directory)?.length !== 0) {
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
 * @param {string} directory where the profile goes. What is there gives way if it has a sidecar of this session, or is empty; anything else only with `load: { replace: true }`
 * @param {O & { load?: import('./messages.js').LoadOptions }} [given] the options of Playwright's `launchPersistentContext`, such as `headless`, `channel`, `viewport` and `proxy`,
 *   and in `load` how to load
 * @returns {Promise<C>}
 */
export async function openContext(client, sessionId, browserType, directory, given) {
  const { load = {}, ...options } = /** @type {Record<string, any>} */ (given ?? {});
  check('openContext', { sessionId, directory }, { load }, { load: LOAD });
  refuseMisplaced(options, (name) => `say load: { ${name} }`);
  const { namespace } = client;
  const { replace, taken } = load.replace === undefined ? givesWay(directory, sessionId, namespace) : { replace: load.replace, taken: false };
  const loaded = await client.load(sessionId, directory, { withStorageState: true, ...load, replace }).catch((error) => {
    // Nothing came in its place.
    if (taken && !fs.lstatSync(directory, { throwIfNoEntry: false })) fs.mkdirSync(directory, { mode: 0o700 });
    if (!(error instanceof ProfileEmpty)) throw error;
    if (!contents(directory)?.length) return undefined;
    throw new LocalError(`nothing was saved in this session yet, and ${directory} is not empty: a fresh profile needs a fresh directory`, {
      reason: 'TARGET_EXISTS',
    });
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
  check('saveContext', { sessionId, directory }, { indexedDB, ...options }, { ...SAVE, indexedDB: 'flag' });
  return client.save(sessionId, directory, await shut(context, directory, { indexedDB, ...options }));
}
