// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file Mounts: the scenarios of `client/scenarios.md` under that heading, one test each, and what is this client's own. */

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Invalid, LocalError, NotFound } from '../src/index.js';
import { sidecarPath } from '../src/sidecar.js';
import { served } from '../support/daemon.js';
import { failure } from '../support/failure.js';
import { interfere } from '../support/faults.js';
import { parts } from '../support/scenarios.js';
import { picture, temporary, write } from '../support/trees.js';

const { daemon, client } = await served();
const mounter = fileURLToPath(new URL('../support/mounter.js', import.meta.url));

/** What is told of this host and its process ids in a claim. */
const space = spawnSync('readlink', ['/proc/self/ns/pid'], { encoding: 'utf8' }).stdout?.trim() ?? '';
const hostIn = (/** @type {string} */ one) => createHash('sha256').update(`${os.hostname()}\n${one}`).digest('hex').slice(0, 8);
const host = hostIn(space);
const HOUR = 3600;

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
 * A session with a profile, and a root for its mounts.
 *
 * @param {import('node:test').TestContext} t
 */
async function scene(t) {
  const home = temporary(t);
  const { id } = await client.sessions.create({ businessId: 'b' });
  const source = write(`${home}/source`, { 'Local State': '{}', 'Default/Cookies': randomBytes(100_000), 'Default/gone': 'g' });
  fs.symlinkSync('Cookies', `${source}/Default/link`);
  fs.mkdirSync(`${source}/Default/empty`);
  const { snapshot } = await client.save(id, source);
  const root = `${home}/root`;
  const head = async () => (await client.sessions.get(id)).headSnapshotId;
  /** Saves other content from elsewhere. */
  const moves = async (/** @type {Record<string, string | Buffer>} */ files) => {
    write(source, files);
    return (await client.save(id, source)).snapshot;
  };
  /** @returns {Promise<Record<string, string>>} what a full load of the head gives */
  const whole = async () => {
    const directory = fs.mkdtempSync(`${home}/whole-`);
    await client.load(id, `${directory}/p`);
    return picture(`${directory}/p`);
  };
  return { id, home, source, root, snapshot, head, moves, whole, slots: `${root}/mounts/-/${id}` };
}

/**
 * Mounts, and tells what travelled.
 *
 * @param {string} id
 * @param {import('../src/index.js').MountOptions} options
 */
async function mounted(id, options) {
  const { load } = client;
  /** @type {import('../src/index.js').Loaded[]} */
  const loads = [];
  client.load = async (...args) => {
    const loaded = await load.apply(client, args);
    loads.push(loaded);
    return loaded;
  };
  try {
    return { mount: await client.mount(id, options), contentBytes: loads[0]?.contentBytes, baseSnapshotId: loads[0]?.baseSnapshotId };
  } finally {
    client.load = load;
  }
}

/**
 * What the system says of each entry of a mount and of its sidecar.
 *
 * @param {string} directory
 * @returns {Record<string, string>}
 */
function stats(directory) {
  const names = fs.readdirSync(directory, { recursive: true, encoding: 'utf8' }).map((name) => `${directory}/${name}`);
  const paths = [directory, sidecarPath(directory), ...names.sort()];
  return Object.fromEntries(
    paths.map((at) => {
      const { ino, mtimeNs, ctimeNs } = fs.lstatSync(at, { bigint: true });
      return [at, `${ino} ${mtimeNs} ${ctimeNs}`];
    }),
  );
}

/**
 * A worker in a process of its own, with a mount.
 *
 * @param {import('node:test').TestContext} t
 * @param {string} id
 * @param {string} root
 * @param {string[]} files that it writes
 */
async function worker(t, id, root, ...files) {
  const running = spawn(process.execPath, [mounter, daemon.target, id, root, ...files], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => running.kill('SIGKILL'));
  const exited = once(running, 'exit');
  const [line] = await Promise.race([once(createInterface({ input: running.stdout }), 'line'), exited.then(() => assert.fail('it ended'))]);
  const kill = async () => {
    running.kill('SIGKILL');
    await exited;
  };
  const end = async () => {
    running.stdin.end();
    assert.deepEqual(await exited, [0, null]);
  };
  return { directory: JSON.parse(line).directory, pid: running.pid, kill, end };
}

/**
 * @param {string} directory of a profile or slot
 * @returns {string[]} the claims of the slot
 */
function claims(directory) {
  const slot = path.basename(directory) === 'profile' ? path.dirname(directory) : directory;
  return fs.readdirSync(slot).filter((name) => name.startsWith('claim.'));
}

/** @returns {number} the id of a process that has ended */
function deadPid() {
  return spawnSync(process.execPath, ['--version']).pid;
}

/**
 * Gives a slot another claim.
 *
 * @param {string} slot
 * @param {string} claim
 * @param {number} [secondsAgo] since when
 */
function reclaim(slot, claim, secondsAgo = 0) {
  const when = Date.now() / 1000 - secondsAgo;
  const [now] = claims(slot);
  if (now) fs.renameSync(`${slot}/${now}`, `${slot}/${claim}`);
  else fs.writeFileSync(`${slot}/${claim}`, '');
  fs.utimesSync(`${slot}/${claim}`, when, when);
}

/** @param {Promise<unknown>} use of a mount that was let go */
async function isReleased(use) {
  const error = await failure(use);
  assert.ok(error instanceof LocalError && error.reason === 'MOUNT_RELEASED', `${error}`);
  assert.match(error.message, /mount the session again/);
}

// --- The scenarios

scenario('mount-current-touches-nothing', async (t) => {
  const { id, root } = await scene(t);
  const { mount: first, baseSnapshotId: none } = await mounted(id, { root });
  assert.equal(none, '');
  write(first.directory, { 'Default/Cache/f': 'cache', 'Default/Cookies': 'changed', 'Default/new': 'new' });
  const storageState = { cookies: [], origins: [], theirs: true };
  const { snapshot } = await first.save({ storageState });
  await first.release();
  const before = stats(first.directory);
  let written = 0;
  const restore = interfere((_, needsRoom) => (written += Number(needsRoom)));
  const { mount: second, contentBytes, baseSnapshotId } = await mounted(id, { root }).finally(restore);
  assert.deepEqual([contentBytes, baseSnapshotId, written], [0, snapshot.id, 0]);
  assert.deepEqual([second.directory, second.snapshot?.id, second.storageState], [first.directory, snapshot.id, storageState]);
  assert.deepEqual(second.storageStateBytes, Buffer.from(JSON.stringify(storageState)));
  assert.deepEqual(stats(second.directory), before);
  assert.equal(fs.readFileSync(`${second.directory}/Default/Cache/f`, 'utf8'), 'cache');
  await second.release();
  // What was loaded rather than saved is as good.
  fs.rmSync(path.dirname(second.directory), { recursive: true });
  const third = await client.mount(id, { root });
  await third.release();
  const loaded = stats(third.directory);
  const { mount: fourth, ...moved } = await mounted(id, { root });
  assert.deepEqual([moved.contentBytes, moved.baseSnapshotId], [0, snapshot.id]);
  assert.deepEqual(stats(fourth.directory), loaded);
  await fourth.release();
});

scenario('mount-head-moved', async (t) => {
  const { id, root, source, snapshot, moves, whole } = await scene(t);
  const first = await client.mount(id, { root });
  await first.release();
  const cookies = fs.readFileSync(`${source}/Default/Cookies`);
  cookies.fill(0, 5000, 6000);
  fs.rmSync(`${source}/Default/gone`);
  const moved = await moves({ 'Default/Cookies': cookies, 'Default/more': 'more' });
  const { mount, contentBytes, baseSnapshotId } = await mounted(id, { root });
  assert.deepEqual([mount.directory, mount.snapshot?.id, baseSnapshotId], [first.directory, moved.id, snapshot.id]);
  assert.equal(contentBytes, 4096 + 4);
  assert.deepEqual(picture(mount.directory), await whole());
  await mount.release();
});

scenario('mount-two-never-share', async (t) => {
  const { id, root, whole } = await scene(t);
  const { mount: first } = await mounted(id, { root });
  const { mount: second, baseSnapshotId, contentBytes } = await mounted(id, { root });
  assert.notEqual(second.directory, first.directory);
  assert.deepEqual([baseSnapshotId, contentBytes], ['', 100_003]);
  const others = await Promise.all([worker(t, id, root), worker(t, id, root), client.mount(id, { root })]);
  const all = [first, second, ...others].map(({ directory }) => directory);
  assert.equal(new Set(all).size, 5);
  const expected = await whole();
  for (const directory of all) assert.deepEqual(picture(directory), expected);
  await second.release();
  const again = await client.mount(id, { root });
  assert.equal(again.directory, second.directory, 'a slot that is released is the next one');
  await Promise.all([first.release(), again.release(), others[2].release(), others[0].end(), others[1].end()]);
  const next = await worker(t, id, root);
  assert.ok(all.includes(next.directory));
  await next.end();
});

scenario('mount-after-kill', async (t) => {
  const { id, root, snapshot, head, whole } = await scene(t);
  const killed = await worker(t, id, root, 'Local State=lost', 'Default/lost=lost');
  fs.writeFileSync(`${path.dirname(killed.directory)}/storage-state.json`, '{}');
  const start = fs.readFileSync(`/proc/${killed.pid}/stat`, 'utf8').replace(/.*\) /, '').split(' ')[19];
  assert.deepEqual(claims(killed.directory), [`claim.${host}.${killed.pid}.${start}`]);
  await killed.kill();
  assert.equal(fs.readFileSync(`${killed.directory}/Default/lost`, 'utf8'), 'lost');
  const mount = await client.mount(id, { root });
  assert.deepEqual([mount.directory, mount.snapshot?.id, await head()], [killed.directory, snapshot.id, snapshot.id]);
  assert.deepEqual(picture(mount.directory), await whole());
  assert.ok(!fs.existsSync(`${path.dirname(mount.directory)}/storage-state.json`));
  await mount.release();
  // Also when all that it did was to add something.
  const adding = await worker(t, id, root, 'lost=lost');
  await adding.kill();
  const next = await client.mount(id, { root });
  assert.equal(next.directory, adding.directory);
  assert.deepEqual(picture(next.directory), await whole());
  await next.release();
});

scenario('mount-empty-session', async (t) => {
  const root = temporary(t);
  const { id } = await client.sessions.create({ businessId: 'b' });
  const first = await client.mount(id, { root });
  assert.deepEqual([first.snapshot, first.storageState, fs.readdirSync(first.directory)], [undefined, undefined, []]);
  write(first.directory, { 'Default/x': 'x' });
  await first.discard();
  assert.equal((await client.sessions.get(id)).headSnapshotId, '');
  const second = await client.mount(id, { root });
  assert.deepEqual([second.directory, second.snapshot, fs.readdirSync(second.directory)], [first.directory, undefined, []]);
  write(second.directory, { 'Local State': '{}' });
  const { snapshot } = await second.save();
  assert.deepEqual([snapshot.parentSnapshotId, second.snapshot?.id, (await client.sessions.get(id)).headSnapshotId], ['', snapshot.id, snapshot.id]);
  write(second.directory, { 'Default/y': 'y' });
  const { snapshot: next } = await second.save();
  assert.equal(next.parentSnapshotId, snapshot.id, 'the second save goes on from the first');
  await second.release();
  const { mount: third, contentBytes } = await mounted(id, { root });
  assert.deepEqual([third.directory, third.snapshot?.id, contentBytes], [second.directory, next.id, 0]);
  await third.release();
});

scenario('mount-discard', async (t) => {
  const { id, root, snapshot, head, whole } = await scene(t);
  const mount = await client.mount(id, { root });
  write(mount.directory, { 'Default/Cookies': 'changed', 'Default/new': 'new' });
  fs.rmSync(`${mount.directory}/Default/gone`);
  await mount.discard();
  for (const use of [mount.save(), mount.saveContext(/** @type {any} */ (undefined)), mount.openContext(/** @type {any} */ (undefined))])
    await isReleased(use);
  await mount.discard();
  await mount.release();
  await mount[Symbol.asyncDispose]();
  assert.equal(await head(), snapshot.id);
  const next = await client.mount(id, { root });
  assert.equal(next.directory, mount.directory);
  assert.deepEqual(picture(next.directory), await whole());
  await mount.release();
  assert.notDeepEqual(claims(next.directory), ['claim.free'], 'whoever let go does not let go what another one has now');
  await next.release();
});

scenario('mount-live-browser-left-alone', async (t) => {
  const { id, root, snapshot } = await scene(t);
  const first = await client.mount(id, { root });
  fs.symlinkSync(`${os.hostname()}-${process.pid}`, `${first.directory}/SingletonLock`);
  write(first.directory, { 'Default/new': 'the browser writes' });
  await first.release();
  const slot = path.dirname(first.directory);
  const seen = { ...picture(first.directory), claim: fs.statSync(`${slot}/claim.free`).mtimeMs };
  const second = await client.mount(id, { root });
  assert.notEqual(second.directory, first.directory);
  assert.equal(second.snapshot?.id, snapshot.id);
  assert.deepEqual(claims(slot), ['claim.free']);
  assert.deepEqual({ ...picture(first.directory), claim: fs.statSync(`${slot}/claim.free`).mtimeMs }, seen);
  fs.rmSync(`${first.directory}/SingletonLock`);
  const third = await client.mount(id, { root });
  assert.equal(third.directory, first.directory);
  await second.release();
  await third.release();
});

scenario('mount-other-language', async (t) => {
  const { id, root, slots, snapshot } = await scene(t);
  const [dead, away] = [`${slots}/0a1b2c3d`, `${slots}/1a2b3c4d`];
  for (const slot of [dead, away]) {
    fs.mkdirSync(slot, { recursive: true });
    await client.load(id, `${slot}/profile`);
  }
  const pid = deadPid();
  reclaim(dead, `claim.${host}.${pid}.4711`, 60);
  const other = `claim.${host === '00000000' ? '00000001' : '00000000'}.${pid}.4711`;
  reclaim(away, other);
  const { mount: first, contentBytes, baseSnapshotId } = await mounted(id, { root });
  assert.deepEqual([first.directory, contentBytes, baseSnapshotId], [`${dead}/profile`, 0, snapshot.id]);
  assert.match(claims(dead).join(), new RegExp(`^claim\\.${host}\\.${process.pid}\\.\\d+$`));
  const second = await client.mount(id, { root });
  assert.ok(![dead, away].includes(path.dirname(second.directory)));
  assert.deepEqual(claims(away), [other]);
  await first.release();
  await second.release();
  assert.deepEqual(claims(dead), ['claim.free']);
});

scenario('prune-mounts', async (t) => {
  const { id, root, slots } = await scene(t);
  const make = (/** @type {string} */ name, /** @type {string} */ claim, /** @type {number} */ hours) => {
    write(`${slots}/${name}`, { 'profile/f': Buffer.alloc(1000), 'profile/d/g': 'four', 'profile.cloakroom.json': '{}' });
    reclaim(`${slots}/${name}`, claim, hours * HOUR);
    return name;
  };
  const dead = `claim.${host}.${deadPid()}.1`;
  const held = await client.mount(id, { root });
  const own = path.basename(path.dirname(held.directory));
  const [mine] = claims(held.directory);
  fs.utimesSync(`${slots}/${own}/${mine}`, 1, 1);
  const gone = [make('00000001', 'claim.free', 3), make('00000002', dead, 3)];
  const stays = [
    own,
    make('00000003', 'claim.free', 1),
    make('00000004', dead, 1),
    make('00000005', 'claim.00000000.1.1', 30 * 24),
    make('00000006', `claim.${host}.${process.pid}.${mine.split('.')[3]}`, 30 * 24),
    make('00000007', 'claim.free', 30 * 24),
  ];
  fs.symlinkSync(`${os.hostname()}-${process.pid}`, `${slots}/00000007/profile/SingletonLock`);
  // Without a claim: somebody is making it, or died there.
  for (const [name, minutes] of /** @type {const} */ ([
    ['00000008', 50],
    ['00000009', 70],
  ])) {
    fs.mkdirSync(`${slots}/${name}`);
    fs.utimesSync(`${slots}/${name}`, Date.now() / 1000 - 60 * minutes, Date.now() / 1000 - 60 * minutes);
  }
  stays.push('00000008');
  assert.deepEqual(await client.pruneMounts({ root, olderThanSeconds: 2 * HOUR }), { removed: gone.length + 1, bytes: 2 * 1006 });
  assert.deepEqual(fs.readdirSync(slots).sort(), stays.sort());
  assert.deepEqual(claims(`${slots}/00000007`), ['claim.free']);
  assert.deepEqual(await client.pruneMounts({ root }), { removed: 0, bytes: 0 });
  assert.equal((await client.pruneMounts({ root, olderThanSeconds: 0 })).removed, 2);
  await held.release();
  assert.equal((await client.pruneMounts({ root, olderThanSeconds: 0 })).removed, 1);
  assert.deepEqual(await client.pruneMounts({ root: `${root}/nothing` }), { removed: 0, bytes: 0 });
});

test('every scenario of mounts in the shared list has its test, and no other', () => {
  assert.deepEqual(
    parts().filter(([title]) => title === 'Mount'),
    [['Mount', scenarios]],
  );
});

// --- This client's own

test('of the free directories of a session two stay, those that were used last', async (t) => {
  const { id, root, slots } = await scene(t);
  const mounts = [];
  for (let count = 0; count < 4; count++) mounts.push(await client.mount(id, { root }));
  for (const mount of mounts) {
    await mount.release();
    // The file system's clock goes on.
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const left = mounts.slice(2).map(({ directory }) => path.basename(path.dirname(directory)));
  assert.deepEqual(fs.readdirSync(slots).sort(), left.sort());
  const next = await client.mount(id, { root });
  assert.equal(next.directory, mounts[3].directory, 'the newest first');
  await next.release();
});

test('a mount that fails lets its directory go', async (t) => {
  const { id, root, slots } = await scene(t);
  const first = await client.mount(id, { root });
  await first.release();
  const before = stats(first.directory);
  assert.equal((await failure(client.mount(id, { root, snapshotId: 'ef'.repeat(16) }))).reason, 'SNAPSHOT_NOT_FOUND');
  assert.ok((await failure(client.mount('no-such-session', { root }))) instanceof NotFound);
  const stop = AbortSignal.abort(new Error('not now'));
  assert.equal((await failure(client.mount(id, { root, signal: stop }))).message, 'not now');
  assert.deepEqual(stats(first.directory), before);
  assert.deepEqual(fs.readdirSync(slots).length, 1);
  assert.deepEqual(claims(first.directory), ['claim.free']);
});

test('a mount is let go when its save has ended', async (t) => {
  const { id, root, head } = await scene(t);
  const mount = await client.mount(id, { root });
  write(mount.directory, { 'Default/new': 'new' });
  const saving = mount.save();
  const gone = mount[Symbol.asyncDispose]();
  await isReleased(mount.save());
  assert.notDeepEqual(claims(mount.directory), ['claim.free']);
  const { snapshot } = await saving;
  await gone;
  assert.deepEqual(claims(mount.directory), ['claim.free']);
  assert.equal(await head(), snapshot.id);
});

test('what only looks otherwise than it was saved is mended', async (t) => {
  const { id, root, snapshot, whole } = await scene(t);
  const expected = await whole();
  const { directory } = await client.mount(id, { root }).then((mount) => mount.release().then(() => mount));
  for (const spoil of [
    () => fs.chmodSync(`${directory}/Local State`, 0o640),
    () => fs.utimesSync(`${directory}/Default/Cookies`, 1, 1),
    () => fs.utimesSync(`${directory}/Default`, 1, 1),
    () => fs.mkdirSync(`${directory}/new`),
  ]) {
    spoil();
    const { mount, contentBytes, baseSnapshotId } = await mounted(id, { root });
    assert.deepEqual([mount.directory, contentBytes, baseSnapshotId], [directory, 0, snapshot.id]);
    assert.deepEqual(picture(directory), expected);
    await mount.release();
  }
});

test('an earlier snapshot is mounted by its id', async (t) => {
  const { id, root, snapshot, moves } = await scene(t);
  const moved = await moves({ 'Default/more': 'more' });
  const mount = await client.mount(id, { root, snapshotId: snapshot.id, withStorageState: false, minRevision: moved.revision });
  assert.deepEqual([mount.snapshot?.id, fs.existsSync(`${mount.directory}/Default/more`)], [snapshot.id, false]);
  assert.equal((await failure(mount.save())).reason, 'PARENT_NOT_HEAD');
  await mount.save({ replace: true });
  await mount.release();
});

test('a process that nobody has buried is dead', async (t) => {
  const { id, root, slots } = await scene(t);
  const parent = spawn('sh', ['-c', 'sleep 0.3 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => parent.kill());
  const [pid] = await once(createInterface({ input: parent.stdout }), 'line');
  const status = () => fs.readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/.*\) /, '').split(' ');
  while (status()[0] !== 'Z') await new Promise((resolve) => setTimeout(resolve, 10));
  const first = await client.mount(id, { root });
  await first.release();
  const slot = path.dirname(first.directory);
  const parentStart = fs.readFileSync(`/proc/${parent.pid}/stat`, 'utf8').replace(/.*\) /, '').split(' ')[19];
  // The parent lives; with its id and another start, which is that of a process before it, it is dead.
  for (const [claim, taken] of /** @type {const} */ ([
    [`claim.${host}.${parent.pid}.${parentStart}`, false],
    [`claim.${host}.${parent.pid}.0`, false],
    [`claim.${host}.${pid}.${status()[19]}`, true],
    [`claim.${host}.${pid}.0`, true],
    [`claim.${host}.${parent.pid}.1`, true],
    [`claim.${host}.x`, false],
    ['claim.of-a-later-version', false],
  ])) {
    reclaim(slot, claim);
    const mount = await client.mount(id, { root });
    assert.equal(mount.directory === first.directory, taken, claim);
    await mount.release();
    for (const name of fs.readdirSync(slots)) if (`${slots}/${name}` !== slot) fs.rmSync(`${slots}/${name}`, { recursive: true });
  }
});

test('a process whose first thread ended before the others lives', async (t) => {
  const { id, root } = await scene(t);
  const body = `import ctypes, sys, threading
threading.Thread(target=sys.stdin.read).start()
ctypes.CDLL(None).pthread_exit(None)`;
  const lasting = spawn('python3', ['-c', body], { stdio: ['pipe', 'ignore', 'inherit'] });
  t.after(() => lasting.kill('SIGKILL'));
  const status = () => fs.readFileSync(`/proc/${lasting.pid}/stat`, 'utf8').replace(/.*\) /, '').split(' ');
  while (status()[0] !== 'Z') await new Promise((resolve) => setTimeout(resolve, 10));
  const first = await client.mount(id, { root });
  await first.release();
  const claim = `claim.${host}.${lasting.pid}.${status()[19]}`;
  reclaim(path.dirname(first.directory), claim);
  const second = await client.mount(id, { root });
  assert.notEqual(second.directory, first.directory, claim);
  await second.release();
  lasting.stdin.end();
  await once(lasting, 'exit');
  fs.rmSync(path.dirname(second.directory), { recursive: true });
  const third = await client.mount(id, { root });
  assert.equal(third.directory, first.directory, 'the last one ended too');
  await third.release();
});

test('mounts are where the option, the environment or the custom of the system says, and for their user alone', async (t) => {
  const { id, home } = await scene(t);
  const { CLOAKROOM_MOUNTS, XDG_CACHE_HOME, HOME } = process.env;
  t.after(() => {
    for (const [name, value] of Object.entries({ CLOAKROOM_MOUNTS, XDG_CACHE_HOME, HOME })) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  });
  Object.assign(process.env, { CLOAKROOM_MOUNTS: `${home}/mounts`, XDG_CACHE_HOME: `${home}/cache`, HOME: `${home}/me` });
  const root = async (/** @type {string} */ expected, /** @type {import('../src/index.js').MountOptions} */ options = {}) => {
    const mount = await client.mount(id, options);
    assert.match(mount.directory.slice(expected.length), new RegExp(`^/mounts/-/${id}/[0-9a-f]{8}/profile$`));
    assert.equal(mount.directory.slice(0, expected.length), expected);
    for (let at = path.dirname(mount.directory); at !== path.dirname(expected); at = path.dirname(at))
      assert.equal(fs.statSync(at).mode & 0o777, 0o700, at);
    await mount.release();
    assert.equal((await client.pruneMounts({ ...options, olderThanSeconds: 0 })).removed, 1);
    assert.deepEqual(fs.readdirSync(`${expected}/mounts`), [], 'nor is anything left above it');
  };
  await root(`${home}/root`, { root: `${home}/root` });
  await root(`${home}/mounts`);
  process.env.CLOAKROOM_MOUNTS = '';
  await root(`${home}/cache/cloakroom`);
  process.env.XDG_CACHE_HOME = '';
  await root(`${home}/me/.cache/cloakroom`);
});

test('the claim of a container that has the same host name, but process ids of its own, is left alone', async (t) => {
  const { id, root } = await scene(t);
  const first = await client.mount(id, { root });
  await first.release();
  const slot = path.dirname(first.directory);
  for (const theirs of [hostIn('pid:[1]'), hostIn(''), createHash('sha256').update(os.hostname()).digest('hex').slice(0, 8)]) {
    // To this process their worker looks dead.
    const [now] = fs.readdirSync(slot).filter((name) => name.startsWith('claim.'));
    fs.renameSync(`${slot}/${now}`, `${slot}/claim.${theirs}.${deadPid()}.1`);
    const second = await client.mount(id, { root });
    assert.notEqual(second.directory, first.directory);
    await second.release();
    await client.pruneMounts({ root, olderThanSeconds: 0 });
    assert.deepEqual(fs.readdirSync(path.dirname(slot)), [path.basename(slot)]);
  }
  const [theirs] = fs.readdirSync(slot).filter((name) => name.startsWith('claim.'));
  fs.renameSync(`${slot}/${theirs}`, `${slot}/claim.${host}.${deadPid()}.1`);
  const third = await client.mount(id, { root });
  assert.equal(third.directory, first.directory, 'one of the same process ids is taken over');
  await third.release();
});

test('what is no id makes no directory', async (t) => {
  const root = temporary(t);
  for (const id of ['', '.', '..', '../../x', 'a/b', '-', '.a', 'a\0', 'é', 'x'.repeat(129)]) {
    const error = await failure(client.mount(id, { root }));
    assert.ok(error instanceof Invalid && error.message.includes(JSON.stringify(id)), error.message);
  }
  assert.deepEqual(fs.readdirSync(root), []);
});
