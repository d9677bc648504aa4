// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import { test } from 'node:test';

import { chromium } from 'playwright-core';

import { Invalid, LocalError, ParentNotHead } from '../src/index.js';
import { capture, launch, mend, openContext, saveContext, sessionCookies } from '../src/playwright.js';
import { served } from '../support/daemon.js';
import { failure } from '../support/failure.js';
import { launch as options, site } from '../support/site.js';
import { picture, temporary, write } from '../support/trees.js';

const { client } = await served();

/** A browser that only notes the cookies that it is given. */
function pretender() {
  /** @type {string[]} */
  const cookies = [];
  const context = {
    addCookies: async (/** @type {any[]} */ added) => void cookies.push(...added.map(({ name, value }) => `${name}=${value}`)),
    storageState: async () => ({ cookies: [], origins: [] }),
    close: async () => {},
    browser: () => null,
  };
  return { cookies, name: () => 'firefox', launchPersistentContext: async () => context };
}

/**
 * @param {string} value
 * @returns {import('../src/playwright.js').StorageState} with one cookie that a profile keeps, and one that it does not
 */
function stateOf(value) {
  const common = { value, domain: 'a.example', path: '/', httpOnly: true, secure: false, sameSite: 'Lax' };
  const cookies = [
    { name: 'session', expires: -1, ...common },
    { name: 'persistent', expires: 1_900_000_000, ...common },
  ];
  return { cookies, origins: [] };
}

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

test('what stands where a context is opened gives way only if it is of the same session, empty or absent', async (t) => {
  const home = temporary(t);
  const { id } = await client.sessions.create({ businessId: 'b' });
  const { id: other } = await client.sessions.create({ businessId: 'b' });
  for (const [session, name] of [
    [id, 'mine'],
    [other, 'other'],
  ]) {
    fs.mkdirSync(`${home}/${name}`);
    fs.writeFileSync(`${home}/${name}/prefs.js`, name);
    await client.save(session, `${home}/${name}`);
  }
  fs.mkdirSync(`${home}/notes`);
  fs.writeFileSync(`${home}/notes/thesis`, 'years of work');
  fs.writeFileSync(`${home}/file`, 'x');
  fs.symlinkSync('mine', `${home}/link`);
  const names = () => fs.readdirSync(home).sort();
  const before = names();
  for (const [name, says] of [
    ['other', `is the profile of session ${other}`],
    ['notes', 'does not come from this session'],
    ['file', 'does not come from this session'],
    ['link', 'does not come from this session'],
  ]) {
    const error = await failure(openContext(client, id, pretender(), `${home}/${name}`));
    assert.ok(error instanceof LocalError && error.reason === 'TARGET_EXISTS', `${error}`);
    assert.ok(error.message.includes(`${home}/${name} is there and ${says}`) && error.message.includes('load: { replace: true }'), error.message);
  }
  assert.deepEqual(names(), before);
  assert.equal(fs.readFileSync(`${home}/notes/thesis`, 'utf8'), 'years of work');

  fs.mkdirSync(`${home}/empty`);
  for (const name of ['mine', 'empty', 'absent']) {
    await openContext(client, id, pretender(), `${home}/${name}`);
    assert.deepEqual(fs.readdirSync(`${home}/${name}`), ['prefs.js'], name);
  }
  await openContext(client, id, pretender(), `${home}/notes`, { load: { replace: true } });
  assert.deepEqual(fs.readdirSync(`${home}/notes`), ['prefs.js']);
  const strict = await failure(openContext(client, id, pretender(), `${home}/mine`, { load: { replace: false } }));
  assert.equal(strict.reason, 'TARGET_EXISTS', 'what is said counts');

  fs.mkdirSync(`${home}/hole`);
  const progress = () => {
    fs.mkdirSync(`${home}/hole`, { recursive: true });
    fs.writeFileSync(`${home}/hole/since`, 'x');
  };
  const late = await failure(openContext(client, id, pretender(), `${home}/hole`, { load: { progress } }));
  assert.equal(late.reason, 'TARGET_EXISTS', 'it was empty, and is no longer');
  assert.deepEqual(fs.readdirSync(`${home}/hole`), ['since']);
});

/**
 * A session with a profile of Chromium's in a directory, as it was saved.
 *
 * @param {import('node:test').TestContext} t
 * @param {import('../src/index.js').SaveOptions} [how]
 */
async function login(t, how) {
  const home = temporary(t);
  const { id } = await client.sessions.create({ businessId: 'b' });
  const directory = write(`${home}/p`, {
    'Local State': '{}',
    'Default/Cookies': 'login',
    'Default/History': 'pages',
    'Default/GCM Store/f': 'lean',
    'Default/Cache/f': 'cached',
  });
  const { snapshot } = await client.save(id, directory, how);
  /** Opens a context on it. */
  const open = (/** @type {any} */ given = undefined) => openContext(client, id, pretender(), directory, given);
  /** That this is refused, and touches nothing. */
  const isKept = async () => {
    const before = [picture(directory), fs.readFileSync(`${directory}.cloakroom.json`, 'utf8')];
    const error = await failure(open());
    assert.ok(error instanceof LocalError && error.reason === 'UNSAVED_CHANGES', error.stack);
    const advice = 'save it (client.save), or say load: { replace: true } to throw it away';
    assert.equal(error.message, `${directory} was changed since it was loaded or saved, and that is not saved: ${advice}`);
    assert.deepEqual([picture(directory), fs.readFileSync(`${directory}.cloakroom.json`, 'utf8')], before);
  };
  return { home, id, directory, snapshot, open, isKept };
}

test('a login that is not saved does not give way', async (t) => {
  const { home, id, directory, snapshot, open, isKept } = await login(t);
  // Somebody else saves, so that a save of the directory is refused and a load of it brings something else.
  await client.load(id, `${home}/other`);
  write(`${home}/other`, { 'Default/Cookies': 'theirs' });
  await client.save(id, `${home}/other`);
  for (const change of [
    () => fs.writeFileSync(`${directory}/Default/Cookies`, 'LOGIN'),
    () => fs.appendFileSync(`${directory}/Default/Cookies`, 'more'),
    () => fs.writeFileSync(`${directory}/Default/Login Data`, 'new'),
    () => fs.writeFileSync(`${directory}/new`, ''),
    () => write(`${directory}/Profile 2`, { Cookies: 'new' }),
    () => fs.rmSync(`${directory}/Default/History`),
    () => fs.rmSync(`${directory}/Default`, { recursive: true }),
    () => {
      fs.rmSync(`${directory}/Default/Cookies`);
      fs.symlinkSync('History', `${directory}/Default/Cookies`);
    },
  ]) {
    await client.load(id, directory, { replace: true, snapshotId: snapshot.id });
    change();
    await isKept();
  }
  await client.load(id, directory, { replace: true, snapshotId: snapshot.id });
  write(directory, { 'Default/Cookies': 'unsaved' });
  assert.ok((await failure(client.save(id, directory))) instanceof ParentNotHead);
  await isKept();
  assert.equal(fs.readFileSync(`${directory}/Default/Cookies`, 'utf8'), 'unsaved');
  await open({ load: { replace: true } });
  assert.equal(fs.readFileSync(`${directory}/Default/Cookies`, 'utf8'), 'theirs', 'what is said counts');
  write(directory, { 'Default/Cookies': 'mine' });
  await isKept();
  await client.save(id, directory);
  await open();
  assert.equal(fs.readFileSync(`${directory}/Default/Cookies`, 'utf8'), 'mine', 'what was saved gives way');
});

test('a directory in which only what does not travel has changed gives way', async (t) => {
  const { home, id, directory, open } = await login(t);
  await client.load(id, `${home}/other`);
  write(`${home}/other`, { 'Default/Cookies': 'theirs' });
  await client.save(id, `${home}/other`);
  write(directory, { 'Default/Cache/f': 'other', 'Default/Code Cache/g': 'new', 'ShaderCache/h': 'new' });
  fs.utimesSync(`${directory}/Default/Cookies`, 1, 1);
  fs.chmodSync(`${directory}/Default/History`, 0o600);
  await open();
  assert.equal(fs.readFileSync(`${directory}/Default/Cookies`, 'utf8'), 'theirs');
  fs.rmSync(directory, { recursive: true });
  fs.mkdirSync(directory);
  await open();
  assert.equal(fs.readFileSync(`${directory}/Default/Cookies`, 'utf8'), 'theirs', 'it was emptied, and its sidecar was there');
  fs.rmSync(`${directory}.cloakroom.json`);
  assert.equal((await failure(open())).reason, 'TARGET_EXISTS', 'without a sidecar nothing is known');

  const lean = await login(t, { policy: 'lean' });
  await client.load(lean.id, `${lean.home}/lean`);
  const left = Object.keys(picture(lean.directory)).filter((name) => !(name in picture(`${lean.home}/lean`)));
  assert.ok(left.includes('Default/GCM Store/f'), `the policy leaves out ${left}`);
  await lean.open();
  write(lean.directory, { 'Default/Login Data': 'new' });
  await lean.isKept();

  const gone = await login(t);
  write(gone.directory, { 'Default/Cookies': 'second' });
  await client.save(gone.id, gone.directory);
  const former = gone.snapshot.id;
  await client.load(gone.id, gone.directory, { replace: true, snapshotId: former });
  await client.deleteSnapshot(gone.id, former);
  write(gone.directory, { 'Default/Cache/f': 'new' });
  await gone.open();
  assert.equal(fs.readFileSync(`${gone.directory}/Default/Cookies`, 'utf8'), 'second', 'its snapshot was deleted');
});

test('a directory that a browser has open does not give way', async (t) => {
  const { directory, open } = await login(t);
  fs.symlinkSync(`${os.hostname()}-${process.pid}`, `${directory}/SingletonLock`);
  assert.equal((await failure(open())).reason, 'PROFILE_BUSY');
  assert.equal((await failure(open({ load: { replace: true } }))).reason, 'PROFILE_BUSY');
});

test('a login in a real browser that was not saved is still there', async (t) => {
  const home = temporary(t);
  const url = await site(t);
  const { id } = await client.sessions.create({ businessId: 'b' });
  const first = await openContext(client, id, chromium, `${home}/p`, options);
  await at(first, url, 'login("ann")');
  await saveContext(client, id, first, `${home}/p`);
  const second = await openContext(client, id, chromium, `${home}/p`, options);
  await at(second, url, 'login("bob")');
  assert.equal((await failure(openContext(client, id, chromium, `${home}/p`, options))).reason, 'PROFILE_BUSY');
  const storageState = await capture(second);
  await second.close();
  assert.equal((await failure(openContext(client, id, chromium, `${home}/p`, options))).reason, 'UNSAVED_CHANGES');
  await client.save(id, `${home}/p`, { storageState });
  const third = await openContext(client, id, chromium, `${home}/p`, options);
  assert.deepEqual(await at(third, url, 'state()'), { cookies: { persistent: 'bob', session: 'bob' }, local: 'bob', indexed: 'bob' });
  await third.close();
});

test('a first login that was not saved is told from a directory of something else', async (t) => {
  const home = temporary(t);
  const { id } = await client.sessions.create({ businessId: 'b' });
  const { id: other } = await client.sessions.create({ businessId: 'b' });
  const directory = write(`${home}/p`, { 'Local State': '{}', 'Default/Cookies': 'login' });
  write(`${home}/other`, { 'Local State': '{}' });
  await client.save(other, `${home}/other`);
  const before = picture(home);
  for (const there of [directory, `${home}/other`]) {
    for (const load of [{}, { replace: true }]) {
      const error = await failure(openContext(client, id, pretender(), there, { load }));
      assert.ok(error instanceof LocalError && error.reason === 'TARGET_EXISTS', error.stack);
      const advice = 'save it if that is the login, or launch on it, or choose another directory';
      assert.equal(error.message, `nothing was saved in ${id} yet and ${there} holds something: ${advice}`);
    }
  }
  assert.deepEqual(picture(home), before);
  assert.equal((await failure(openContext(client, 'never-was', pretender(), directory))).reason, 'SESSION_NOT_FOUND');
  await client.save(id, directory);
  await openContext(client, id, pretender(), directory);
});

test('options of the load that are given to the browser are told, and so is a storage state', async () => {
  for (const option of ['replace', 'snapshotId', 'storageState']) {
    const error = await failure(openContext(client, 's', pretender(), '/nowhere', { [option]: 'x' }));
    assert.ok(error instanceof Invalid && error.message.startsWith(`openContext has no option ${option}`), `${error}`);
  }
});

test('open-context-put-state', async (t) => {
  const home = temporary(t);
  const { id } = await client.sessions.create({ businessId: 'b' });
  const opened = async (options = {}) => {
    const browser = pretender();
    await openContext(client, id, browser, `${home}/p`, options);
    return browser.cookies;
  };
  assert.deepEqual(await opened(), [], 'nothing yet');
  await client.sessions.storageState.put(id, stateOf('put'));
  assert.deepEqual(await opened(), ['session=put', 'persistent=put'], 'a fresh profile has no cookie of its own');
  fs.mkdirSync(`${home}/p`);
  fs.writeFileSync(`${home}/p/prefs.js`, 'x');
  const { snapshot: bare } = await client.save(id, `${home}/p`);
  assert.deepEqual(await opened(), ['session=put'], 'the profile has the other one');
  const { snapshot: good } = await client.save(id, `${home}/p`, { storageState: stateOf('saved') });
  assert.deepEqual(await opened(), ['session=saved']);
  const { snapshot: second } = await client.save(id, `${home}/p`);
  assert.deepEqual([second.hasStorageState, await opened()], [false, []], 'what came with the snapshot before is older than the profile');
  await client.save(id, `${home}/p`, { storageState: stateOf('saved') });
  await client.sessions.storageState.put(id, stateOf('newer'));
  assert.deepEqual(await opened(), ['session=saved'], 'what was saved with the profile is of the same moment');
  assert.deepEqual(await opened({ load: { snapshotId: bare.id } }), [], 'what was put since is not of a former snapshot');
  await opened();
  await client.save(id, `${home}/p`);
  assert.deepEqual(await opened(), ['session=newer'], 'but it is of a head that has none');

  await client.restore(id, { snapshotId: good.id });
  assert.deepEqual(await opened(), ['session=saved']);
  const { snapshot: later } = await client.save(id, `${home}/p`);
  assert.deepEqual([later.parentSnapshotId, later.hasStorageState], [good.id, false]);
  assert.deepEqual(await opened(), [], 'what came with a restore is older than the profile too');
});

test('an empty directory is there again when nothing came in its place', async (t) => {
  const home = temporary(t);
  fs.mkdirSync(`${home}/p`);
  assert.equal((await failure(openContext(client, 'never-was', pretender(), `${home}/p`))).reason, 'SESSION_NOT_FOUND');
  assert.deepEqual(fs.readdirSync(`${home}/p`), []);
  const { id } = await client.sessions.create({ businessId: 'b' });
  const get = t.mock.method(client.sessions, 'get', async () => {
    throw new LocalError('the daemon is away', { reason: 'AWAY' });
  });
  assert.equal((await failure(openContext(client, id, pretender(), `${home}/p`))).reason, 'AWAY', 'after it was heard that the session is empty');
  assert.deepEqual(fs.readdirSync(`${home}/p`), []);
  get.mock.restore();
  assert.equal((await failure(openContext(client, 'never-was', pretender(), `${home}/absent`))).reason, 'SESSION_NOT_FOUND');
  assert.deepEqual(fs.readdirSync(home), ['p'], 'where nothing was nothing comes');
});

test('a login that is opened and saved goes on elsewhere', async (t) => {
  const home = temporary(t);
  const url = await site(t);
  const { id } = await client.sessions.create({ businessId: 'b' });
  const first = await openContext(client, id, chromium, `${home}/a`, options);
  await at(first, url, 'login("ann")');
  const { snapshot, warnings } = await saveContext(client, id, first, `${home}/a`);
  assert.deepEqual([snapshot.hasStorageState, warnings], [true, []]);
  const second = await openContext(client, id, chromium, `${home}/b`, options);
  assert.deepEqual(await at(second, url, 'state()'), { cookies: { persistent: 'ann', session: 'ann' }, local: 'ann', indexed: 'ann' });
  await second.close();
  const again = await openContext(client, id, chromium, `${home}/a`, options);
  assert.deepEqual(await at(again, url, 'state()'), { cookies: { persistent: 'ann', session: 'ann' }, local: 'ann', indexed: 'ann' });
  await again.close();
});

test('a login on a mount goes on in the next one', async (t) => {
  const root = temporary(t);
  const url = await site(t);
  const { id } = await client.sessions.create({ businessId: 'b' });
  const first = await client.mount(id, { root });
  const began = await first.openContext(chromium, options);
  await at(began, url, 'login("ann")');
  assert.equal((await failure(first.openContext(chromium, options))).reason, 'PROFILE_BUSY');
  const { snapshot, warnings } = await first.saveContext(began);
  assert.deepEqual([snapshot.hasStorageState, snapshot.portability.quiesced, snapshot.portability.brand, warnings], [true, true, 'chromium', []]);
  const everything = { cookies: { persistent: 'ann', session: 'ann' }, local: 'ann', indexed: 'ann' };
  const again = await first.openContext(chromium, options);
  assert.deepEqual(await at(again, url, 'state()'), everything, 'a mount goes on with what it saved');
  const storageState = await capture(again);
  await again.close();
  const saved = await first.save({ storageState });
  await first.release();

  const before = fs.statSync(`${first.directory}.cloakroom.json`, { bigint: true });
  const second = await client.mount(id, { root });
  assert.deepEqual([second.directory, second.snapshot?.id], [first.directory, saved.snapshot.id]);
  assert.equal(
    fs.statSync(`${second.directory}.cloakroom.json`, { bigint: true }).ctimeNs,
    before.ctimeNs,
    'a browser leaves nothing that would have it loaded anew',
  );
  const went = await second.openContext(chromium, options);
  assert.deepEqual(await at(went, url, 'state()'), everything);
  await at(went, url, 'login("bob")');
  await went.close();
  await second.discard();

  const third = await client.mount(id, { root });
  const last = await third.openContext(chromium, options);
  assert.deepEqual(await at(last, url, 'state()'), everything, 'what was not saved is gone');
  await last.close();
  await third.release();
});

test('session cookies on a mount are those of the snapshot, or else those that were put into the session', async (t) => {
  const root = temporary(t);
  const { id } = await client.sessions.create({ businessId: 'b' });
  await client.sessions.storageState.put(id, stateOf('put'));
  const mount = await client.mount(id, { root });
  const opened = async (/** @type {import('../src/index.js').Mount} */ on) => {
    const browser = pretender();
    await on.openContext(browser);
    return browser.cookies;
  };
  assert.deepEqual(await opened(mount), ['session=put', 'persistent=put'], 'a fresh profile gets all');
  fs.writeFileSync(`${mount.directory}/prefs.js`, '');
  assert.deepEqual(await opened(mount), [], 'but one that has something is no longer fresh');
  await mount.save();
  assert.deepEqual(await opened(mount), ['session=put']);
  await mount.save({ storageState: stateOf('saved') });
  assert.deepEqual(await opened(mount), ['session=saved']);
  for (const [given, message] of /** @type {const} */ ([
    [{ storageState: stateOf('x') }, 'openContext has no option storageState'],
    [{ snapshotId: 'x' }, 'openContext has no option snapshotId: it is for client.mount'],
  ])) {
    const error = await failure(mount.openContext(pretender(), given));
    assert.ok(error instanceof Invalid && error.message.startsWith(message), error.message);
  }
  const misspelt = await failure(mount.saveContext(await pretender().launchPersistentContext(), /** @type {any} */ ({ portabilty: {} })));
  assert.ok(misspelt instanceof Invalid && misspelt.message.startsWith('saveContext: there is no option portabilty'), misspelt.message);
  await mount.release();
  const next = await client.mount(id, { root, withStorageState: false });
  assert.deepEqual([next.storageState, await opened(next)], [undefined, []]);
  await next.release();
});
