// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file A browser on a profile's directory, and what of a storage state the profile does not keep. Playwright's objects come from the caller, so this package does not depend on it. */

import fs from 'node:fs';

import { LocalError } from './errors.js';
import { check } from './options.js';
import { liveBrowser } from './system.js';

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
  check('sessionCookies', { storageState }, {}, {});
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
export async function capture(context, { indexedDB = true } = {}) {
  check('capture', { context }, { indexedDB }, { indexedDB: 'flag' });
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
  check('restore', { context }, {}, {});
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
  check('launch', { browserType, directory, options: given ?? {} }, {}, {});
  const { storageState, args = [], ...options } = /** @type {Record<string, any>} */ (given ?? {});
  check('launch', {}, { storageState: storageState ?? undefined }, { storageState: 'document' });
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
export async function adding(context, cookies) {
  try {
    if (cookies.length > 0) await context.addCookies(cookies);
  } catch (error) {
    await context.close();
    throw error;
  }
}
