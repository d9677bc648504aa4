// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/**
 * @file Playwright on profiles. A profile keeps persistent cookies, localStorage and IndexedDB; Chromium drops session cookies from it, so these travel in the
 * storage state beside it. Nothing here depends on Playwright: its objects come from the caller.
 */

import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import { LocalError, ProfileEmpty } from './errors.js';
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
 * @typedef {{ name(): string, launchPersistentContext(directory: string, options?: any): Promise<C> }} BrowserType
 */

/** Flags that keep a Chromium profile readable on other machines of the same operating system: its cookie key does not go into this machine's keyring. */
export const portableArgs = Object.freeze(['--password-store=basic', '--use-mock-keychain']);

/** For how long a browser may take to exit after its context was closed. */
const EXIT_MS = 10_000;

/**
 * Says in the profile that the browser has exited, so that Chromium does not greet the next page with an offer to restore the last ones. A profile that was saved while
 * its browser ran, or after it was killed, says otherwise.
 *
 * @param {string} directory a profile that no browser has open
 * @returns {boolean} whether something had to be changed
 */
export function markExited(directory) {
  const preferences = `${directory}/Default/Preferences`;
  let text;
  try {
    text = fs.readFileSync(preferences, 'utf8');
  } catch {
    return false;
  }
  // Only these values change, so that everything else, numbers too large for JavaScript included, stays as the browser wrote it.
  const marked = text.replace(/("exit_type"\s*:\s*)"(?!Normal")[^"]*"/, '$1"Normal"').replace(/("exited_cleanly"\s*:\s*)false/, '$1true');
  if (marked === text) return false;
  const aside = `${preferences}.${process.pid}.tmp`;
  fs.writeFileSync(aside, marked, { mode: fs.statSync(preferences).mode });
  fs.renameSync(aside, preferences);
  return true;
}

/**
 * @param {StorageState | undefined} storageState
 * @returns {Cookie[]} the cookies that the browser keeps only while it runs
 */
export function sessionCookies(storageState) {
  return (storageState?.cookies ?? []).filter(({ expires }) => expires === -1 || expires === undefined);
}

/**
 * Reads a context's storage state: all its cookies, localStorage, and IndexedDB.
 *
 * @template {Context} C
 * @param {C} context
 * @returns {Promise<StorageState>}
 */
export function captureStorageState(context) {
  return context.storageState({ indexedDB: true });
}

/**
 * Puts back into a context on a loaded profile what the profile does not keep.
 *
 * @param {Context} context
 * @param {StorageState | undefined} storageState
 * @returns {Promise<number>} how many cookies that were
 */
export async function restoreSessionCookies(context, storageState) {
  const cookies = sessionCookies(storageState);
  if (cookies.length > 0) await context.addCookies(cookies);
  return cookies.length;
}

/**
 * Starts a browser on a loaded profile.
 *
 * @template {Context} C
 * @param {BrowserType<C>} browserType such as `chromium`
 * @param {string} directory the profile
 * @param {Record<string, any> & { args?: string[], storageState?: StorageState }} [options] Playwright's own, and the storage state that was saved with the profile
 * @returns {Promise<C>}
 */
export async function launchPersistentContext(browserType, directory, { storageState, args = [], ...options } = {}) {
  const pid = liveBrowser(directory);
  if (pid) {
    throw new LocalError(`the browser with process id ${pid} has ${directory} open: close it first`, {
      reason: 'PROFILE_BUSY',
      metadata: { pid: String(pid) },
    });
  }
  markExited(directory);
  const portable =
    browserType.name() === 'chromium' ? portableArgs.filter((flag) => !args.some((arg) => arg.split('=')[0] === flag.split('=')[0])) : [];
  const context = await browserType.launchPersistentContext(directory, { ...options, args: [...portable, ...args] });
  try {
    await restoreSessionCookies(context, storageState);
  } catch (error) {
    await context.close();
    throw error;
  }
  return context;
}

/**
 * Loads a session's profile and starts a browser on it, with its session cookies. A session that nothing was saved in yet starts with a fresh profile.
 *
 * @template {Context} C
 * @param {Client} client
 * @param {string} sessionId
 * @param {BrowserType<C>} browserType
 * @param {string} directory where the profile goes; what is there is replaced
 * @param {Record<string, any> & { load?: import('./transfers.js').LoadOptions }} [options] Playwright's own, and how to load
 * @returns {Promise<C>}
 */
export async function openContext(client, sessionId, browserType, directory, { load, ...options } = {}) {
  let storageState;
  try {
    ({ storageState } = await client.load(sessionId, directory, { replace: true, withStorageState: true, ...load }));
  } catch (error) {
    if (!(error instanceof ProfileEmpty)) throw error;
    if (fs.existsSync(directory) && fs.readdirSync(directory).length > 0) {
      throw new LocalError(`nothing was saved in this session yet, and ${directory} is not empty: a fresh profile needs a fresh directory`, {
        reason: 'TARGET_EXISTS',
      });
    }
  }
  return launchPersistentContext(browserType, directory, { ...options, storageState });
}

/**
 * Takes the storage state, closes the browser, waits until it has exited, and saves both as the session's new head.
 *
 * @param {Client} client
 * @param {string} sessionId
 * @param {Context} context
 * @param {string} directory its profile
 * @param {import('./transfers.js').SaveOptions} [options]
 * @returns {Promise<import('./transfers.js').Saved>}
 */
export async function saveContext(client, sessionId, context, directory, options = {}) {
  const storageState = await captureStorageState(context);
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
