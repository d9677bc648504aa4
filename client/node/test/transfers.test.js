// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';

import { LoadFailed, NotFound, Unavailable } from '../src/index.js';
import { scan } from '../src/profiles.js';
import { manifestRoot, toWire } from '../src/tree.js';
import { failure } from '../support/failure.js';
import { peer, refusal } from '../support/peer.js';
import { picture, temporary } from '../support/trees.js';

const head = 'ab'.repeat(16);
const snapshot = (/** @type {Buffer} */ root, id = head) => ({ id, sessionId: 's', manifestRoot: root, revision: 9 });

/**
 * @param {string} directory made here
 * @param {Record<string, string | Buffer>} files
 */
function write(directory, files) {
  for (const [name, content] of Object.entries(files)) {
    fs.mkdirSync(`${directory}/${name}`.replace(/\/[^/]*$/, ''), { recursive: true });
    fs.writeFileSync(`${directory}/${name}`, content);
  }
}

/**
 * A daemon's profile service that takes saves, and answers the nth one as the nth script says.
 *
 * @param {{ after(fn: () => void): void }} t
 * @param {((request: any, answer: Function) => void)[]} answers the last one is repeated
 * @param {(request: any, answer: Function) => void} [status]
 */
async function saver(t, answers, status = (_, answer) => answer(null, { state: 'SAVE_STATE_UNKNOWN' })) {
  /** @type {any[]} */
  const saves = [];
  /** @type {any[]} */
  const asked = [];
  const saveProfile = (/** @type {any} */ call, /** @type {Function} */ answer) => {
    /** @type {any[]} */
    const messages = [];
    saves.push(messages);
    const script = answers[Math.min(saves.length, answers.length) - 1];
    call.on('data', (/** @type {any} */ message) => messages.push(message));
    call.on('end', () => script(messages, answer));
  };
  const getSaveStatus = (/** @type {any} */ { request }, /** @type {Function} */ answer) => {
    asked.push(request);
    status(request, answer);
  };
  const { client } = await peer(t, { ProfileService: { saveProfile, getSaveStatus } });
  return { client, saves, asked };
}

const accept = (/** @type {any[]} */ messages, /** @type {Function} */ answer) =>
  answer(null, { snapshot: snapshot(messages.at(-1).end.manifestRoot), revision: 9, sessionEtag: 'e' });
const lose = (/** @type {any[]} */ _, /** @type {Function} */ answer) => answer(refusal('UNAVAILABLE', 'SHUTTING_DOWN'));

test('a save whose answer is lost is asked after, and not sent again when it was done', async (t) => {
  const directory = temporary(t);
  write(`${directory}/p`, { 'Default/Cookies': 'c' });
  const done = snapshot(manifestRoot(await scan(`${directory}/p`, () => true)));
  const { client, saves, asked } = await saver(t, [lose], (_, answer) =>
    answer(null, { state: 'SAVE_STATE_COMMITTED', snapshot: done, revision: 10 }),
  );
  const saved = await client.save('s', `${directory}/p`);
  assert.deepEqual([saved.snapshot.id, saved.revision, saved.sessionEtag, saves.length], [head, 9, '', 1]);
  assert.equal(asked[0].uploadId, saves[0][0].begin.uploadId);
  assert.equal(JSON.parse(fs.readFileSync(`${directory}/p.cloakroom.json`, 'utf8')).snapshot_id, head);
});

test('a save whose upload id made another snapshot is not taken for that, whether its answer is lost or not', async (t) => {
  const directory = temporary(t);
  write(`${directory}/p`, { 'Default/Cookies': 'c' });
  const other = { state: 'SAVE_STATE_COMMITTED', snapshot: snapshot(Buffer.alloc(32, 1)), revision: 10 };
  const refuse = (/** @type {any[]} */ _, /** @type {Function} */ answer) => answer(refusal('INVALID_ARGUMENT', 'REQUEST_ID_REUSED'));
  const { client, saves } = await saver(t, [lose, refuse], (_, answer) => answer(null, other));
  const error = await failure(client.save('s', `${directory}/p`, { uploadId: 'of-another-save-before' }));
  assert.deepEqual([error.reason, saves.length], ['REQUEST_ID_REUSED', 2]);
  const { client: careless } = await saver(t, [(_, answer) => answer(null, other)]);
  assert.equal((await failure(careless.save('s', `${directory}/p`, { uploadId: 'of-another-save-before' }))).reason, 'REQUEST_ID_REUSED');
  assert.deepEqual(fs.readdirSync(directory), ['p']);
});

test('a save that never arrived is sent again under its upload id, and progress does not go back', async (t) => {
  const directory = temporary(t);
  write(`${directory}/p`, { 'Default/Cookies': Buffer.alloc(1024 * 1024, 'x') });
  const { client, saves } = await saver(t, [lose, lose, accept]);
  /** @type {number[]} */
  const told = [];
  await client.save('s', `${directory}/p`, { progress: ({ done, total }) => assert.equal(total, 1024 * 1024) ?? told.push(done) });
  assert.equal(saves.length, 3);
  assert.equal(new Set(saves.map(([{ begin }]) => begin.uploadId)).size, 1);
  assert.deepEqual(
    told,
    [...new Set(told)].sort((a, b) => a - b),
  );
  assert.equal(told.at(-1), 1024 * 1024);
});

test('a save is not tried for ever, and a refusal not at all', async (t) => {
  const directory = temporary(t);
  write(`${directory}/p`, { f: 'x' });
  const { client, saves } = await saver(t, [lose]);
  assert.ok((await failure(client.save('s', `${directory}/p`))) instanceof Unavailable);
  assert.equal(saves.length, 5);
  assert.equal(fs.existsSync(`${directory}/p.cloakroom.json`), false);
  const { client: other, saves: once } = await saver(t, [(_, answer) => answer(refusal('NOT_FOUND', 'SESSION_NOT_FOUND'))]);
  assert.ok((await failure(other.save('s', `${directory}/p`))) instanceof NotFound);
  assert.equal(once.length, 1);
});

test('what the daemon has no room for is tried again when it says', async (t) => {
  const directory = temporary(t);
  write(`${directory}/p`, { f: 'x' });
  /** @type {Record<string, number[]>} */
  const calls = { getSession: [], saveProfile: [], loadProfile: [], getSaveStatus: [] };
  const full = () => refusal('RESOURCE_EXHAUSTED', 'OVERLOADED', { more: [['google.rpc.RetryInfo', { retryDelay: { seconds: 0, nanos: 3e8 } }]] });
  // Each has room from the third call on.
  const isFull = (/** @type {string} */ name) => calls[name].push(performance.now()) < 3;
  const getSession = (/** @type {any} */ _, /** @type {Function} */ answer) =>
    isFull('getSession') ? answer(full()) : answer(null, { session: { id: 's' }, revision: 1 });
  const saveProfile = (/** @type {any} */ call, /** @type {Function} */ answer) => {
    const refused = isFull('saveProfile');
    /** @type {any[]} */
    const messages = [];
    call.on('data', (/** @type {any} */ message) => messages.push(message));
    call.on('end', () => (refused ? answer(full()) : accept(messages, answer)));
  };
  const loadProfile = (/** @type {any} */ call) => call.emit('error', isFull('loadProfile') ? full() : refusal('NOT_FOUND', 'PROFILE_EMPTY'));
  const getSaveStatus = (/** @type {any} */ _, /** @type {Function} */ answer) => {
    calls.getSaveStatus.push(performance.now());
    answer(full());
  };
  const { client } = await peer(t, { ProfileService: { saveProfile, loadProfile, getSaveStatus }, SessionService: { getSession } });
  assert.equal((await client.sessions.get('s')).id, 's');
  assert.equal((await client.save('s', `${directory}/p`)).snapshot.id, head);
  assert.equal((await failure(client.load('s', `${directory}/q`))).reason, 'PROFILE_EMPTY');
  assert.equal(calls.getSaveStatus.length, 0, 'of what was not begun nothing can have become');
  assert.equal((await failure(client.saveStatus('s', 'u'))).reason, 'OVERLOADED', 'but not for ever');
  for (const [name, count] of Object.entries({ getSession: 3, saveProfile: 3, loadProfile: 3, getSaveStatus: 5 })) {
    const gaps = calls[name].slice(1).map((at, index) => at - calls[name][index]);
    assert.equal(calls[name].length, count, name);
    assert.ok(
      gaps.every((gap) => gap > 290),
      `${name}: ${gaps}`,
    );
  }
});

test('a save that was done before is answered without being read to its end', async (t) => {
  const directory = temporary(t);
  write(`${directory}/p`, Object.fromEntries(Array.from({ length: 40 }, (_, at) => [`f${at}`, Buffer.alloc(1024 * 1024, at)])));
  const done = snapshot(manifestRoot(await scan(`${directory}/p`, () => true)));
  const saveProfile = (/** @type {any} */ call, /** @type {Function} */ answer) =>
    call.once('data', () => answer(null, { snapshot: done, revision: 9 }));
  const { client } = await peer(t, { ProfileService: { saveProfile } });
  assert.equal((await client.save('s', `${directory}/p`, { uploadId: 'an-upload-id-of-before' })).snapshot.id, head);
});

test('a save follows the capture rules, and says what is known of the browser', async (t) => {
  const directory = temporary(t);
  write(`${directory}/p`, { 'Default/Cookies': 'c', 'Default/Cache/x': 'x', 'Last Version': '156.0.1.2\n', mine: 'm' });
  const { client, saves } = await saver(t, [accept]);
  await client.save('s', `${directory}/p`, {
    exclude: ['mine'],
    portability: { brand: 'chromium' },
    storageState: { cookies: [], origins: [] },
    etag: 'e',
    leaseToken: 7,
  });
  const [{ begin, namespace }, { records }, { storageState }, { end }] = saves[0];
  assert.deepEqual(
    records.entries.map((/** @type {any} */ { path }) => path),
    ['Default', 'Default/Cookies', 'Last Version'],
  );
  assert.deepEqual(begin.portability, {
    os: 'linux',
    brand: 'chromium',
    browserVersion: '156.0.1.2',
    passwordStore: '',
    quiesced: true,
    capturePolicy: 'default',
  });
  assert.deepEqual([begin.full, begin.parentSnapshotId, begin.etag, begin.leaseToken, namespace], [false, '', 'e', '7', '']);
  assert.equal(storageState.data.toString(), '{"cookies":[],"origins":[]}');
  assert.equal(end.manifestRoot.length, 32);
});

/**
 * A daemon's profile service that gives one directory's content, the nth time as the nth script says.
 *
 * @param {{ after(fn: () => void): void }} t
 * @param {string} source
 * @param {((call: any, messages: any[]) => void)[]} scripts the last one is repeated
 */
async function loader(t, source, ...scripts) {
  const entries = await scan(source, () => true);
  const root = manifestRoot(entries);
  const files = entries.filter(({ kind }) => kind === 'file');
  const messages = [
    { begin: { snapshot: snapshot(root), contentBytes: String(files.reduce((sum, { size }) => sum + size, 0)) } },
    { records: { entries: entries.map(toWire), codec: 'CODEC_RAW' } },
    ...files.map((entry) => {
      const data = fs.readFileSync(`${source}/${entry.path}`);
      return {
        records: {
          runs: [{ entry: entries.indexOf(entry), firstLeaf: 0, leafCount: Math.ceil(data.length / 4096) }],
          codec: 'CODEC_RAW',
          data,
          dataSize: data.length,
        },
      };
    }),
    { end: { manifestRoot: root } },
  ];
  let calls = 0;
  const loadProfile = (/** @type {any} */ call) => scripts[Math.min(++calls, scripts.length) - 1](call, messages);
  const { client } = await peer(t, { ProfileService: { loadProfile } });
  return { client, calls: () => calls };
}

const whole = (/** @type {any} */ call, /** @type {any[]} */ messages) => {
  for (const message of messages) call.write(message);
  call.end();
};

test('a load that breaks off is tried again, and leaves nothing half', async (t) => {
  const directory = temporary(t);
  write(`${directory}/source`, { 'a/b': 'one', c: 'two' });
  const broken = (/** @type {any} */ call, /** @type {any[]} */ messages) => {
    for (const message of messages.slice(0, 3)) call.write(message);
    setTimeout(() => call.emit('error', refusal('UNAVAILABLE', 'SHUTTING_DOWN')), 20);
  };
  const { client, calls } = await loader(t, `${directory}/source`, broken, whole);
  /** @type {number[]} */
  const told = [];
  const loaded = await client.load('s', `${directory}/target`, { progress: ({ done }) => told.push(done) });
  assert.equal(calls(), 2);
  assert.equal(loaded.snapshot.id, head);
  assert.deepEqual(picture(`${directory}/target`), picture(`${directory}/source`));
  assert.deepEqual(told, [0, 3, 6]);
  assert.deepEqual(fs.readdirSync(directory).sort(), ['source', 'target', 'target.cloakroom.json']);
});

test('a load without its end is refused, and leaves nothing', async (t) => {
  const directory = temporary(t);
  write(`${directory}/source`, { 'a/b': 'one', c: 'two' });
  const cut = (/** @type {any} */ call, /** @type {any[]} */ messages) => whole(call, messages.slice(0, -1));
  const { client, calls } = await loader(t, `${directory}/source`, cut);
  const error = await failure(client.load('s', `${directory}/target`));
  assert.ok(error instanceof LoadFailed);
  assert.deepEqual([error.reason, calls()], ['STREAM_TRUNCATED', 1]);
  assert.deepEqual(fs.readdirSync(directory), ['source']);
});

test('a load that its caller gives up leaves nothing, and what was there as it was', async (t) => {
  const directory = temporary(t);
  write(`${directory}/source`, { c: 'two' });
  write(`${directory}/target`, { old: 'old' });
  fs.writeFileSync(`${directory}/target.cloakroom.json`, 'as it was');
  const stop = new AbortController();
  const { client } = await loader(t, `${directory}/source`, (call, messages) => {
    call.write(messages[0]);
    setTimeout(() => stop.abort(), 20);
  });
  assert.equal((await failure(client.load('s', `${directory}/target`, { replace: true, signal: stop.signal }))).name, 'AbortError');
  assert.deepEqual(fs.readdirSync(directory).sort(), ['source', 'target', 'target.cloakroom.json']);
  assert.deepEqual(fs.readdirSync(`${directory}/target`), ['old']);
  assert.equal(fs.readFileSync(`${directory}/target.cloakroom.json`, 'utf8'), 'as it was');
});

test('a load that cannot be put in its place leaves what was there as it was', async (t) => {
  const directory = temporary(t);
  write(`${directory}/source`, { c: 'two', d: 'three' });
  const { client } = await loader(t, `${directory}/source`, whole, (call, messages) => {
    // The same snapshot as a difference: every file is to be taken over, but one has meanwhile been written to.
    fs.writeFileSync(`${directory}/target/d`, 'eerht');
    call.write({ begin: { ...messages[0].begin, baseSnapshotId: head, contentBytes: '0' } });
    call.write(messages.at(-1));
    call.end();
  });
  await client.load('s', `${directory}/target`);
  const sidecar = fs.readFileSync(`${directory}/target.cloakroom.json`, 'utf8');
  const error = await failure(client.load('s', `${directory}/target`, { replace: true }));
  assert.equal(error.reason, 'PROFILE_CHANGING');
  assert.deepEqual(
    ['c', 'd'].map((name) => fs.readFileSync(`${directory}/target/${name}`, 'utf8')),
    ['two', 'eerht'],
  );
  assert.equal(fs.readFileSync(`${directory}/target.cloakroom.json`, 'utf8'), sidecar);
  assert.deepEqual(fs.readdirSync(directory).sort(), ['source', 'target', 'target.cloakroom.json']);
});

test('in its own place nothing is copied: what is unchanged moves', async (t) => {
  const directory = temporary(t);
  write(`${directory}/source`, { c: 'two', 'd/e': 'three' });
  const { client } = await loader(t, `${directory}/source`, whole, (call, messages) => {
    assert.equal(call.request.haveSnapshotId, head);
    call.write({ begin: { ...messages[0].begin, baseSnapshotId: head, contentBytes: '0' } });
    call.write(messages.at(-1));
    call.end();
  });
  await client.load('s', `${directory}/target`);
  const inode = fs.statSync(`${directory}/target/d/e`).ino;
  write(`${directory}/target`, { 'Default/Cache/junk': 'left by the browser' });
  const loaded = await client.load('s', `${directory}/target`, { replace: true });
  assert.deepEqual([loaded.baseSnapshotId, loaded.contentBytes], [head, 0]);
  assert.equal(fs.statSync(`${directory}/target/d/e`).ino, inode);
  assert.deepEqual(picture(`${directory}/target`), picture(`${directory}/source`));
});

test('a stream that stands still is given up', async (t) => {
  const directory = temporary(t);
  write(`${directory}/p`, { f: 'x' });
  const saveProfile = () => {};
  const loadProfile = () => {};
  const getSaveStatus = (/** @type {any} */ _, /** @type {Function} */ answer) => answer(refusal('NOT_FOUND', 'SESSION_NOT_FOUND'));
  const { client } = await peer(t, { ProfileService: { saveProfile, loadProfile, getSaveStatus } }, { client: { stallSeconds: 0.2 } });
  const error = await failure(client.load('s', `${directory}/q`));
  assert.ok(error instanceof Unavailable && error.message.includes('silent for 0.2 s'), error.message);
  assert.ok((await failure(client.save('s', `${directory}/p`))) instanceof NotFound, 'a save that stands still is asked after');
  assert.deepEqual(fs.readdirSync(directory), ['p']);
});
