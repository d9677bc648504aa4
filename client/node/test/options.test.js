// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file What callers may give to the verbs: everything else is refused by name before the daemon is spoken to. */

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';

import { Client, Invalid } from '../src/index.js';
import { capture, launch, openContext, restore, saveContext, sessionCookies } from '../src/playwright.js';
import { failure } from '../support/failure.js';
import { peer, refusal } from '../support/peer.js';
import { temporary } from '../support/trees.js';

const client = new Client('127.0.0.1:1');
const { sessions } = client;
const { storageState } = sessions;
const state = { cookies: [], origins: [] };
const nowhere = '/nowhere/profile';
const context = { addCookies: async () => {}, storageState: async () => state, close: async () => {}, browser: () => null };
const browserType = { name: () => 'firefox', launchPersistentContext: async () => context };

/** Each verb, with options to be put last. */
const verbs = /** @type {Record<string, (options: any) => Promise<any> | any>} */ ({
  'sessions.create': (options) => sessions.create({ businessId: 'b' }, options),
  'sessions.get': (options) => sessions.get('s', options),
  'sessions.batchGet': (options) => sessions.batchGet(['s'], options),
  'sessions.update': (options) => sessions.update('s', { email: 'x' }, options),
  'sessions.delete': (options) => sessions.delete('s', options),
  'sessions.undelete': (options) => sessions.undelete('s', options),
  'sessions.list': (options) => sessions.list(options).next(),
  'sessions.active': (options) => sessions.active({ businessId: 'b' }, options),
  'sessions.touch': (options) => sessions.touch('s', options),
  'sessions.transition': (options) => sessions.transition('s', 'ACTIVE', options),
  'sessions.resolve': (options) => sessions.resolve('s', options),
  'sessions.storageState.get': (options) => storageState.get('s', options),
  'sessions.storageState.put': (options) => storageState.put('s', state, options),
  load: (options) => client.load('s', nowhere, options),
  save: (options) => client.save('s', nowhere, options),
  mount: (options) => client.mount('s', options),
  pruneMounts: (options) => client.pruneMounts(options),
  saveStatus: (options) => client.saveStatus('s', 'u', options),
  snapshots: (options) => client.snapshots('s', options).next(),
  snapshot: (options) => client.snapshot('s', options),
  restore: (options) => client.restore('s', options),
  pin: (options) => client.pin('s', options),
  unpin: (options) => client.unpin('s', options),
  deleteSnapshot: (options) => client.deleteSnapshot('s', 'x', options),
  undeleteSnapshot: (options) => client.undeleteSnapshot('s', 'x', options),
  diff: (options) => client.diff('s', options),
  watch: async (options) => client.watch(options),
  invalidate: (options) => client.invalidate([{ sessionId: 's' }], options),
  serverInfo: (options) => client.serverInfo(options),
});

/**
 * @param {Promise<unknown>} call
 * @param {string} message
 */
async function isRefused(call, message) {
  const error = await failure(call);
  assert.ok(error instanceof Invalid, `${error.stack}`);
  assert.deepEqual([error.reason, error.code], ['INVALID_FIELD', 'INVALID_ARGUMENT']);
  assert.ok(error.message.includes(message), `${error.message}\n${message}`);
  assert.equal(error.violations.length, 1);
  assert.ok(error.message.includes(error.violations[0].description));
}

test('every verb refuses an option that it does not know, by name, and says which it knows', async () => {
  const names = (/** @type {any} */ of, /** @type {string} */ before) =>
    Object.getOwnPropertyNames(of)
      .filter((name) => !['constructor', 'one', 'close', 'closed', 'namespace', 'change', 'mark'].includes(name))
      .map((name) => before + name);
  const all = [
    ...names(Client.prototype, ''),
    ...names(Object.getPrototypeOf(Client.prototype), ''),
    ...names(Object.getPrototypeOf(sessions), 'sessions.'),
    ...names(Object.getPrototypeOf(storageState), 'sessions.storageState.'),
  ];
  assert.deepEqual(Object.keys(verbs).sort(), all.sort());
  for (const [verb, call] of Object.entries(verbs)) {
    await isRefused(call({ overwrite: true }), `${verb}: there is no option overwrite: choose from `);
    await isRefused(call({ signal: 'stop' }), `${verb}: signal is a string, and must be an AbortSignal`);
    await isRefused(call(null), `${verb}: its options are null, and must be an object`);
    await isRefused(call(new Uint8Array(1)), `${verb}: its options are bytes, and must be an object`);
  }
  await isRefused(
    sessions.create(/** @type {any} */ ({ sesionId: 's', businessId: 'b' })),
    'no option sesionId: choose from sessionId, businessId, email, labels,',
  );
  await isRefused(sessions.update('s', /** @type {any} */ ({ emial: 's' })), 'no option emial: choose from businessId, email,');
  await isRefused(sessions.active(/** @type {any} */ ({ business: 's' })), 'no option business: choose from businessId, email');
  await isRefused(
    client.save('s', nowhere, { portability: /** @type {any} */ ({ browser: 'x' }) }),
    'save: there is no option portability.browser: choose from os, brand,',
  );
  await isRefused(
    client.invalidate([{}, /** @type {any} */ ({ session: 's' })]),
    'invalidate: there is no option selectors[1].session: choose from sessionId,',
  );
  await isRefused(verbs.watch({ selectors: [{ constructor: 's' }] }), 'watch: there is no option selectors[0].constructor');
  assert.throws(
    () => new Client('127.0.0.1:1', /** @type {any} */ ({ timeout: 5 })),
    /new Client: there is no option timeout: choose from namespace, token, tls,/,
  );
  assert.throws(
    () => new Client('127.0.0.1:1', /** @type {any} */ ({ tls: { caFile: 'x' } })),
    /no option tls\.caFile: choose from ca, cert, key, serverName/,
  );
});

test('a mount refuses what it cannot take before it makes a directory', async (t) => {
  const root = `${temporary(t)}/root`;
  await isRefused(
    client.mount('s', /** @type {any} */ ({ root, directory: 'x' })),
    'mount: there is no option directory: choose from root, snapshotId,',
  );
  await isRefused(client.mount('s', { root: '' }), 'mount: root is empty, and must be a path');
  await isRefused(client.mount(/** @type {any} */ (7), { root }), 'mount: sessionId is the number 7, and must be a string');
  await isRefused(client.mount('a/b', { root }), 'mount: sessionId is "a/b", and must be 1 to 128 of');
  await isRefused(
    new Client('127.0.0.1:1', { namespace: '..' }).mount('s', { root }),
    `mount: the client's namespace is "..", and must be 1 to 63 of`,
  );
  await isRefused(
    client.pruneMounts({ root, olderThanSeconds: -1 }),
    'pruneMounts: olderThanSeconds is the number -1, and must be a number of seconds',
  );
  await isRefused(
    client.pruneMounts(/** @type {any} */ ({ olderThan: '7d' })),
    'pruneMounts: there is no option olderThan: choose from olderThanSeconds,',
  );
  assert.ok(!fs.existsSync(root));
});

test('what is of another type than it must be is refused by name, and not shown', async () => {
  const wrong = /** @type {any} */ (42);
  for (const [call, message] of /** @type {[Promise<any>, string][]} */ ([
    [sessions.get(wrong), 'sessions.get: sessionId is the number 42, and must be a string'],
    [sessions.get(/** @type {any} */ (undefined)), 'sessions.get: sessionId is undefined, and must be a string'],
    [sessions.create({ businessId: wrong }), 'sessions.create: businessId is the number 42, and must be a string'],
    [
      sessions.create({ businessId: 'b', labels: { tier: wrong } }),
      'sessions.create: labels must be an object whose values are strings, and labels["tier"] is the number 42',
    ],
    [sessions.create({ businessId: 'b', labels: /** @type {any} */ (['a']) }), 'labels is an array, and must be an object'],
    [sessions.create({ businessId: 'b', labels: /** @type {any} */ ('a=b') }), 'labels is a string, and must be an object'],
    [sessions.create({ businessId: 'b', email: /** @type {any} */ ({ at: 'ann@example.com' }) }), 'email is an object, and must be a string'],
    [sessions.create({ businessId: 'b', ttlSeconds: /** @type {any} */ ('3600') }), 'ttlSeconds is a string, and must be a number'],
    [sessions.create({ businessId: 'b', ttlSeconds: NaN }), 'ttlSeconds is the number NaN, and must be a number'],
    [sessions.batchGet(/** @type {any} */ ('s')), 'sessionIds is a string, and must be an array of strings'],
    [sessions.batchGet(/** @type {any} */ (['s', 1])), 'sessionIds must be an array of strings, and sessionIds[1] is the number 1'],
    [
      sessions
        .list({ states: /** @type {any} */ ('ACTIVE') })
        .next()
        .then(),
      'states is a string, and must be an array of strings',
    ],
    [sessions.list({ pageSize: 1.5 }).next().then(), 'pageSize is the number 1.5, and must be a whole number, from 0'],
    [sessions.transition('s', wrong), 'to is the number 42, and must be a string'],
    [sessions.touch('s', { leaseToken: /** @type {any} */ (5n) }), 'leaseToken is a bigint, and must be a whole number'],
    [sessions.get('s', { timeoutSeconds: -1 }), 'timeoutSeconds is the number -1, and must be a number of seconds, from 0'],
    [storageState.put('s', wrong), 'storageState is a number, and must be what Playwright'],
    [client.save('s', nowhere, { storageState: wrong }), 'storageState is a number, and must be what Playwright'],
    [sessions.create({ businessId: 'b', email: wrong }), 'email is a number, and must be a string'],
    [sessions.active({ email: wrong }), 'email is a number, and must be a string'],
    [client.invalidate([{ email: wrong }]), 'selectors[0].email is a number, and must be a string'],
    [client.load(wrong, nowhere), 'load: sessionId is the number 42'],
    [client.load('s', ''), 'load: directory is empty, and must be a path'],
    [client.save('s', /** @type {any} */ (new URL('file:///x'))), 'save: directory is an object, and must be a path'],
    [client.save('s', nowhere, { include: /** @type {any} */ ('Cache') }), 'save: include is a string, and must be an array of strings'],
    [client.save('s', nowhere, { replace: /** @type {any} */ ('yes') }), 'save: replace is a string, and must be true or false'],
    [client.save('s', nowhere, { portability: /** @type {any} */ ('linux') }), 'save: portability is a string, and must be an object'],
    [client.load('s', nowhere, { progress: /** @type {any} */ ({}) }), 'load: progress is an object, and must be a function'],
    [client.invalidate(/** @type {any} */ ({ sessionId: 's' })), 'invalidate: selectors is an object, and must be an array of objects'],
    [client.invalidate(/** @type {any} */ (['s'])), 'invalidate: selectors[0] is a string, and must be an object'],
    [verbs.watch({ resumeToken: 'abc' }), 'watch: resumeToken is a string, and must be bytes, such as a Buffer'],
    [openContext(client, wrong, /** @type {any} */ ({}), nowhere), 'openContext: sessionId is the number 42'],
    [
      openContext(client, 's', browserType, nowhere, { load: /** @type {any} */ ({ overwrite: true }) }),
      'openContext: there is no option load.overwrite',
    ],
    [saveContext(client, 's', context, nowhere, /** @type {any} */ ({ overwrite: true })), 'saveContext: there is no option overwrite'],
  ])) {
    await isRefused(call, message);
  }
  const secret = { token: 'secret' };
  for (const make of [() => new Client(/** @type {any} */ (secret)), () => new Client('127.0.0.1:1', { token: /** @type {any} */ (['secret']) })])
    assert.throws(make, (error) => error instanceof Invalid && !error.message.includes('secret'));
  assert.throws(() => new Client('127.0.0.1:1', { token: wrong }), /token is a number, and must be a string$/);
  assert.throws(
    () => new Client('127.0.0.1:1', { tls: /** @type {any} */ ('yes') }),
    /tls is a string, and must be true, false or \{ ca, cert, key, serverName \}/,
  );
});

test('what is not of Playwright, or something else of it, is told before anything is done', async (t) => {
  const any = (/** @type {unknown} */ value) => /** @type {any} */ (value);
  const home = temporary(t);
  const directory = `${home}/p`;
  const sort = "and must be a browser type of Playwright's, such as playwright.chromium";
  const wanted = "and must be a browser context of Playwright's, such as openContext gives";
  const browser = { newContext: async () => context, close: async () => assert.fail('it was closed') };
  for (const [call, message] of /** @type {[Promise<unknown>, string][]} */ ([
    [openContext(any('s'), any(client), browserType, directory), 'openContext: client is a string, and must be a Client'],
    [openContext(client, any(browserType), any('s'), directory), 'openContext: sessionId is an object, and must be a string'],
    [openContext(client, 's', any(directory), any(browserType)), `openContext: browserType is a string, ${sort}`],
    [openContext(client, 's', any({ chromium: browserType }), directory), `openContext: browserType is an object, ${sort}`],
    [openContext(client, 's', any(undefined), directory), `openContext: browserType is undefined, ${sort}`],
    [openContext(client, 's', browserType, any({ headless: true })), 'openContext: directory is an object, and must be a path'],
    [openContext(client, 's', browserType, directory, any('x')), 'openContext: options is a string, and must be an object'],
    [saveContext(client, 's', any(directory), any(context)), `saveContext: context is a string, ${wanted}`],
    [saveContext(client, 's', any(browser), directory), `saveContext: context is an object, ${wanted}`],
    [capture(any(browser)), `capture: context is an object, ${wanted}`],
    [restore(any(browser), state), `restore: context is an object, ${wanted}`],
    [launch(any({ chromium: browserType }), directory), `launch: browserType is an object, ${sort}`],
    [launch(browserType, any(undefined)), 'launch: directory is undefined, and must be a path'],
  ])) {
    await isRefused(call, message);
  }
  assert.deepEqual(fs.readdirSync(home), []);
});

test('a storage state is no path', async (t) => {
  const directory = temporary(t);
  const file = `${directory}/state.json`;
  fs.writeFileSync(file, JSON.stringify(state));
  const message = 'storageState takes the JSON itself, not a path';
  for (const path of [file, 'state.json', './state.json']) {
    for (const call of [
      () => storageState.put('s', path),
      () => client.save('s', directory, { storageState: path }),
      () => saveContext(client, 's', context, directory, { storageState: path }),
      () => launch(browserType, directory, { storageState: path }),
      async () => sessionCookies(path),
    ]) {
      const error = await failure(call());
      assert.ok(error instanceof Invalid && error.reason === 'STORAGE_STATE_INVALID' && error.message.includes(message), error.stack);
      assert.ok(!error.message.includes(path), error.message);
    }
  }
  assert.deepEqual(sessionCookies(fs.readFileSync(file)), []);
  assert.deepEqual(sessionCookies(` ${fs.readFileSync(file, 'utf8')}`), []);
});

test('what is not given, or given as undefined, is not missed', async (t) => {
  const directory = temporary(t);
  fs.writeFileSync(`${directory}/f`, '');
  const getSession = (/** @type {any} */ _, /** @type {any} */ answer) => answer(null, { session: { id: 's' }, revision: '1' });
  const { client: served } = await peer(t, { SessionService: { getSession } }, { client: { namespace: undefined, patienceSeconds: Infinity } });
  assert.equal((await served.sessions.get('s', { signal: undefined, minRevision: undefined })).id, 's');
  assert.equal((await served.sessions.get('s', { signal: AbortSignal.timeout(60_000), timeoutSeconds: 5, minRevision: 0 })).id, 's');
});

test('the target comes from the environment when none is given', async (t) => {
  const { CLOAKROOM_TARGET: former } = process.env;
  t.after(() => {
    if (former === undefined) delete process.env.CLOAKROOM_TARGET;
    else process.env.CLOAKROOM_TARGET = former;
  });
  const targetOf = (/** @type {any[]} */ ...args) => {
    const one = /** @type {any} */ (new Client(...args));
    one.close();
    return one.connection.target;
  };
  process.env.CLOAKROOM_TARGET = 'http://a.example:7000';
  assert.equal(targetOf(), 'a.example:7000');
  assert.equal(targetOf(undefined, { namespace: 'n' }), 'a.example:7000');
  assert.equal(targetOf('b.example:7000'), 'b.example:7000');
  process.env.CLOAKROOM_TARGET = '';
  assert.equal(targetOf(), '127.0.0.1:7700');
  delete process.env.CLOAKROOM_TARGET;
  assert.equal(targetOf(), '127.0.0.1:7700');
});

test('what the daemon says reaches the caller word for word, also names that look like those of calls', async (t) => {
  const more = /** @type {[string, object][]} */ ([
    ['google.rpc.BadRequest', { fieldViolations: [{ field: 'session_id', description: 'GetSession is too long' }] }],
    ['google.rpc.Help', { links: [{ description: 'choose another name than LoadProfile' }] }],
  ]);
  const message = 'there is no session LoadProfile';
  const getSession = (/** @type {any} */ _, /** @type {any} */ answer) => answer(refusal('NOT_FOUND', 'SESSION_NOT_FOUND', { message, more }));
  const { client: served } = await peer(t, { SessionService: { getSession } });
  const error = await failure(served.sessions.get('LoadProfile'));
  assert.equal(error.message, 'there is no session LoadProfile; session_id: GetSession is too long; choose another name than LoadProfile');
  assert.deepEqual([error.violations[0].description, error.help[0].description], ['GetSession is too long', 'choose another name than LoadProfile']);
});
