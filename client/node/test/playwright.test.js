// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';

import { chromium } from 'playwright-core';

import { capture, launch, mend, sessionCookies } from '../src/playwright.js';
import { failure } from '../support/failure.js';
import { launch as options, site } from '../support/site.js';
import { temporary } from '../support/trees.js';

/**
 * @param {import('playwright-core').BrowserContext} context
 * @param {string} url
 * @param {string} script
 * @returns {Promise<any>}
 */
async function at(context, url, script) {
  const page = await context.newPage();
  await page.goto(url);
  return page.evaluate(script);
}

test('a login survives a copy of the profile and the storage state beside it', async (t) => {
  const directory = temporary(t);
  const url = await site(t);
  const first = await launch(chromium, `${directory}/first`, options);
  await at(first, url, 'login("ann")');
  const storageState = await capture(first);
  await first.close();
  assert.deepEqual(
    sessionCookies(storageState).map(({ name }) => name),
    ['session'],
  );
  assert.deepEqual(storageState.cookies.map(({ name }) => name).sort(), ['persistent', 'session']);
  assert.equal(storageState.origins[0].indexedDB[0].name, 'login');

  fs.cpSync(`${directory}/first`, `${directory}/second`, { recursive: true, verbatimSymlinks: true });
  fs.rmSync(`${directory}/first`, { recursive: true });
  const bare = await launch(chromium, `${directory}/second`, options);
  assert.deepEqual(await at(bare, url, 'state()'), { cookies: { persistent: 'ann' }, local: 'ann', indexed: 'ann' });
  await bare.close();
  const second = await launch(chromium, `${directory}/second`, { ...options, storageState });
  assert.deepEqual(await at(second, url, 'state()'), { cookies: { persistent: 'ann', session: 'ann' }, local: 'ann', indexed: 'ann' });
  const again = await capture(second);
  assert.deepEqual(again.cookies.map(({ name, value, expires }) => [name, value, expires === -1]).sort(), [
    ['persistent', 'ann', false],
    ['session', 'ann', true],
  ]);
  await second.close();
});

test('what the profile keeps is newer than the storage state, and stays', async (t) => {
  const directory = temporary(t);
  const url = await site(t);
  const first = await launch(chromium, `${directory}/p`, options);
  await at(first, url, 'login("old")');
  const storageState = await capture(first);
  await at(first, url, 'login("new")');
  await first.close();
  const second = await launch(chromium, `${directory}/p`, { ...options, storageState });
  assert.deepEqual(await at(second, url, 'state()'), { cookies: { persistent: 'new', session: 'old' }, local: 'new', indexed: 'new' });
  await second.close();
});

test('a browser that was killed is not taken for crashed', async (t) => {
  const directory = temporary(t);
  const context = await launch(chromium, `${directory}/p`, options);
  await context.close();
  const preferences = `${directory}/p/Default/Preferences`;
  const sound = fs.readFileSync(preferences, 'utf8');
  assert.match(sound, /"exit_type":"Normal"/);
  assert.equal(mend(`${directory}/p`), false);
  const mode = fs.statSync(preferences).mode;
  fs.writeFileSync(preferences, sound.replace('"exit_type":"Normal"', '"exit_type":"Crashed"'));
  assert.equal(mend(`${directory}/p`), true);
  assert.equal(fs.readFileSync(preferences, 'utf8'), sound);
  assert.equal(fs.statSync(preferences).mode, mode);
  assert.equal(mend(`${directory}/nowhere`), false);
});

test('session cookies come from the storage state in any of its forms', () => {
  const state = {
    cookies: [
      { name: 'a', value: '1', expires: -1 },
      { name: 'b', value: '2', expires: 1_900_000_000 },
    ],
    origins: [],
  };
  for (const form of [state, JSON.stringify(state), Buffer.from(JSON.stringify(state))]) assert.deepEqual(sessionCookies(form), [state.cookies[0]]);
  assert.deepEqual(sessionCookies(undefined), []);
  for (const form of ['{', '{"origins":[]}']) assert.throws(() => sessionCookies(form), /no storage state/);
});

test('a profile that a browser has open is not opened again', async (t) => {
  const directory = temporary(t);
  const context = await launch(chromium, `${directory}/p`, options);
  const error = await failure(launch(chromium, `${directory}/p`, options));
  assert.equal(error.reason, 'PROFILE_BUSY');
  await context.close();
});

test("the caller's own password store comes before the portable one", async () => {
  /** @type {any} */
  let given;
  const context = { addCookies: async () => {}, storageState: async () => {}, close: async () => {}, browser: () => null };
  const type = {
    name: () => 'chromium',
    launchPersistentContext: async (/** @type {string} */ _, /** @type {any} */ all) => ((given = all), context),
  };
  await launch(type, '/nowhere', { args: ['--password-store=gnome-libsecret', '--x'], headless: false });
  assert.deepEqual(given, {
    headless: false,
    args: ['--use-mock-keychain', '--hide-crash-restore-bubble', '--password-store=gnome-libsecret', '--x'],
  });
  await launch({ ...type, name: () => 'firefox' }, '/nowhere');
  assert.deepEqual(given, { args: [] });
});
