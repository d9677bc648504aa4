// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file What one worker's save leaves to the next, and what is strange about what is saved. */

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';

import { Client } from '../src/index.js';
import { served } from '../support/daemon.js';
import { failure } from '../support/failure.js';
import { temporary } from '../support/trees.js';

const { daemon, client } = await served();

/**
 * @param {() => Promise<T>} work
 * @template T
 * @returns {Promise<{ result: T, emitted: (string | undefined)[] }>} the codes of the warnings that the process emitted meanwhile
 */
async function listening(work) {
  /** @type {(string | undefined)[]} */
  const emitted = [];
  const listener = (/** @type {Error & { code?: string }} */ { code }) => void emitted.push(code);
  process.on('warning', listener);
  try {
    const result = await work();
    await new Promise((resolve) => setImmediate(resolve));
    return { result, emitted };
  } finally {
    process.off('warning', listener);
  }
}

test('what a worker knew of the profile stays true when the next one does not say it', async (t) => {
  const home = temporary(t);
  const { id } = await client.sessions.create({ businessId: 'b' });
  fs.mkdirSync(`${home}/a`);
  fs.writeFileSync(`${home}/a/Local State`, '{}');
  const origin = { brand: 'chrome', passwordStore: 'basic', browserVersion: '156.0.1.2' };
  await client.save(id, `${home}/a`, { portability: origin });
  await client.load(id, `${home}/b`);
  fs.writeFileSync(`${home}/b/new`, 'x');
  const { snapshot: second } = await client.save(id, `${home}/b`, { policy: 'lean' });
  const expected = { os: 'linux', ...origin, quiesced: true, capturePolicy: 'lean' };
  assert.deepEqual(second.portability, expected);
  // A third time from the same directory, whose sidecar is now that of the save.
  fs.writeFileSync(`${home}/b/new`, 'y');
  assert.deepEqual((await client.save(id, `${home}/b`, { policy: 'lean' })).snapshot.portability, expected);
  // What the profile itself tells is newer, and what the caller says comes first.
  fs.writeFileSync(`${home}/b/Last Version`, '157.0.0.1');
  const { snapshot: last } = await client.save(id, `${home}/b`, { portability: { passwordStore: 'kwallet' } });
  assert.deepEqual(last.portability, { ...expected, browserVersion: '157.0.0.1', passwordStore: 'kwallet', capturePolicy: 'default' });
});

test('what is no profile is saved, with a warning', async (t) => {
  const home = temporary(t);
  const save = async (/** @type {Record<string, string>} */ files, force = false) => {
    const { id } = await client.sessions.create({ businessId: 'b' });
    const directory = fs.mkdtempSync(`${home}/p-`);
    for (const [name, content] of Object.entries(files)) {
      fs.mkdirSync(`${directory}/${name}`.replace(/\/[^/]*$/, ''), { recursive: true });
      fs.writeFileSync(`${directory}/${name}`, content);
    }
    const { result, emitted } = await listening(() => client.save(id, directory, { force }));
    assert.deepEqual(
      emitted,
      result.warnings.map(({ code }) => code),
    );
    assert.ok(result.snapshot.head);
    for (const { message } of result.warnings) assert.ok(message.includes(directory) && message.includes('user data directory'), message);
    return emitted;
  };
  assert.deepEqual(await save({}, true), ['CLOAKROOM_EMPTY_PROFILE']);
  assert.deepEqual(await save({ 'Default/Cache/x': 'x' }), ['CLOAKROOM_NOT_A_PROFILE']);
  assert.deepEqual(await save({ 'notes.txt': 'x', 'src/main.js': 'x' }), ['CLOAKROOM_NOT_A_PROFILE']);
  assert.deepEqual(await save({ 'Local State': '{}' }), []);
  assert.deepEqual(await save({ 'Default/Preferences': '{}' }), []);
  assert.deepEqual(await save({ 'prefs.js': '' }), []);
});

test('a save whose sidecar cannot be written is done, and the next one is refused until it is said what it replaces', async (t) => {
  const home = temporary(t);
  const { id } = await client.sessions.create({ businessId: 'b' });
  fs.mkdirSync(`${home}/p`);
  fs.writeFileSync(`${home}/p/Local State`, '{}');
  await client.save(id, `${home}/p`);
  fs.writeFileSync(`${home}/p/Local State`, '{"a":1}');
  const { renameSync } = fs;
  fs.renameSync = () => {
    throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
  };
  t.after(() => (fs.renameSync = renameSync));
  const { result, emitted } = await listening(() => client.save(id, `${home}/p`));
  fs.renameSync = renameSync;
  assert.deepEqual([emitted, result.warnings[0].code, result.snapshot.sequence], [['CLOAKROOM_NO_SIDECAR'], 'CLOAKROOM_NO_SIDECAR', 2]);
  assert.deepEqual(fs.readdirSync(home), ['p']);
  assert.equal((await failure(client.save(id, `${home}/p`))).reason, 'PARENT_NOT_HEAD');
  assert.equal((await client.save(id, `${home}/p`, { replace: true })).snapshot.parentSnapshotId, result.snapshot.id);
});

test('a save whose sidecar can neither be written nor removed is done too, and says so', async (t) => {
  const home = temporary(t);
  const { id } = await client.sessions.create({ businessId: 'b' });
  const sidecar = `${home}/p.cloakroom.json`;
  fs.mkdirSync(`${home}/p`);
  fs.writeFileSync(`${home}/p/Local State`, '{}');
  const told = async () => {
    const { result, emitted } = await listening(() => client.save(id, `${home}/p`));
    assert.deepEqual([emitted, result.warnings.map(({ code }) => code)], [['CLOAKROOM_NO_SIDECAR'], ['CLOAKROOM_NO_SIDECAR']]);
    const [{ message }] = result.warnings;
    assert.ok(message.startsWith(`${sidecar} can neither be written (`) && message.includes(') nor removed ('), message);
    assert.ok(message.endsWith('remove what lies there, and load anew or say replace'), message);
    return result;
  };
  fs.mkdirSync(sidecar);
  assert.equal((await told()).snapshot.sequence, 1);
  fs.rmdirSync(sidecar);
  const { snapshot: second } = await client.save(id, `${home}/p`, { replace: true });

  // As where nothing may be written beside the directory.
  const denied = (/** @type {string} */ name) =>
    t.mock.method(fs, /** @type {'rmSync'} */ (name), () => {
      throw Object.assign(new Error('EACCES: permission denied'), { code: 'EACCES' });
    });
  fs.writeFileSync(`${home}/p/Local State`, '{"a":1}');
  const mocks = ['renameSync', 'rmSync'].map(denied);
  const { snapshot: third } = await told();
  for (const { mock } of mocks) mock.restore();
  assert.equal(third.parentSnapshotId, second.id);
  // The former sidecar is still there. What it says is of before.
  assert.equal((await failure(client.save(id, `${home}/p`))).reason, 'PARENT_NOT_HEAD');
  assert.equal((await client.save(id, `${home}/p`, { replace: true })).snapshot.parentSnapshotId, third.id);
});

test('the second save of a directory that has a sidecar looks nothing up, and neither does the first', async (t) => {
  const home = temporary(t);
  const { id } = await client.sessions.create({ businessId: 'b' });
  fs.mkdirSync(`${home}/p`);
  fs.writeFileSync(`${home}/p/Local State`, '{}');
  const { connection } = /** @type {any} */ (client);
  const unary = t.mock.method(connection, 'unary');
  const first = await client.save(id, `${home}/p`);
  const second = await client.save(id, `${home}/p`);
  assert.deepEqual([first.snapshot.parentSnapshotId, second.snapshot.parentSnapshotId], ['', first.snapshot.id]);
  assert.equal(unary.mock.callCount(), 0);
  assert.equal((await client.save(id, `${home}/p`, { replace: true })).messages, 2, 'of what is the head only the difference travels');
  assert.equal(unary.mock.callCount(), 1);
});

test('a directory of another namespace is told apart, and both are named', async (t) => {
  const home = temporary(t);
  const { id } = await client.sessions.create({ businessId: 'b' });
  fs.mkdirSync(`${home}/p`);
  fs.writeFileSync(`${home}/p/Local State`, '{}');
  await client.save(id, `${home}/p`);
  const other = new Client(daemon.target, { namespace: 'default' });
  t.after(() => other.close());
  const error = await failure(other.save(id, `${home}/p`));
  assert.deepEqual([error.reason, error.metadata.namespace], ['OTHER_SESSION', '']);
  assert.equal(
    error.message,
    `${home}/p is the profile of session ${id} in the caller's own namespace (its sidecar ${home}/p.cloakroom.json says so), not of ${id} in the namespace default: ` +
      `save it there, or say replace to make it the head of ${id}`,
  );
});

test('a save that replaces does so also when others are faster meanwhile', async (t) => {
  const home = temporary(t);
  const { id } = await client.sessions.create({ businessId: 'b' });
  const make = (/** @type {string} */ name) => {
    fs.mkdirSync(`${home}/${name}`);
    fs.writeFileSync(`${home}/${name}/Local State`, name);
    return `${home}/${name}`;
  };
  await client.save(id, make('first'));
  const { connection } = /** @type {any} */ (client);
  const own = new Client(daemon.target);
  t.after(() => own.close());
  const faster = make('faster');
  const upload = t.mock.method(connection, 'upload', async (/** @type {any[]} */ ...args) => {
    // Between the look at the head and the save.
    if (upload.mock.callCount() < 2) await own.save(id, faster, { replace: true });
    return Object.getPrototypeOf(connection).upload.apply(connection, args);
  });
  const { snapshot } = await client.save(id, make('late'), { replace: true });
  assert.equal(upload.mock.callCount(), 3);
  assert.deepEqual([snapshot.sequence, (await client.sessions.get(id)).headSnapshotId], [4, snapshot.id]);
  upload.mock.mockImplementation(async (/** @type {any[]} */ ...args) => {
    await own.save(id, faster, { replace: true });
    return Object.getPrototypeOf(connection).upload.apply(connection, args);
  });
  upload.mock.resetCalls();
  assert.equal((await failure(client.save(id, `${home}/first`, { replace: true }))).reason, 'PARENT_NOT_HEAD', 'but not for ever');
  assert.equal(upload.mock.callCount(), 5);
});
