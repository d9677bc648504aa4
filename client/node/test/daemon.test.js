// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file The scenarios of `client/scenarios.md`, one test each, against the daemon that CLOAKROOM_TEST_DAEMON names. */

import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';

import { fromGrpc } from '../src/errors.js';
import { cut, pack } from '../src/framing.js';
import { Client, EtagMismatch, LeaseFenced, LocalError, NotFound, ParentNotHead, Refused, SnapshotDeleted, Unavailable } from '../src/index.js';
import { diff, scan } from '../src/profiles.js';
import { sidecarPath } from '../src/sidecar.js';
import { setTime } from '../src/system.js';
import { manifestRoot } from '../src/tree.js';
import { cookies } from '../support/cookies.js';
import { Daemon, nowhere, served, unheard } from '../support/daemon.js';
import { failure } from '../support/failure.js';
import { parts } from '../support/scenarios.js';
import { picture, temporary, write } from '../support/trees.js';

/** @typedef {import('../src/index.js').WatchEvent} WatchEvent */
/** @typedef {import('../src/index.js').Change} Change */

const { client } = await served();

/** @type {string[]} */
const scenarios = [];

/**
 * @param {string} name as in `client/scenarios.md`
 * @param {(t: import('node:test').TestContext) => Promise<void>} body
 */
function scenario(name, body) {
  scenarios.push(name);
  test(name, { timeout: 120_000 }, body);
}

/**
 * A session of its own.
 *
 * @param {Partial<Parameters<Client['sessions']['create']>[0]>} [fields]
 */
function fresh(fields = {}) {
  return client.sessions.create({ sessionId: `s-${randomUUID()}`, businessId: `b-${randomUUID()}`, ...fields });
}

/**
 * That a call is refused for a reason, changes nothing, and leaves the daemon well.
 *
 * @param {string} sessionId
 * @param {string[]} reasons
 * @param {() => Promise<unknown>} call
 * @returns {Promise<any>} the error
 */
async function refused(sessionId, reasons, call) {
  const { etag, headSnapshotId } = await client.sessions.get(sessionId);
  const error = await failure(call());
  assert.ok(reasons.includes(error.reason), `${error.reason}: ${error.message}`);
  const now = await client.sessions.get(sessionId);
  assert.deepEqual([now.etag, now.headSnapshotId], [etag, headSnapshotId]);
  return error;
}

/**
 * That a call is refused for a reason without a word to the daemon: not a connection is made.
 *
 * @param {import('node:test').TestContext} t
 * @param {string} sessionId
 * @param {string} reason
 * @param {(by: Client) => Promise<unknown>} call
 * @returns {Promise<any>} the error
 */
async function refusedHere(t, sessionId, reason, call) {
  const { lonely, heard } = await unheard(t);
  const error = await refused(sessionId, [reason], () => call(lonely));
  assert.ok(error instanceof LocalError, error.stack);
  assert.equal(heard(), 0);
  assert.ok((await failure(lonely.sessions.get(sessionId))) instanceof Unavailable && heard() > 0, 'it would have been heard');
  return error;
}

/**
 * A watch that is open, and everything that it hears.
 *
 * @param {import('node:test').TestContext} t
 * @param {import('../src/index.js').WatchOptions} [options]
 * @param {Client} [by]
 */
async function listen(t, options = {}, by = client) {
  const stop = new AbortController();
  const watch = by.watch({ ...options, signal: stop.signal });
  const events = watch[Symbol.asyncIterator]();
  const first = await events.next();
  assert.equal(first.value?.kind, 'opened');
  /** @type {WatchEvent[]} */
  const heard = [];
  const done = (async () => {
    for await (const event of events) heard.push(event);
  })();
  const close = async () => {
    stop.abort();
    await done;
  };
  t.after(close);
  const changes = () => heard.flatMap((event) => (event.kind === 'changes' ? event.changes : []));
  /** @param {(changes: Change[]) => boolean} enough */
  const until = async (enough) => {
    for (const end = Date.now() + 20_000; !enough(changes()); await sleep(10))
      assert.ok(Date.now() < end, `heard only ${JSON.stringify(changes().map(({ kind }) => kind))}`);
    return changes();
  };
  return { watch, heard, changes, until, close, opened: /** @type {WatchEvent & { kind: 'opened' }} */ (first.value) };
}

/**
 * The messages of a save of a directory into an empty session, for tests that spoil them.
 *
 * @param {string} sessionId
 * @param {string} directory
 * @returns {Promise<any[]>}
 */
async function rawSave(sessionId, directory) {
  const entries = await scan(directory, () => true);
  const change = diff([], entries);
  const messages = [{ begin: { sessionId, full: true, uploadId: randomUUID() } }];
  for (const piece of cut(change)) messages.push(/** @type {any} */ ({ records: await pack(directory, change.entries, piece) }));
  return [...messages, { end: { manifestRoot: manifestRoot(entries) } }];
}

/**
 * Sends messages as they are.
 *
 * @param {any[]} messages
 * @param {'end' | 'cancel'} [ending]
 * @returns {Promise<any>}
 */
function raw(messages, ending = 'end') {
  const { connection } = /** @type {any} */ (client);
  return new Promise((resolve, reject) => {
    const settle = (/** @type {any} */ error, /** @type {any} */ answer) => (error ? reject(fromGrpc(error)) : resolve(answer));
    const call = connection.services.ProfileService.saveProfile(connection.metadata(), settle);
    call.on('error', () => {});
    for (const message of messages) call.write(message);
    if (ending === 'end') call.end();
    else setTimeout(() => call.cancel(), 50);
  });
}

// --- The daemon

scenario('server-info', async () => {
  const info = await client.serverInfo();
  assert.match(info.version, /^\d+\.\d+\.\d+/);
  assert.ok(info.instanceId && info.history);
  assert.deepEqual([info.namespace, info.metadata.health, info.blobs.health], ['default', 'OK', 'OK']);
  for (const [name, limit] of Object.entries(info.limits)) assert.ok(limit > 0, name);
  assert.ok(info.startTime && info.startTime.getTime() <= Date.now());
});

scenario('daemon-gone', async (t) => {
  const target = await nowhere();
  const lonely = new Client(target);
  t.after(() => lonely.close());
  const begin = Date.now();
  const error = await failure(lonely.sessions.get('s'));
  assert.ok(error instanceof Unavailable);
  assert.ok(error.message.includes(target) && error.message.includes('connection refused'), error.message);
  assert.ok(Date.now() - begin < 5000);
});

// --- Sessions

scenario('create-get-update-delete', async () => {
  const id = `s-${randomUUID()}`;
  const created = await client.sessions.create({
    sessionId: id,
    businessId: 'acme',
    email: 'Ann@Example.com',
    labels: { tier: 'gold' },
    ttlSeconds: 7200,
  });
  const { revision: _, ...got } = await client.sessions.get(id);
  const { revision: born, ...same } = created;
  assert.deepEqual(got, same);
  assert.deepEqual(
    [got.id, got.businessId, got.email, got.labels, got.ttlSeconds, got.ttlMode, got.state],
    [id, 'acme', 'Ann@Example.com', { tier: 'gold' }, 7200, 'SLIDING', 'PENDING'],
  );
  const updated = await client.sessions.update(id, { labels: { tier: 'silver' }, email: 'bob@example.com' });
  const changes = {
    labels: { tier: 'silver' },
    email: 'bob@example.com',
    etag: updated.etag,
    updateTime: updated.updateTime,
    revision: updated.revision,
  };
  assert.deepEqual(updated, { ...created, ...changes });
  assert.notEqual(updated.etag, created.etag);
  const deleted = await client.sessions.delete(id);
  assert.ok(born < updated.revision && updated.revision < deleted.revision);
  assert.equal(deleted.state, 'DELETED');
  assert.equal((await failure(client.sessions.get(id))).reason, 'SESSION_DELETED');
  await client.sessions.delete(id);
});

scenario('create-twice', async () => {
  const fields = { sessionId: `s-${randomUUID()}`, businessId: 'acme' };
  const requestId = randomUUID();
  const first = await client.sessions.create(fields, { requestId });
  await refused(fields.sessionId, ['SESSION_EXISTS'], () => client.sessions.create(fields));
  assert.deepEqual(await client.sessions.create(fields, { requestId }), first);
});

scenario('batch-get-mixed', async () => {
  const [one, two] = [await fresh(), await fresh()];
  const { sessions, missing } = await client.sessions.batchGet([two.id, 'never-was', one.id]);
  assert.deepEqual(
    sessions.map(({ id }) => id),
    [two.id, one.id],
  );
  assert.deepEqual(missing, ['never-was']);
});

scenario('undelete', async (t) => {
  const { id } = await fresh();
  await client.sessions.transition(id, 'ACTIVE');
  await client.sessions.storageState.put(id, { cookies: [], origins: [] });
  const { snapshot } = await client.save(id, write(`${temporary(t)}/p`, { f: 'x' }));
  await client.sessions.delete(id);
  const back = await client.sessions.undelete(id);
  assert.deepEqual([back.state, back.headSnapshotId], ['ACTIVE', snapshot.id]);
  assert.deepEqual((await client.sessions.storageState.get(id)).storageState, { cookies: [], origins: [] });
});

scenario('list-pages', async () => {
  const businessId = `b-${randomUUID()}`;
  const made = [];
  for (let at = 0; at < 25; at++) made.push((await fresh({ businessId, labels: { parity: at % 2 ? 'odd' : 'even' } })).id);
  for (const id of made.slice(0, 3)) await client.sessions.transition(id, 'ACTIVE');
  const list = async (/** @type {any} */ filter) => {
    const found = [];
    for await (const { id } of client.sessions.list({ businessId, ...filter })) found.push(id);
    return found;
  };
  assert.deepEqual(await list({ pageSize: 10 }), made);
  assert.deepEqual(
    await list({ pageSize: 10, labels: { parity: 'odd' } }),
    made.filter((_, at) => at % 2),
  );
  assert.deepEqual(await list({ states: ['ACTIVE'] }), made.slice(0, 3));
});

scenario('active-most-recent', async () => {
  const businessId = `b-${randomUUID()}`;
  const email = `Ann.${randomUUID()}@Example.com`;
  const [one, two] = [await fresh({ businessId, email }), await fresh({ businessId, email })];
  for (const { id } of [one, two]) await client.sessions.transition(id, 'ACTIVE');
  for (const { id } of [two, one, two]) {
    await sleep(2);
    await client.sessions.touch(id);
    assert.equal((await client.sessions.active({ businessId })).id, id);
    assert.equal((await client.sessions.active({ email: `  ${email.toUpperCase()} ` })).id, id);
  }
});

scenario('touch-moves-expiry', async () => {
  const { id, expireTime, etag } = await fresh();
  await sleep(20);
  const touched = await client.sessions.touch(id);
  assert.ok(expireTime && touched.expireTime && touched.expireTime > expireTime);
  const now = await client.sessions.get(id);
  assert.deepEqual([now.etag, now.expireTime], [etag, touched.expireTime]);
});

scenario('transition-and-illegal', async () => {
  const { id } = await fresh();
  const active = await client.sessions.transition(id, 'ACTIVE', { reason: 'logged in' });
  assert.deepEqual([active.state, active.stateReason], ['ACTIVE', 'logged in']);
  await client.sessions.transition(id, 'NEEDS_LOGIN', { reason: 'the site asked' });
  const now = await client.sessions.get(id);
  assert.deepEqual([now.state, now.stateReason], ['NEEDS_LOGIN', 'the site asked']);
  await client.sessions.transition(id, 'ACTIVE');
  await refused(id, ['ILLEGAL_TRANSITION'], () => client.sessions.transition(id, 'PENDING'));
});

scenario('resolve-prefix', async () => {
  const stem = `s-${randomUUID()}`;
  const [one] = [await fresh({ sessionId: `${stem}-one` }), await fresh({ sessionId: `${stem}-two` })];
  assert.equal((await client.sessions.resolve(`${stem}-o`)).id, one.id);
  assert.equal((await failure(client.sessions.resolve(stem))).reason, 'PREFIX_AMBIGUOUS');
  assert.equal((await failure(client.sessions.resolve(`${stem}-x`))).reason, 'SESSION_NOT_FOUND');
});

scenario('stale-etag', async () => {
  const { id, etag } = await fresh();
  const { etag: current } = await client.sessions.update(id, { labels: { a: '1' } });
  assert.ok((await refused(id, ['ETAG_MISMATCH'], () => client.sessions.update(id, { labels: { a: '2' } }, { etag }))) instanceof EtagMismatch);
  await client.sessions.update(id, { labels: { a: '3' } }, { etag: current });
  const state = { cookies: [], origins: [] };
  const first = await client.sessions.storageState.put(id, state);
  const second = await client.sessions.storageState.put(id, state, { etag: first.etag });
  await refused(id, ['ETAG_MISMATCH'], () => client.sessions.storageState.put(id, state, { etag: first.etag }));
  await client.sessions.storageState.put(id, state, { etag: second.etag });
});

scenario('lease-token-wrong', async (t) => {
  const { id } = await fresh();
  const directory = write(`${temporary(t)}/p`, { f: 'x' });
  const leaseToken = 4711;
  for (const call of [
    () => client.sessions.update(id, { labels: { a: '1' } }, { leaseToken }),
    () => client.sessions.storageState.put(id, { cookies: [], origins: [] }, { leaseToken }),
    () => client.save(id, directory, { leaseToken }),
  ]) {
    assert.ok((await refused(id, ['LEASE_FENCED'], call)) instanceof LeaseFenced);
  }
});

scenario('bad-input-names-field', async () => {
  for (const [field, call] of /** @type {[string, () => Promise<unknown>][]} */ ([
    ['business_id', () => client.sessions.create({ businessId: '' })],
    ['ttl', () => client.sessions.create({ businessId: 'b', ttlSeconds: 1 })],
    ['labels', () => client.sessions.create({ businessId: 'b', labels: { CAPITALS: 'x' } })],
    ['page_size', () => client.sessions.list({ pageSize: 501 }).next()],
  ])) {
    const error = await failure(call());
    assert.equal(error.reason, 'INVALID_FIELD');
    assert.ok(
      error.violations.some((/** @type {{ subject: string }} */ { subject }) => subject.includes(field)),
      `${field}: ${JSON.stringify(error.violations)}`,
    );
  }
});

scenario('not-found-is-typed', async (t) => {
  const directory = write(`${temporary(t)}/p`, { f: 'x' });
  for (const call of [() => client.sessions.get('never-was'), () => client.save('never-was', directory)]) {
    const error = await failure(call());
    assert.ok(error instanceof NotFound);
    assert.equal(error.reason, 'SESSION_NOT_FOUND');
  }
});

// --- Storage states

scenario('storage-state-roundtrip', async () => {
  const { id } = await fresh();
  assert.equal((await failure(client.sessions.storageState.get(id))).reason, 'STORAGE_STATE_NOT_FOUND');
  const text = '{ "cookies" : [], "mine": {"é": [1.50, "\\u0041"]},\n "origins":[ ] }';
  const { etag, revision } = await client.sessions.storageState.put(id, text);
  const got = await client.sessions.storageState.get(id);
  assert.equal(got.bytes.toString('utf8'), text);
  assert.deepEqual([got.storageState.mine, got.etag], [{ é: [1.5, 'A'] }, etag]);
  assert.equal((await client.sessions.get(id)).storageStateRevision, revision);
});

scenario('storage-state-invalid', async () => {
  const { id } = await fresh();
  await client.sessions.storageState.put(id, '{"cookies":[],"origins":[],"kept":1}');
  for (const bad of ['no JSON', '{"origins":[]}', '{"cookies":{},"origins":[]}']) {
    await refused(id, ['STORAGE_STATE_INVALID'], () => client.sessions.storageState.put(id, bad));
  }
  assert.equal((await client.sessions.storageState.get(id)).storageState.kept, 1);
});

scenario('storage-state-with-profile', async (t) => {
  const { id } = await fresh();
  const directory = temporary(t);
  const large = JSON.stringify({
    cookies: [],
    origins: [{ origin: 'https://a.example', localStorage: [{ name: 'n', value: 'é'.repeat(2_000_000) }] }],
  });
  assert.ok(Buffer.byteLength(large) > 3 * 1024 * 1024);
  const { snapshot } = await client.save(id, write(`${directory}/p`, { f: 'x' }), { storageState: large });
  assert.equal(snapshot.hasStorageState, true);
  const loaded = await client.load(id, `${directory}/q`);
  assert.equal(loaded.storageStateBytes?.toString('utf8'), large);
  assert.equal(loaded.storageState.origins[0].origin, 'https://a.example');
  assert.equal((await client.load(id, `${directory}/r`, { withStorageState: false })).storageStateBytes, undefined);
  assert.equal((await failure(client.sessions.storageState.get(id))).reason, 'STORAGE_STATE_TOO_LARGE');
});

scenario('storage-state-left-out-warns', async (t) => {
  const { id } = await fresh();
  const directory = temporary(t);
  const storageState = { cookies: [], origins: [] };
  const code = 'CLOAKROOM_NO_STORAGE_STATE';
  const save = async (/** @type {string} */ name, /** @type {any} */ options) => {
    const { warnings, snapshot } = await client.save(id, `${directory}/${name}`, options);
    assert.ok(snapshot.head);
    return warnings.some((warning) => warning.code === code && warning.message.includes('storageState'));
  };
  write(`${directory}/p`, { 'Local State': '{}' });
  assert.equal(await save('p', { storageState }), false);
  assert.equal(await save('p', { storageState }), false);
  await client.load(id, `${directory}/q`);
  assert.equal(await save('q', {}), true, 'it was loaded with one');
  assert.equal(await save('q', {}), false);
  assert.equal(await save('q', { storageState }), false);
  assert.equal(await save('q', {}), true, 'it was saved with one');
  assert.equal(await save('q', {}), false);
});

// --- Save and load

scenario('save-load-roundtrip', async (t) => {
  const { id } = await fresh();
  const directory = temporary(t);
  const sizes = [0, 1, 4095, 4096, 4097, 1024 * 1024 + 1];
  write(`${directory}/p`, Object.fromEntries(sizes.map((size) => [`d/${size}`, randomBytes(size)])));
  const { snapshot } = await client.save(id, `${directory}/p`);
  const loaded = await client.load(id, `${directory}/q`);
  assert.equal(loaded.snapshot.id, snapshot.id);
  assert.deepEqual(picture(`${directory}/q`), picture(`${directory}/p`));
  assert.deepEqual(snapshot.manifestRoot, manifestRoot(await scan(`${directory}/p`, () => true)));
  assert.equal(
    snapshot.totalBytes,
    sizes.reduce((sum, size) => sum + size, 0),
  );
  assert.equal((await client.sessions.get(id)).headSnapshotId, snapshot.id);
});

scenario('empty-dirs-links-modes', async (t) => {
  const { id } = await fresh();
  const directory = temporary(t);
  const p = write(`${directory}/p`, { 'd/0400': 'a', 'd/0600': 'b', 'd/0755': 'c', 'é/🍪～': 'd', old: 'e', fine: 'f' });
  for (const mode of ['0400', '0600', '0755']) fs.chmodSync(`${p}/d/${mode}`, Number.parseInt(mode, 8));
  fs.mkdirSync(`${p}/empty/inner`, { recursive: true });
  fs.chmodSync(`${p}/empty`, 0o755);
  fs.symlinkSync('../d/0600', `${p}/é/up`);
  fs.symlinkSync('gone', `${p}/dangling`);
  setTime(`${p}/old`, -86_400_000_001_000n);
  setTime(`${p}/fine`, 1_700_000_000_123_456_000n);
  await client.save(id, p);
  await client.load(id, `${directory}/q`);
  const seen = picture(`${directory}/q`);
  assert.deepEqual(seen, picture(p));
  assert.match(seen.old, /^file 644 -86400000001 /);
  assert.match(seen.fine, /^file 644 1700000000123456 /);
  // What cannot be set to the nanosecond here is still told to the nanosecond when the directory is saved again.
  const { snapshot } = await client.save(id, `${directory}/q`);
  const [first, second] = [
    await client.snapshot(id, { withEntries: true, snapshotId: snapshot.parentSnapshotId }),
    await client.snapshot(id, { withEntries: true }),
  ];
  assert.deepEqual(second.entries, first.entries);
  assert.deepEqual(second.manifestRoot, first.manifestRoot);
});

scenario('load-empty-session', async (t) => {
  const { id } = await fresh();
  const directory = temporary(t);
  await refused(id, ['PROFILE_EMPTY'], () => client.load(id, `${directory}/p`));
  assert.deepEqual(fs.readdirSync(directory), []);
});

test('a load makes the directories above its own', async (t) => {
  const { id } = await fresh();
  const home = temporary(t);
  await client.save(id, write(`${home}/p`, { f: 'x' }));
  await client.load(id, `${home}/a/b/c`);
  assert.deepEqual(picture(`${home}/a/b/c`), picture(`${home}/p`));
  assert.deepEqual(fs.readdirSync(`${home}/a/b`).sort(), ['c', 'c.cloakroom.json']);
});

scenario('load-target-exists', async (t) => {
  const { id } = await fresh();
  const directory = temporary(t);
  await client.save(id, write(`${directory}/p`, { f: 'new' }));
  write(`${directory}/q`, { g: 'old' });
  const error = await failure(client.load(id, `${directory}/q`));
  assert.ok(error instanceof LocalError);
  assert.deepEqual([error.reason, Object.keys(picture(`${directory}/q`))], ['TARGET_EXISTS', ['g']]);
  assert.equal(error.message, `${directory}/q exists: choose another directory, or say replace`);
  const known = await failure(client.load(id, `${directory}/p`));
  assert.equal(known.message, `${directory}/p exists (it is the profile of session ${id}): choose another directory, or say replace`);
  await client.load(id, `${directory}/q`, { replace: true });
  assert.deepEqual(picture(`${directory}/q`), picture(`${directory}/p`));
});

scenario('load-never-replaces-unasked', async (t) => {
  const { id } = await fresh();
  const directory = temporary(t);
  await client.save(id, write(`${directory}/p`, { f: 'x' }));
  const progress = () => void write(`${directory}/q`, { mine: 'since' });
  const error = await refused(id, ['TARGET_EXISTS'], () => client.load(id, `${directory}/q`, { progress }));
  assert.ok(error instanceof LocalError);
  assert.equal(fs.readFileSync(`${directory}/q/mine`, 'utf8'), 'since');
  assert.deepEqual(fs.readdirSync(directory).sort(), ['p', 'p.cloakroom.json', 'q']);
});

scenario('capture-rules-apply', async (t) => {
  const { id } = await fresh();
  const directory = temporary(t);
  const kept = { 'Default/Cookies': 'c', 'Default/Cookies-journal': 'j', 'Default/Local Storage/leveldb/000003.log': 'l', 'Local State': '{}' };
  const dropped = {
    'Default/Cache/Cache_Data/data_0': 'x',
    'Default/Local Storage/leveldb/LOCK': '',
    'Default/GPUCache/index': 'x',
    'Default/My Notes/a': 'mine',
  };
  write(`${directory}/p`, { ...kept, ...dropped });
  fs.symlinkSync(`elsewhere-1`, `${directory}/p/SingletonLock`);
  const { snapshot } = await client.save(id, `${directory}/p`, { exclude: ['Default/My Notes'] });
  assert.equal(snapshot.portability.capturePolicy, 'default');
  await client.load(id, `${directory}/q`);
  const files = Object.entries(picture(`${directory}/q`)).filter(([, seen]) => !seen.startsWith('directory'));
  assert.deepEqual(
    files.map(([name]) => name),
    Object.keys(kept).sort(),
  );
});

scenario('live-browser-refused', async (t) => {
  const { id } = await fresh();
  const p = write(`${temporary(t)}/p`, { f: 'x' });
  fs.symlinkSync(`${os.hostname()}-${process.pid}`, `${p}/SingletonLock`);
  const error = await refused(id, ['PROFILE_BUSY'], () => client.save(id, p));
  assert.ok(error instanceof LocalError && error.message.includes(String(process.pid)));
  assert.equal((await client.save(id, p, { force: true })).snapshot.portability.quiesced, false);
  fs.rmSync(`${p}/SingletonLock`);
  assert.equal((await client.save(id, p)).snapshot.portability.quiesced, true);
});

scenario('first-save-without-sidecar', async (t) => {
  const { id } = await fresh();
  const directory = temporary(t);
  const first = await client.save(id, write(`${directory}/p`, { f: 'x', g: 'y' }));
  assert.deepEqual([first.snapshot.parentSnapshotId, first.snapshot.head], ['', true]);
  write(`${directory}/q`, { f: 'X', h: 'z' });
  const error = await refused(id, ['PARENT_NOT_HEAD'], () => client.save(id, `${directory}/q`));
  assert.ok(error instanceof ParentNotHead);
  assert.equal(error.metadata.head_snapshot_id, first.snapshot.id);
  const advice = `there is no ${directory}/q.cloakroom.json that could be read: if the directory was moved, move that with it`;
  assert.ok(error.message.endsWith(`; ${advice}`) && error.help.at(-1)?.description === advice, error.message);
  const second = await client.save(id, `${directory}/q`, { replace: true });
  assert.deepEqual([second.snapshot.parentSnapshotId, second.snapshot.head], [first.snapshot.id, true]);
  await client.load(id, `${directory}/r`);
  assert.deepEqual(picture(`${directory}/r`), picture(`${directory}/q`));
});

scenario('save-into-another-session', async (t) => {
  const [mine, other] = [await fresh(), await fresh()];
  const directory = temporary(t);
  await client.save(mine.id, write(`${directory}/p`, { f: 'mine' }));
  const { snapshot: former } = await client.save(other.id, write(`${directory}/q`, { f: 'other' }));
  await client.load(mine.id, `${directory}/r`);
  const error = await refusedHere(t, other.id, 'OTHER_SESSION', (by) => by.save(other.id, `${directory}/r`));
  assert.ok(error.message.includes(`session ${mine.id} `), error.message);
  const { snapshot } = await client.save(other.id, `${directory}/r`, { replace: true });
  assert.deepEqual([snapshot.parentSnapshotId, snapshot.sessionId, snapshot.head], [former.id, other.id, true]);
  await client.load(other.id, `${directory}/s`);
  assert.deepEqual(picture(`${directory}/s`), picture(`${directory}/p`));
  // From now on it is the other's.
  assert.equal((await client.save(other.id, `${directory}/r`)).snapshot.parentSnapshotId, snapshot.id);
});

scenario('save-nothing-refused', async (t) => {
  const { id } = await fresh();
  const directory = temporary(t);
  fs.mkdirSync(`${directory}/empty`);
  const caches = write(`${directory}/caches`, { 'GrShaderCache/data_0': 'x', 'component_crx_cache/y': 'y' });
  for (const nothing of [`${directory}/empty`, caches]) {
    const error = await refusedHere(t, id, 'NOTHING_TO_SAVE', (by) => by.save(id, nothing));
    assert.ok(error.message.includes(`nothing in ${nothing} `) && error.message.includes('policy default'), error.message);
  }
  const { snapshot } = await client.save(id, caches, { force: true });
  assert.equal(snapshot.entryCount, 0);
  assert.deepEqual((await client.snapshot(id, { withEntries: true })).entries, []);
});

scenario('replace-after-lost-race', async (t) => {
  const { id } = await fresh();
  const directory = temporary(t);
  await client.save(id, write(`${directory}/p`, { f: 'x', g: 'same' }));
  await client.load(id, `${directory}/q`);
  await client.load(id, `${directory}/r`);
  fs.writeFileSync(`${directory}/q/f`, 'first');
  fs.writeFileSync(`${directory}/r/f`, 'second');
  const { snapshot: first } = await client.save(id, `${directory}/q`);
  await refused(id, ['PARENT_NOT_HEAD'], () => client.save(id, `${directory}/r`));
  const { snapshot: second } = await client.save(id, `${directory}/r`, { replace: true });
  assert.deepEqual([second.head, second.parentSnapshotId], [true, first.id]);
  const listed = [];
  for await (const one of client.snapshots(id)) listed.push(one.id);
  assert.deepEqual(listed.slice(0, 2), [second.id, first.id]);
  await client.load(id, `${directory}/s`);
  assert.deepEqual(picture(`${directory}/s`), picture(`${directory}/r`));
});

scenario('delta-save-bytes', async (t) => {
  const { id } = await fresh();
  const directory = temporary(t);
  const content = randomBytes(8 * 1024 * 1024);
  await client.save(id, write(`${directory}/p`, { f: content }));
  randomBytes(4096).copy(content, 1000 * 4096);
  fs.writeFileSync(`${directory}/p/f`, content);
  const { wireBytes } = await client.save(id, `${directory}/p`);
  assert.ok(wireBytes > 4096 && wireBytes < 64 * 1024, `${wireBytes} bytes`);
  await client.load(id, `${directory}/q`);
  assert.deepEqual(fs.readFileSync(`${directory}/q/f`), content);
});

scenario('idle-save-no-content', async (t) => {
  const { id } = await fresh();
  const directory = temporary(t);
  const first = await client.save(id, write(`${directory}/p`, { 'd/f': randomBytes(10_000), g: 'y' }));
  const idle = await client.save(id, `${directory}/p`);
  assert.equal(idle.messages, 2, 'only the begin and the end');
  assert.deepEqual(idle.snapshot.manifestRoot, first.snapshot.manifestRoot);
  await client.load(id, `${directory}/q`);
  const loaded = await client.save(id, `${directory}/q`);
  assert.equal(loaded.messages, 2);
  assert.deepEqual(loaded.snapshot.manifestRoot, first.snapshot.manifestRoot);
});

scenario('moved-file-copies', async (t) => {
  const { id } = await fresh();
  const directory = temporary(t);
  await client.save(id, write(`${directory}/p`, { old: randomBytes(1024 * 1024) }));
  fs.renameSync(`${directory}/p/old`, `${directory}/p/new`);
  const { wireBytes } = await client.save(id, `${directory}/p`);
  assert.ok(wireBytes < 16 * 1024, `${wireBytes} bytes`);
  await client.load(id, `${directory}/q`);
  assert.deepEqual(picture(`${directory}/q`), picture(`${directory}/p`));
});

scenario('delta-load', async (t) => {
  const { id } = await fresh();
  const directory = temporary(t);
  const content = randomBytes(1024 * 1024);
  const first = await client.save(id, write(`${directory}/p`, { 'd/changes': content, 'd/stays': randomBytes(500_000), goes: 'x' }));
  await client.load(id, `${directory}/have`);
  randomBytes(4096).copy(content, 7 * 4096);
  fs.writeFileSync(`${directory}/p/d/changes`, content);
  fs.rmSync(`${directory}/p/goes`);
  fs.writeFileSync(`${directory}/p/comes`, 'y');
  await client.save(id, `${directory}/p`);
  const former = picture(`${directory}/have`);
  const loaded = await client.load(id, `${directory}/q`, { have: `${directory}/have` });
  assert.deepEqual([loaded.baseSnapshotId, loaded.contentBytes], [first.snapshot.id, 4096 + 1]);
  await client.load(id, `${directory}/full`);
  assert.deepEqual(picture(`${directory}/q`), picture(`${directory}/full`));
  assert.deepEqual(picture(`${directory}/q`), picture(`${directory}/p`));
  assert.deepEqual(picture(`${directory}/have`), former);
  fs.appendFileSync(`${directory}/have/d/stays`, 'more');
  assert.deepEqual(picture(`${directory}/q`), picture(`${directory}/full`), 'the two directories share no file');
});

scenario('delta-load-dirty-have', async (t) => {
  const { id } = await fresh();
  const directory = temporary(t);
  await client.save(id, write(`${directory}/p`, { f: randomBytes(100_000), g: 'y' }));
  await client.load(id, `${directory}/have`);
  fs.appendFileSync(`${directory}/have/f`, 'dirt');
  fs.appendFileSync(`${directory}/p/g`, 'more');
  await client.save(id, `${directory}/p`);
  await client.load(id, `${directory}/q`, { have: `${directory}/have` });
  assert.deepEqual(picture(`${directory}/q`), picture(`${directory}/p`));
});

scenario('big-file', async (t) => {
  const { id } = await fresh();
  const directory = temporary(t);
  const [random, zeros] = [randomBytes(40 * 1024 * 1024), Buffer.alloc(40 * 1024 * 1024)];
  const { wireBytes } = await client.save(id, write(`${directory}/p`, { random, zeros }), { compress: true });
  assert.ok(wireBytes < 42 * 1024 * 1024, 'zeros are packed');
  await client.load(id, `${directory}/q`);
  assert.ok(fs.readFileSync(`${directory}/q/random`).equals(random));
  assert.ok(fs.readFileSync(`${directory}/q/zeros`).equals(zeros));
});

scenario('many-small-files', async (t) => {
  const { id } = await fresh();
  const directory = temporary(t);
  write(`${directory}/p`, Object.fromEntries(Array.from({ length: 2000 }, (_, at) => [`d${at % 20}/f${at}`, randomBytes(100)])));
  const { messages } = await client.save(id, `${directory}/p`);
  assert.ok(messages < 20, `${messages} messages`);
  await client.load(id, `${directory}/q`);
  assert.deepEqual(picture(`${directory}/q`), picture(`${directory}/p`));
});

scenario('progress', async (t) => {
  const { id } = await fresh();
  const directory = temporary(t);
  /** @type {{ done: number, total: number }[]} */
  let told = [];
  const progress = (/** @type {{ done: number, total: number }} */ moved) => told.push(moved);
  const sound = (/** @type {number} */ total) => {
    assert.ok(told.length > 3);
    assert.ok(told.every((moved, at) => moved.total === total && (at === 0 || moved.done > told[at - 1].done)));
    assert.equal(told.at(-1)?.done, total);
    told = [];
  };
  await client.save(id, write(`${directory}/p`, { f: randomBytes(3_000_000), g: 'y' }), { progress });
  sound(3_000_001);
  await client.load(id, `${directory}/q`, { progress });
  sound(3_000_001);
});

scenario('parent-not-head', async (t) => {
  const { id } = await fresh();
  const directory = temporary(t);
  await client.save(id, write(`${directory}/p`, { f: 'x' }));
  await client.load(id, `${directory}/q`);
  await client.load(id, `${directory}/r`);
  fs.writeFileSync(`${directory}/q/f`, 'first');
  fs.writeFileSync(`${directory}/r/f`, 'second');
  const { snapshot } = await client.save(id, `${directory}/q`);
  const error = await refused(id, ['PARENT_NOT_HEAD'], () => client.save(id, `${directory}/r`));
  assert.ok(error instanceof ParentNotHead);
  assert.ok(Object.values(error.metadata).includes(snapshot.id), JSON.stringify(error.metadata));
});

scenario('upload-id-repeat', async (t) => {
  const { id } = await fresh();
  const directory = temporary(t);
  await client.save(id, write(`${directory}/p`, { f: 'x' }));
  const before = fs.readFileSync(sidecarPath(`${directory}/p`));
  fs.writeFileSync(`${directory}/p/f`, 'changed');
  const uploadId = randomUUID();
  const first = await client.save(id, `${directory}/p`, { uploadId });
  fs.writeFileSync(sidecarPath(`${directory}/p`), before);
  const second = await client.save(id, `${directory}/p`, { uploadId });
  assert.deepEqual([second.snapshot.id, second.uploadId], [first.snapshot.id, uploadId]);
  const status = await client.saveStatus(id, uploadId);
  assert.deepEqual([status.state, status.snapshot?.id], ['COMMITTED', first.snapshot.id]);
  assert.deepEqual((await client.saveStatus(id, randomUUID())).state, 'UNKNOWN');
});

scenario('torn-stream-changes-nothing', async (t) => {
  const { id } = await fresh();
  const directory = temporary(t);
  const p = write(`${directory}/p`, { f: randomBytes(600_000) });
  const messages = await rawSave(id, p);
  assert.ok(messages.length >= 5);
  for (let count = 1; count < messages.length; count++) {
    const uploadId = randomUUID();
    const cut = [{ begin: { ...messages[0].begin, uploadId } }, ...messages.slice(1, count)];
    await refused(id, ['STREAM_TRUNCATED'], () => raw(cut));
    await refused(id, [''], () => raw(cut, 'cancel'));
    assert.equal((await client.saveStatus(id, uploadId)).state, 'UNKNOWN');
  }
  await raw(messages);
  await client.load(id, `${directory}/q`);
  assert.deepEqual(picture(`${directory}/q`), picture(p));
});

scenario('wrong-digest-refused', async (t) => {
  const { id } = await fresh();
  const messages = await rawSave(id, write(`${temporary(t)}/p`, { f: randomBytes(5000) }));
  const data = Buffer.from(messages[1].records.data);
  data[4999] ^= 1;
  const spoilt = [messages[0], { records: { ...messages[1].records, data } }, messages[2]];
  await refused(id, ['DIGEST_MISMATCH'], () => raw(spoilt));
  await refused(id, ['DIGEST_MISMATCH'], () => raw([...messages.slice(0, -1), { end: { manifestRoot: Buffer.alloc(32, 7) } }]));
});

scenario('second-begin-refused', async (t) => {
  const { id } = await fresh();
  const messages = await rawSave(id, write(`${temporary(t)}/p`, { f: 'x' }));
  await refused(id, ['STREAM_PROTOCOL'], () => raw([messages[0], ...messages]));
});

scenario('unknown-parent-refused', async (t) => {
  const { id } = await fresh();
  const messages = await rawSave(id, write(`${temporary(t)}/p`, { f: 'x' }));
  const begin = { ...messages[0].begin, parentSnapshotId: 'ab'.repeat(16) };
  await refused(id, ['SNAPSHOT_NOT_FOUND', 'PARENT_NOT_HEAD'], () => raw([{ begin }, ...messages.slice(1)]));
});

scenario('path-escape-refused', async (t) => {
  const { id } = await fresh();
  const p = write(`${temporary(t)}/p`, { f: '' });
  for (const bad of [
    { path: '../x' },
    { path: '/x' },
    { path: 'a/../x' },
    { path: 'a\0b' },
    { path: 'a\\b' },
    { path: 'l', kind: 'ENTRY_KIND_SYMLINK', symlinkTarget: '../x', size: 4, mtimeNs: '0', root: Buffer.alloc(0) },
  ]) {
    const messages = await rawSave(id, p);
    Object.assign(messages[1].records.entries[0], bad);
    await refused(id, ['PATH_INVALID'], () => raw(messages));
  }
});

scenario('symlink-out-refused', async (t) => {
  const { id } = await fresh();
  const p = write(`${temporary(t)}/p`, { f: 'x' });
  fs.symlinkSync('/etc/passwd', `${p}/leak`);
  const { connection } = /** @type {any} */ (client);
  const upload = t.mock.method(connection, 'upload');
  const error = await refused(id, ['PATH_INVALID'], () => client.save(id, p));
  assert.ok(error instanceof LocalError && error.message.includes('leak'), error.message);
  assert.equal(upload.mock.callCount(), 0);
});

scenario('load-at-snapshot', async (t) => {
  const { id } = await fresh();
  const directory = temporary(t);
  const first = await client.save(id, write(`${directory}/p`, { f: 'first' }));
  fs.writeFileSync(`${directory}/p/f`, 'second');
  await client.save(id, `${directory}/p`);
  await client.load(id, `${directory}/q`, { snapshotId: first.snapshot.id });
  await client.load(id, `${directory}/r`);
  assert.deepEqual(
    ['q', 'r'].map((name) => fs.readFileSync(`${directory}/${name}/f`, 'utf8')),
    ['first', 'second'],
  );
});

scenario('snapshots-and-entries', async (t) => {
  const { id } = await fresh();
  const p = write(`${temporary(t)}/p`, { 'a/b': 'x', 'a-b': 'y', é: 'z' });
  fs.symlinkSync('a', `${p}/l`);
  const first = await client.save(id, p);
  fs.writeFileSync(`${p}/a/c`, 'new');
  const second = await client.save(id, p);
  const listed = [];
  for await (const { id: snapshotId, head, sequence } of client.snapshots(id, { pageSize: 1 })) listed.push([snapshotId, head, sequence]);
  assert.deepEqual(listed, [
    [second.snapshot.id, true, 2],
    [first.snapshot.id, false, 1],
  ]);
  const { entries, ...snapshot } = await client.snapshot(id, { withEntries: true });
  assert.deepEqual(snapshot, second.snapshot);
  assert.deepEqual(
    entries?.map(({ path, kind }) => `${kind} ${path}`),
    ['directory a', 'file a-b', 'file a/b', 'file a/c', 'link l', 'file é'],
  );
  assert.equal(entries?.find(({ kind }) => kind === 'link')?.target, 'a');
  assert.equal((await client.snapshot(id, { snapshotId: first.snapshot.id })).entries, undefined);
});

scenario('snapshot-not-found', async (t) => {
  const { id } = await fresh();
  const directory = temporary(t);
  await client.save(id, write(`${directory}/p`, { f: 'x' }));
  await refused(id, ['SNAPSHOT_NOT_FOUND'], () => client.load(id, `${directory}/q`, { snapshotId: 'ab'.repeat(16) }));
  assert.deepEqual(fs.readdirSync(directory).sort(), ['p', 'p.cloakroom.json']);
});

scenario('save-after-killed-load', async (t) => {
  const { id } = await fresh();
  const home = temporary(t);
  const p = `${home}/p`;
  await client.save(id, write(`${home}/source`, { f: 'logged in' }));
  for (const leftover of [
    '.p.cloakroom-load/former',
    '.p.cloakroom-load/replaced',
    '.p.loading-0a1b2c3d/aside',
    'p.cloakroom-00c0ffee-4711-deadbeef/old',
  ]) {
    await client.load(id, p, { replace: true });
    fs.rmSync(sidecarPath(p));
    fs.rmSync(p, { recursive: true });
    write(`${home}/${leftover}`, { f: 'former' });
    const isRefused = async () => {
      const error = await refused(id, ['LOAD_UNFINISHED'], () => client.save(id, p));
      assert.ok(error instanceof LocalError && error.message.includes(`${home}/${leftover}`), error.message);
    };
    await isRefused();
    write(p, { f: 'fresh' });
    await isRefused();
    await client.load(id, p, { replace: true });
    assert.equal(fs.readFileSync(`${p}/f`, 'utf8'), 'logged in');
    // There may be another of another client, which is stale as soon as there is a sidecar.
    write(`${home}/${leftover}`, { f: 'former' });
    fs.writeFileSync(`${p}/since`, leftover);
    const { snapshot } = await client.save(id, p);
    assert.equal((await client.sessions.get(id)).headSnapshotId, snapshot.id);
    await client.load(id, `${home}/q`, { replace: true });
    assert.equal(fs.readFileSync(`${home}/q/since`, 'utf8'), leftover);
    fs.rmSync(`${home}/${leftover.split('/')[0]}`, { recursive: true });
  }
  // What only looks like a leftover is none.
  for (const other of [
    '.pp.cloakroom-load/former',
    '.p.cloakroom-load/other',
    '.pp.loading-x/aside',
    'p.cloakroom-mine/old',
    'p.cloakroom-0-0-0/new',
  ])
    fs.mkdirSync(`${home}/${other}`, { recursive: true });
  fs.writeFileSync(`${home}/.p.loading-file`, '');
  fs.rmSync(sidecarPath(p));
  await client.save(id, p, { replace: true });
});

// --- Undo, keep, compare

/**
 * @param {import('node:test').TestContext} t
 * @returns {Promise<{ id: string, home: string, p: string, good: string, bad: string }>} a session with two snapshots of one directory, the second one bad
 */
async function two(t) {
  const { id } = await fresh();
  const home = temporary(t);
  const p = write(`${home}/p`, { 'Local State': '{}', 'Default/Cookies': cookies(home, { sid: 'good-secret', old: 'same' }) });
  const state = (/** @type {string} */ of) => ({ storageState: { cookies: [], origins: [], of } });
  const { snapshot: good } = await client.save(id, p, state('good'));
  write(p, { 'Default/Cookies': cookies(home, { sid: 'bad-secret', new: 'same' }), 'Default/added': Buffer.alloc(5000, 7) });
  const { snapshot: bad } = await client.save(id, p, state('bad'));
  return { id, home, p, good: good.id, bad: bad.id };
}

scenario('undo-and-redo', async (t) => {
  const { id, home, p, good, bad } = await two(t);
  const { until } = await listen(t, { selectors: [{ sessionId: id }] });
  const restored = await client.restore(id, { requestId: 'undo' });
  assert.deepEqual([restored.snapshot.id, restored.snapshot.head, restored.formerHeadSnapshotId], [good, true, bad]);
  const [change] = await until((heard) => heard.length > 0);
  assert.deepEqual([change.kind, change.snapshotId, change.revision], ['PROFILE_RESTORED', good, restored.revision]);
  assert.equal((await client.sessions.get(id)).etag, restored.sessionEtag);
  assert.equal((await client.sessions.storageState.get(id)).storageState.of, 'good');
  const loaded = await client.load(id, p, { replace: true });
  assert.deepEqual([loaded.baseSnapshotId, loaded.snapshot.id], [bad, good]);
  await client.load(id, `${home}/full`);
  assert.deepEqual(picture(p), picture(`${home}/full`));

  assert.equal((await client.restore(id, { requestId: 'undo' })).revision, restored.revision, 'a repetition');
  await refused(id, ['PARENT_NOT_HEAD'], () => client.restore(id, { headSnapshotId: bad }));
  await refused(id, ['ETAG_MISMATCH'], () => client.restore(id, { etag: '"1"' }));
  await refused(id, ['SNAPSHOT_NOT_FOUND'], () => client.restore(id));
  const redone = await client.restore(id, { snapshotId: restored.formerHeadSnapshotId });
  assert.deepEqual([redone.snapshot.id, redone.formerHeadSnapshotId], [bad, good]);
  assert.equal((await client.sessions.get(id)).headSnapshotId, bad);
});

scenario('pin-delete-undelete', async (t) => {
  const { id, good, bad } = await two(t);
  const list = async (/** @type {any} */ options) => {
    const ids = [];
    for await (const one of client.snapshots(id, options)) ids.push(one.id);
    return ids;
  };
  const pinned = await client.pin(id, { snapshotId: good, note: 'the good one' });
  assert.deepEqual([pinned.snapshot.id, pinned.snapshot.pinNote], [good, 'the good one']);
  assert.ok(pinned.snapshot.pinTime && Math.abs(pinned.snapshot.pinTime.getTime() - Date.now()) < 60_000);
  for (const held of [good, bad]) {
    const error = await refused(id, ['SNAPSHOT_HELD'], () => client.deleteSnapshot(id, held));
    assert.ok(error instanceof Refused && error.metadata.held_by === (held === good ? 'pin' : 'head'));
  }
  const unpinned = await client.unpin(id, { snapshotId: good });
  assert.deepEqual([unpinned.snapshot.pinTime, unpinned.snapshot.deleteTime], [undefined, undefined]);
  const { until } = await listen(t, { selectors: [{ sessionId: id }] });
  const { snapshot: deleted, revision } = await client.deleteSnapshot(id, good);
  assert.ok(deleted.deleteTime && deleted.expireTime && deleted.expireTime > deleted.deleteTime);
  const [change] = await until((heard) => heard.length > 0);
  assert.deepEqual([change.kind, change.snapshotId, change.revision], ['SNAPSHOT_CHANGED', good, revision]);
  assert.deepEqual([await list({}), await list({ showDeleted: true })], [[bad], [bad, good]]);
  for (const call of [() => client.snapshot(id, { snapshotId: good }), () => client.restore(id, { snapshotId: good })]) {
    const error = await refused(id, ['SNAPSHOT_DELETED'], call);
    assert.ok(error instanceof SnapshotDeleted, `${error}`);
  }
  const { snapshot: revived } = await client.undeleteSnapshot(id, good);
  assert.deepEqual([revived.id, revived.deleteTime], [good, undefined]);
  assert.deepEqual(await list({}), [bad, good]);
});

scenario('diff-names-files-and-cookies', async (t) => {
  const { id, good, bad } = await two(t);
  const diff = await client.diff(id);
  assert.deepEqual([diff.snapshot.id, diff.base?.id], [bad, good]);
  const files = diff.differences.filter(({ after }) => after?.kind === 'file');
  assert.deepEqual(
    files.map(({ kind, before, after, changedBytes }) => [kind, before?.path, after?.path, after?.size, changedBytes]),
    [
      ['CHANGED', 'Default/Cookies', 'Default/Cookies', files[0].before?.size, files[0].changedBytes],
      ['ADDED', undefined, 'Default/added', 5000, 5000],
    ],
  );
  assert.ok(files[0].changedBytes > 0 && diff.changedBytes === files[0].changedBytes + 5000);
  assert.deepEqual([diff.added, diff.removed, diff.changed], [1, 0, diff.differences.length - 1]);
  const [{ path, comparison, truncated, cookies: told }, ...others] = diff.cookies;
  assert.deepEqual([path, comparison, truncated, others], ['Default/Cookies', 'KNOWN', false, []]);
  assert.deepEqual(
    told.map(({ kind, host, name, valueChanged }) => [kind, host, name, valueChanged]),
    [
      ['ADDED', 'login.test', 'new', false],
      ['REMOVED', 'login.test', 'old', false],
      ['CHANGED', 'login.test', 'sid', true],
    ],
  );
  assert.ok(!inspect(diff, { depth: Infinity }).includes('secret'));
  const paged = await client.diff(id, { baseSnapshotId: good, snapshotId: bad, pageSize: 1 });
  assert.deepEqual(paged.differences, diff.differences);
  const same = await client.diff(id, { baseSnapshotId: bad, snapshotId: bad });
  assert.deepEqual([same.differences, same.cookies, same.added + same.removed + same.changed], [[], [], 0]);
  const all = await client.diff(id, { snapshotId: good });
  assert.deepEqual([all.base, all.added], [undefined, 3], 'the first one came from nothing');
});

// --- Watch

scenario('watch-sees-changes', async (t) => {
  const businessId = `b-${randomUUID()}`;
  const { until } = await listen(t, { selectors: [{ businessId }] });
  const { id } = await fresh({ businessId });
  await client.sessions.update(id, { labels: { a: 'b' } });
  await client.sessions.transition(id, 'ACTIVE', { reason: 'logged in' });
  await client.sessions.storageState.put(id, { cookies: [], origins: [] });
  const { snapshot } = await client.save(id, write(`${temporary(t)}/p`, { f: 'x' }));
  await client.sessions.delete(id);
  const changes = await until((heard) => heard.length >= 6);
  assert.deepEqual(
    changes.map(({ kind }) => kind),
    ['SESSION_CREATED', 'SESSION_UPDATED', 'SESSION_TRANSITIONED', 'STORAGE_STATE_PUT', 'PROFILE_SAVED', 'SESSION_DELETED'],
  );
  assert.ok(changes.every(({ sessionId, revision }, at) => sessionId === id && (at === 0 || revision > changes[at - 1].revision)));
  assert.deepEqual(
    [changes[2].previousState, changes[2].state, changes[2].reason, changes[4].snapshotId],
    ['PENDING', 'ACTIVE', 'logged in', snapshot.id],
  );
});

scenario('watch-selectors', async (t) => {
  const email = `ann.${randomUUID()}@example.com`;
  const wanted = await fresh({ email });
  const other = await fresh();
  const watches = [];
  for (const selector of /** @type {import('../src/index.js').Selector[]} */ ([
    { businessId: wanted.businessId },
    { email },
    { sessionId: wanted.id },
    { businessId: wanted.businessId, kinds: ['SESSION_DELETED'] },
  ])) {
    watches.push(await listen(t, { selectors: [selector] }));
  }
  for (const { id } of [other, wanted]) {
    await client.sessions.update(id, { labels: { a: 'b' } });
    await client.sessions.delete(id);
  }
  for (const [at, { until }] of watches.entries()) {
    const changes = await until((heard) => heard.some(({ kind }) => kind === 'SESSION_DELETED'));
    assert.deepEqual(
      changes.map(({ kind, sessionId }) => [kind, sessionId]),
      [
        ['SESSION_UPDATED', wanted.id],
        ['SESSION_DELETED', wanted.id],
      ].slice(at === 3 ? 1 : 0),
    );
  }
});

scenario('watch-resume-no-gap-no-dup', async () => {
  const { id } = await fresh();
  const first = client.watch({ selectors: [{ sessionId: id }] });
  /** @type {number[]} */
  const made = [];
  /** @type {number[]} */
  const heard = [];
  const change = async (/** @type {number} */ count) => {
    for (let at = 0; at < count; at++) made.push((await client.sessions.update(id, { labels: { at: String(made.length) } })).revision);
  };
  /** @type {Promise<void> | undefined} */
  let making;
  /** @type {Buffer | undefined} */
  let token;
  for await (const event of first) {
    making ??= change(40);
    token = event.resumeToken;
    if (event.kind === 'changes') heard.push(...event.changes.map(({ revision }) => revision));
    if (heard.length >= 15) break;
  }
  await making;
  for await (const event of client.watch({ selectors: [{ sessionId: id }], resumeToken: token })) {
    assert.notEqual(event.kind, 'reset');
    if (event.kind === 'changes') heard.push(...event.changes.map(({ revision }) => revision));
    if (heard.length >= 40) break;
  }
  assert.deepEqual(heard, made);
});

scenario('watch-daemon-killed', async (t) => {
  const mortal = new Daemon();
  t.after(() => mortal.remove());
  await mortal.start();
  const own = new Client(mortal.target);
  t.after(() => own.close());
  const { id } = await own.sessions.create({ businessId: 'b' });
  const { changes, heard, until } = await listen(t, { selectors: [{ sessionId: id }], bookmarkIntervalSeconds: 1 }, own);
  /** @type {number[]} */
  const made = [];
  for (let at = 0; at < 40; at++) {
    if (at === 20) {
      await mortal.stop('SIGKILL');
      await mortal.start();
    }
    made.push((await own.sessions.update(id, { labels: { at: String(at) } })).revision);
  }
  await until((all) => all.some(({ revision }) => revision === made.at(-1)));
  const revisions = changes().map(({ revision }) => revision);
  assert.equal(new Set(revisions).size, revisions.length, 'none twice');
  const resets = heard.filter(({ kind }) => kind === 'reset');
  if (resets.length === 0) assert.deepEqual(revisions, made);
  else assert.equal((await own.sessions.get(id)).labels.at, '39');
});

scenario('watch-bookmarks', async (t) => {
  const { heard } = await listen(t, { selectors: [{ businessId: `b-${randomUUID()}` }], bookmarkIntervalSeconds: 1 });
  await sleep(3500);
  const bookmarks = heard.filter(({ kind }) => kind === 'bookmark');
  assert.ok(bookmarks.length >= 2 && bookmarks.length <= 5, `${bookmarks.length} in 3.5 s`);
  for (const { resumeToken } of bookmarks) assert.ok(resumeToken.length > 0 && resumeToken.length <= 512);
  assert.equal(heard.length, bookmarks.length);
});

scenario('watch-reset', async (t) => {
  const first = new Daemon();
  t.after(() => first.remove());
  await first.start();
  const before = new Client(first.target);
  t.after(() => before.close());
  const { opened } = await listen(t, {}, before);
  before.close();
  await first.stop();
  const second = new Daemon();
  t.after(() => second.remove());
  fs.cpSync(first.directory, second.directory, { recursive: true });
  await second.start();
  const restored = new Client(second.target);
  t.after(() => restored.close());
  const kinds = [];
  for await (const event of restored.watch({ resumeToken: opened.resumeToken })) {
    kinds.push(event.kind);
    if (kinds.length === 1) continue;
    assert.ok(
      event.kind === 'reset' && event.reason === 'HISTORY_CHANGED' && event.spreadSeconds >= 0 && event.resumeToken.length > 0,
      JSON.stringify(event),
    );
    break;
  }
  assert.deepEqual(kinds, ['opened', 'reset']);
});

scenario('watch-after-revision', async (t) => {
  const { id } = await fresh();
  const { revision } = await client.sessions.update(id, { labels: { at: '1' } });
  const later = [await client.sessions.update(id, { labels: { at: '2' } }), await client.sessions.update(id, { labels: { at: '3' } })];
  const { until } = await listen(t, { selectors: [{ sessionId: id }], afterRevision: revision });
  const changes = await until((heard) => heard.length >= 2);
  assert.deepEqual(
    changes.map((change) => change.revision),
    later.map((session) => session.revision),
  );
});

scenario('watch-bad-token', async () => {
  const begin = Date.now();
  const error = await failure(
    client
      .watch({ resumeToken: Buffer.from('this is no token') })
      [Symbol.asyncIterator]()
      .next(),
  );
  assert.equal(error.reason, 'INVALID_RESUME_TOKEN');
  assert.ok(Date.now() - begin < 3000);
});

scenario('invalidate', async (t) => {
  const businessId = `b-${randomUUID()}`;
  const ids = [(await fresh({ businessId })).id, (await fresh({ businessId })).id];
  await fresh();
  const { until, changes } = await listen(t, { selectors: [{ businessId }] });
  assert.equal((await client.invalidate([{ businessId }], { validateOnly: true })).sessionCount, 2);
  const { sessionCount, revision } = await client.invalidate([{ businessId }], { reason: 'keys rotated' });
  assert.equal(sessionCount, 2);
  await until((heard) => heard.length >= 2);
  assert.deepEqual(
    changes()
      .map(({ kind, reason, sessionId }) => [kind, reason, sessionId])
      .sort(),
    ids.map((id) => ['INVALIDATED', 'keys rotated', id]).sort(),
  );
  assert.ok(changes().every((change) => change.revision <= revision));
});

test('every scenario of the shared list has its test, and no other', () => {
  // Those of mounts are in `mount.test.js`.
  const sections = parts().filter(([title]) => title !== 'Mount');
  const listed = sections.flatMap(([, names]) => names);
  assert.ok(listed.length > 40);
  assert.deepEqual(scenarios, listed);
});
