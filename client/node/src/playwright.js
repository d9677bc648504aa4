// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/**
 * @file Playwright on profiles. A profile carries everything that the browser itself keeps: cookies with an expiry, localStorage, IndexedDB. It does not carry session
 * cookies, which Chromium deletes when it starts: they travel in the storage state beside it. Take that with `capture` before the context is closed, and give it to `launch`
 * after the profile was loaded; save after closing, because only then the browser has written everything. `openContext` and `saveContext` do all of that.
 * Playwright's objects come from the caller, so this package does not depend on it.
 */

import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { CloakroomError, Invalid, LocalError, ProfileEmpty } from './errors.js';
import { LOAD, SAVE, check } from './options.js';
import { isOf, readSidecar } from './sidecar.js';
import { liveBrowser } from './system.js';

/** @typedef {import('./client.js').Client} Client */
/** @typedef {{ name: string, value: string, domain?: string, path?: string, expires: number, [more: string]: any }} Cookie as Playwright writes it */
/** @typedef {{ cookies: Cookie[], origins: any[] }} StorageState as Playwright's `storageState()` gives it */

/**
 * What of a Playwright `BrowserContext` is used here.
 *
 * @typedef {object} Context
 * @property {(cookies: any[]) => Promise<void>} addCookies
 * @property {(options?: any) => Promise<any>} storageState
 * @property {() => Promise<void>} close
 * @property {() => { version(): string } | null} browser
 */

/**
 * What of a Playwright `BrowserType` is used here.
 *
 * @template {Context} C
 * @template [O=any] the options of `launchPersistentContext`
 * @typedef {{ name(): string, launchPersistentContext(directory: string, options?: O): Promise<C> }} BrowserType
 */

/**
 * Chromium seals its cookies with a key. With these flags it is one that every machine has, instead of one from a keyring, which does not travel. Every launch on a profile
 * needs them: cookies that were sealed with one key cannot be read with the other.
 */
export const PORTABLE_FLAGS = Object.freeze(['--password-store=basic', '--use-mock-keychain', '--hide-crash-restore-bubble']);

/** For how long a browser may take to exit after its context was closed. */
const EXIT_MS = 10_000;

/**
 * Makes a Chromium profile say that its browser ended well, so that the next one asks and restores nothing. One that was saved while its browser ran, or
 * after it was killed, says otherwise.
 *
 * @param {string} directory a profile that no browser has open
 * @returns {boolean} whether something had to be changed
 */
export function mend(directory) {
  let mended = false;
  const profiles = fs.existsSync(directory) ? fs.readdirSync(directory) : [];
  for (const preferences of profiles.map((name) => `${directory}/${name}/Preferences`).filter((path) => fs.existsSync(path))) {
    const text = fs.readFileSync(preferences, 'utf8');
    // Only these values change, so that everything else, numbers too large for JavaScript included, stays as the browser wrote it.
    const sound = text.replace(/("exit_type"\s*:\s*)"(?!Normal")[^"]*"/, '$1"Normal"').replace(/("exited_cleanly"\s*:\s*)false/, '$1true');
    if (sound === text) continue;
    const aside = `${preferences}.${process.pid}.tmp`;
    fs.writeFileSync(aside, sound, { mode: fs.statSync(preferences).mode });
    fs.renameSync(aside, preferences);
    mended = true;
  }
  return mended;
}

/**
 * @param {StorageState | string | Uint8Array | undefined} storageState as Playwright gives it, or that as JSON
 * @returns {Cookie[]} the cookies that a profile does not keep
 */
export function sessionCookies(storageState) {
  if (!storageState) return [];
  const isJson = typeof storageState === 'string' || storageState instanceof Uint8Array;
  try {
    /** @type {StorageState} */
    const { cookies } = isJson ? JSON.parse(Buffer.from(storageState).toString('utf8')) : storageState;
    return cookies.filter(({ expires = -1 }) => expires === -1);
  } catch {
    throw new LocalError("this is no storage state of Playwright's: it has no list of cookies", { reason: 'STATE_UNUSABLE' });
  }
}

/**
 * Reads a context's storage state as it is saved: all its cookies, localStorage, and IndexedDB. Do it before the context is closed.
 *
 * @param {Context} context
 * @param {{ indexedDB?: boolean }} [options] `indexedDB`: false where a profile carries it already
 * @returns {Promise<StorageState>}
 */
export function capture(context, { indexedDB = true } = {}) {
  return context.storageState({ indexedDB });
}

/**
 * Adds the session cookies of a storage state to a context on a profile, which has everything else already.
 *
 * @param {Context} context
 * @param {StorageState | string | Uint8Array | undefined} storageState
 * @returns {Promise<void>}
 */
export async function restore(context, storageState) {
  const cookies = sessionCookies(storageState);
  if (cookies.length > 0) await context.addCookies(cookies);
}

/**
 * Opens a persistent context on a profile, with the session cookies of a storage state.
 *
 * @template {Context} C
 * @template O
 * @param {BrowserType<C, O>} browserType such as `chromium`
 * @param {string} directory the profile
 * @param {O & { args?: string[], storageState?: StorageState | string | Uint8Array }} [given] the options of Playwright's `launchPersistentContext`, and the storage state that
 *   was saved with the profile
 * @returns {Promise<C>}
 */
export async function launch(browserType, directory, given) {
  const { storageState, args = [], ...options } = /** @type {Record<string, any>} */ (given ?? {});
  const pid = liveBrowser(directory);
  if (pid) {
    throw new LocalError(`the browser with process id ${pid} has ${directory} open: close it first`, {
      reason: 'PROFILE_BUSY',
      metadata: { pid: String(pid) },
    });
  }
  const wanted = sessionCookies(storageState);
  mend(directory);
  const said = new Set(args.map((/** @type {string} */ arg) => arg.split('=')[0]));
  const ours = browserType.name() === 'chromium' ? PORTABLE_FLAGS.filter((flag) => !said.has(flag.split('=')[0])) : [];
  const context = await browserType.launchPersistentContext(directory, /** @type {any} */ ({ ...options, args: [...ours, ...args] }));
  await adding(context, wanted);
  return context;
}

/**
 * @param {Context} context closed if this fails
 * @param {Cookie[]} cookies
 */
async function adding(context, cookies) {
  try {
    if (cookies.length > 0) await context.addCookies(cookies);
  } catch (error) {
    await context.close();
    throw error;
  }
}

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
 * Finds the storage state that was put into a session by itself. One that came with a save or a restore belongs to that snapshot's profile: for a later one its cookies are
 * too old.
 *
 * @param {Client} client
 * @param {string} sessionId
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>} undefined if there is none
 */
async function putState(client, sessionId, signal) {
  const { storageStateRevision, storageStateSaved } = await client.sessions.get(sessionId, { signal });
  if (storageStateRevision === 0 || storageStateSaved) return undefined;
  try {
    return (await client.sessions.storageState.get(sessionId, { signal })).storageState;
  } catch (error) {
    // A save or a restore has taken its place a moment ago: what is put is never too large for this call.
    if (error instanceof CloakroomError && ['STORAGE_STATE_NOT_FOUND', 'STORAGE_STATE_TOO_LARGE'].includes(error.reason)) return undefined;
    throw error;
  }
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
  // Playwright has no options of these names, and would pass over them.
  const misplaced = Object.keys(LOAD).find((name) => options[name] !== undefined);
  if (misplaced) throw Invalid.here(`openContext has no option ${misplaced}: say load: { ${misplaced} }`);
  if ('storageState' in options)
    throw Invalid.here("openContext has no option storageState, for it takes the session's: use client.load and launch to give another");
  const { namespace } = client;
  const { replace, taken } = load.replace === undefined ? givesWay(directory, sessionId, namespace) : { replace: load.replace, taken: false };
  let storageState;
  let isFresh = false;
  try {
    const loaded = await client.load(sessionId, directory, { withStorageState: true, ...load, replace });
    storageState = loaded.storageState;
    // What was put since belongs to the head, and to no snapshot from before.
    if (!loaded.snapshot.hasStorageState && !load.snapshotId) storageState = await putState(client, sessionId, load.signal);
  } catch (error) {
    // Nothing came in its place.
    if (taken && !fs.lstatSync(directory, { throwIfNoEntry: false })) fs.mkdirSync(directory, { mode: 0o700 });
    if (!(error instanceof ProfileEmpty)) throw error;
    if (contents(directory)?.length) {
      throw new LocalError(`nothing was saved in this session yet, and ${directory} is not empty: a fresh profile needs a fresh directory`, {
        reason: 'TARGET_EXISTS',
      });
    }
    storageState = await putState(client, sessionId, load.signal);
    isFresh = true;
  }
  const context = await launch(browserType, directory, /** @type {any} */ ({ ...options, storageState: isFresh ? undefined : storageState }));
  if (isFresh) await adding(context, storageState?.cookies ?? []);
  return context;
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
  const storageState = await capture(context, { indexedDB });
  const browserVersion = context.browser()?.version();
  await context.close();
  for (const end = Date.now() + EXIT_MS; liveBrowser(directory) && Date.now() < end;) await sleep(20);
  const chromium = fs.existsSync(`${directory}/Local State`);
  const portability = {
    ...(browserVersion && { browserVersion }),
    ...(chromium && { brand: 'chromium', passwordStore: 'basic' }),
    ...options.portability,
  };
  return client.save(sessionId, directory, { storageState, ...options, portability });
}
