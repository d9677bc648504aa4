// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file What a directory of the caller's own and a mount have in common: a browser on the profile of a session, with its cookies, and its end. */

import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

import { adding, capture, launch } from './browser.js';
import { CloakroomError, Invalid } from './errors.js';
import { LOAD } from './options.js';
import { liveBrowser, namesIn } from './system.js';

/** @typedef {import('./browser.js').Context} Context */
/** @typedef {import('./client.js').Client} Client */
/** @typedef {import('./messages.js').SaveOptions} SaveOptions */
/** @typedef {import('./messages.js').Snapshot} Snapshot */

/** For how long a browser may take to exit after its context was closed. */
const EXIT_MS = 10_000;

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
 * @param {Record<string, any>} options for Playwright, which has none of these names and would pass over them
 * @param {(name: string) => string} advice where one belongs
 */
export function refuseMisplaced(options, advice) {
  const misplaced = Object.keys(LOAD).find((name) => options[name] !== undefined);
  if (misplaced) throw Invalid.here(`openContext has no option ${misplaced}: ${advice(misplaced)}`);
  if ('storageState' in options)
    throw Invalid.here("openContext has no option storageState, for it takes the session's: use client.load and launch to give another");
}

/**
 * Starts a browser on a directory into which a session was loaded, with the session cookies that belong to it, or on an empty one, with all the cookies that there are.
 *
 * @template {Context} C
 * @template O
 * @param {Client} client
 * @param {string} sessionId
 * @param {import('./browser.js').BrowserType<C, O>} browserType
 * @param {string} directory
 * @param {{ snapshot: Snapshot | undefined, storageState: any, isHead: boolean, signal?: AbortSignal }} found what was loaded, and whether it is the head
 * @param {O} [options] for Playwright
 * @returns {Promise<C>}
 */
export async function openOn(client, sessionId, browserType, directory, { snapshot, storageState, isHead, signal }, options) {
  const isFresh = !snapshot && namesIn(directory).length === 0;
  // What was put since belongs to the head, and to no snapshot from before.
  const belongs = snapshot ? !snapshot.hasStorageState && isHead : isFresh;
  const state = belongs ? await putState(client, sessionId, signal) : storageState;
  const context = await launch(browserType, directory, /** @type {any} */ ({ ...options, storageState: isFresh ? undefined : state }));
  if (isFresh) await adding(context, state?.cookies ?? []);
  return context;
}

/**
 * Takes the storage state, closes the browser and waits until it has exited.
 *
 * @param {Context} context
 * @param {string} directory its profile
 * @param {SaveOptions & { indexedDB?: boolean }} options
 * @returns {Promise<SaveOptions>} with what is known now
 */
export async function shut(context, directory, { indexedDB = false, ...options }) {
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
  return { storageState, ...options, portability };
}
