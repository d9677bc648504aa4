// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file A load in the place of a former directory that ends at any step: killed, or because the disk is full. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Workspace } from '../src/directories.js';
import { LocalError, ParentNotHead } from '../src/index.js';
import { setTime } from '../src/system.js';
import { served } from '../support/daemon.js';
import { failure } from '../support/failure.js';
import { full, interfere } from '../support/faults.js';
import { picture, temporary } from '../support/trees.js';

const faults = fileURLToPath(new URL('../support/faults.js', import.meta.url));
const { daemon, client } = await served();

/**
 * A session with two snapshots, and a directory that holds the first one and what a browser left there.
 *
 * @param {import('node:test').TestContext} t
 */
async function scene(t) {
  const home = temporary(t);
  const { id } = await client.sessions.create({ businessId: 'b' });
  const source = `${home}/source`;
  fs.mkdirSync(`${source}/Default/Old`, { recursive: true });
  for (const [name, content] of Object.entries({
    'Local State': 'one',
    'Default/Cookies': Buffer.alloc(9000, 'c'),
    'Default/same': 's',
    'Default/Old/x': 'x',
  }))
    fs.writeFileSync(`${source}/${name}`, content);
  fs.symlinkSync('same', `${source}/Default/link`);
  await client.save(id, source);
  const target = `${home}/target`;
  await client.load(id, target);
  fs.writeFileSync(`${source}/Default/Cookies`, Buffer.concat([Buffer.alloc(5000, 'c'), Buffer.alloc(6000, 'd')]));
  fs.rmSync(`${source}/Default/Old`, { recursive: true });
  fs.mkdirSync(`${source}/Default/New`);
  fs.writeFileSync(`${source}/Default/New/y`, 'y');
  const { snapshot } = await client.save(id, source);
  fs.mkdirSync(`${target}/Default/Cache`);
  fs.writeFileSync(`${target}/Default/Cache/junk`, 'left by the browser');
  setTime(`${target}/Default`, 1_700_000_000_000_000_000n);
  const sidecar = () => fs.readFileSync(`${target}.cloakroom.json`, 'utf8');
  return { id, home, source, target, snapshot, sidecar, old: picture(target), next: picture(source), oldSidecar: sidecar() };
}

/** @typedef {Awaited<ReturnType<typeof scene>>} Scene */

/** @param {Scene} scene */
async function heals({ id, home, target, next }) {
  await client.load(id, target, { replace: true });
  assert.deepEqual(picture(target), next, 'the next load gives exactly the snapshot');
  assert.deepEqual(fs.readdirSync(home).sort(), ['source', 'source.cloakroom.json', 'target', 'target.cloakroom.json'], 'nothing is left over');
  for (const name of Object.keys(next)) assert.ok(fs.lstatSync(`${target}/${name}`).isDirectory() || fs.lstatSync(`${target}/${name}`).nlink === 1);
}

/**
 * What a browser makes where a load was killed in the middle is not saved, not even when another load has begun and failed.
 *
 * @param {Scene} scene
 */
async function isRefused({ id, home, target, snapshot }) {
  const refused = async () => {
    const error = await failure(client.save(id, target));
    assert.ok(error instanceof LocalError && error.reason === 'LOAD_UNFINISHED', `${error}`);
    const [left] = fs.readdirSync(home).filter((name) => name.startsWith('target.cloakroom-'));
    assert.equal(
      error.message,
      `a load into ${target} is under way or was cut off in the middle (${home}/${left}/old): load it again; nothing was saved`,
    );
    assert.equal((await client.sessions.get(id)).headSnapshotId, snapshot.id);
  };
  fs.mkdirSync(target);
  fs.writeFileSync(`${target}/Local State`, 'fresh');
  await refused();
  assert.equal((await failure(client.load(id, target, { replace: true, snapshotId: 'ef'.repeat(16) }))).reason, 'SNAPSHOT_NOT_FOUND');
  await refused();
}

test('killed before any step', { timeout: 300_000 }, async (t) => {
  /** @type {Record<string, number>} */
  const found = { old: 0, nothing: 0, new: 0, unknown: 0 };
  for (let step = 1, done = false; !done; step++) {
    const now = await scene(t);
    const { stdout, signal } = spawnSync(process.execPath, [faults, daemon.target, now.id, now.target, String(step)], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    done = stdout === 'done\n';
    assert.equal(signal, done ? null : 'SIGKILL');
    if (!fs.existsSync(now.target)) {
      found.nothing++;
      const error = await failure(client.save(now.id, now.target));
      assert.ok(error instanceof LocalError && error.reason === 'LOAD_UNFINISHED', error.message);
      await isRefused(now);
    } else {
      const seen = picture(now.target);
      const isNew = Object.hasOwn(seen, 'Default/New');
      found[isNew ? 'new' : 'old']++;
      assert.deepEqual(seen, isNew ? now.next : now.old, `before step ${step}`);
      // What stands there is whole; and it is not taken for the head where it is not known to come from it.
      const known = fs.existsSync(`${now.target}.cloakroom.json`);
      if (!known) found.unknown++;
      const saved = await client.save(now.id, now.target).catch((error) => error);
      assert.ok(
        known
          ? saved instanceof ParentNotHead || (isNew && saved.snapshot?.manifestRoot.equals(now.snapshot.manifestRoot))
          : saved.reason === 'LOAD_UNFINISHED',
        `before step ${step}: ${saved}`,
      );
    }
    await heals(now);
  }
  assert.ok(found.old > 15 && found.nothing === 1 && found.new > 2 && found.unknown === 2, JSON.stringify(found));
});

for (const [name, lasts] of /** @type {const} */ ([
  ['a step fails once', false],
  ['the disk is full from a step on', true],
])) {
  test(name, { timeout: 300_000 }, async (t) => {
    let failed = 0;
    for (let at = 1; ; at++) {
      const now = await scene(t);
      let count = 0;
      const restore = interfere((step, needsRoom) => {
        count = step;
        if (step === at || (lasts && step > at && needsRoom)) throw full();
      });
      const error = await client.load(now.id, now.target, { replace: true }).then(
        () => undefined,
        (thrown) => thrown,
      );
      restore();
      if (count < at) break;
      if (error) {
        failed++;
        assert.equal(error.code, 'ENOSPC', `${error}`);
      }
      const isNew = Object.hasOwn(picture(now.target), 'Default/New');
      assert.deepEqual(picture(now.target), isNew ? now.next : now.old, `at step ${at}`);
      if (!isNew) assert.equal(now.sidecar(), now.oldSidecar);
      assert.ok(error || isNew, 'what succeeds is there');
      await heals(now);
    }
    assert.ok(failed > 15, `${failed}`);
  });
}

test('what others have left is cleared away when its maker is dead, or silent for an hour', async (t) => {
  const now = await scene(t);
  const { pid } = spawnSync(process.execPath, ['--version']);
  /** @type {string} */
  let own = '';
  const restore = interfere(() => {
    own ||= fs.readdirSync(now.home).find((name) => name.startsWith('target.cloakroom-')) ?? '';
  });
  await client.load(now.id, now.target, { replace: true });
  restore();
  const here = own.split('-')[1];
  assert.match(here, /^[0-9a-f]{8}$/);
  const away = here === '00000000' ? '00000001' : '00000000';
  const make = (/** @type {string} */ owner, /** @type {number} */ minutes) => {
    const name = `target.cloakroom-${owner}-${Math.random().toString(16).slice(2, 10).padEnd(8, '0')}`;
    fs.mkdirSync(`${now.home}/${name}/old`, { recursive: true });
    const when = Date.now() / 1000 - 60 * minutes;
    fs.writeFileSync(`${now.home}/${name}/alive`, '.');
    fs.utimesSync(`${now.home}/${name}/alive`, when, when);
    return name;
  };
  const gone = [make(`${here}-${pid}`, 0), make(`${away}-${pid}`, 61), make(`${away}-${process.ppid}`, 61), make(`${here}-${process.ppid}`, 61)];
  const stays = [make(`${away}-${pid}`, 0), make(`${away}-${pid}`, 58), make(`${here}-${process.ppid}`, 58), make(`${here}-${process.pid}`, 0)];
  const left = () => fs.readdirSync(now.home).filter((name) => name.startsWith('target.cloakroom-'));
  assert.equal((await failure(client.load(now.id, now.target, { replace: true, snapshotId: 'ef'.repeat(16) }))).reason, 'SNAPSHOT_NOT_FOUND');
  assert.deepEqual(left(), [...gone, ...stays].sort(), 'a load that failed leaves what tells of others that did');
  await client.load(now.id, now.target, { replace: true });
  assert.deepEqual(left(), [...stays].sort());
});

test('a load gives a sign every minute', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const directory = temporary(t);
  const space = new Workspace(`${directory}/p`);
  const workspace = space.open();
  const signed = () => fs.statSync(`${workspace}/alive`).mtimeMs;
  fs.utimesSync(`${workspace}/alive`, 1, 1);
  t.mock.timers.tick(59_000);
  assert.equal(signed(), 1000);
  t.mock.timers.tick(2_000);
  assert.ok(Math.abs(signed() - Date.now()) < 10_000);
  space.close();
  t.mock.timers.tick(120_000);
  assert.deepEqual(fs.readdirSync(directory), []);
});

test('what cannot be put back is kept', async (t) => {
  const now = await scene(t);
  const { renameSync } = fs;
  t.after(() => (fs.renameSync = renameSync));
  fs.renameSync = (from, to) => {
    // A browser was faster: neither the new directory nor the former one finds its place free.
    if (String(from).endsWith('/tree')) throw Object.assign(new Error('ENOTEMPTY: directory not empty'), { code: 'ENOTEMPTY' });
    renameSync(from, to);
  };
  assert.equal((await failure(client.load(now.id, now.target, { replace: true }))).code, 'ENOTEMPTY');
  fs.renameSync = renameSync;
  const [left] = fs.readdirSync(now.home).filter((name) => name.startsWith('target.cloakroom-'));
  assert.deepEqual(picture(`${now.home}/${left}/old/tree`), now.old);
  await isRefused(now);
});

test('what appears at the last moment stays where nothing may be replaced, and so does its sidecar', async (t) => {
  const now = await scene(t);
  const { renameSync } = fs;
  t.after(() => (fs.renameSync = renameSync));
  for (const [name, appears] of /** @type {[string, (at: string) => void][]} */ ([
    ['directory', (at) => fs.cpSync(now.source, at, { recursive: true })],
    ['file', (at) => fs.writeFileSync(at, 'x')],
    ['link', (at) => fs.symlinkSync('source', at)],
  ])) {
    const target = `${now.home}/late-${name}`;
    fs.writeFileSync(`${target}.cloakroom.json`, 'of a directory that is gone');
    fs.renameSync = (from, to) => {
      if (to === target) {
        appears(target);
        fs.writeFileSync(`${target}.cloakroom.json`, 'of what has appeared');
      }
      renameSync(from, to);
    };
    const error = await failure(client.load(now.id, target));
    fs.renameSync = renameSync;
    assert.ok(error instanceof LocalError && error.reason === 'TARGET_EXISTS', `${name}: ${error}`);
    assert.equal(fs.readFileSync(`${target}.cloakroom.json`, 'utf8'), 'of what has appeared');
    if (name === 'file') assert.equal(fs.readFileSync(target, 'utf8'), 'x');
    else assert.deepEqual(Object.keys(picture(`${target}/`)), Object.keys(now.next));
    assert.deepEqual(
      fs.readdirSync(now.home).filter((one) => one.startsWith(`late-${name}.cloakroom-`)),
      [],
    );
  }
});

test('a browser that starts while a load runs keeps its profile', async (t) => {
  const now = await scene(t);
  const progress = () => {
    if (!fs.existsSync(`${now.target}/Started`)) fs.symlinkSync(`${os.hostname()}-${process.pid}`, `${now.target}/SingletonLock`);
    fs.writeFileSync(`${now.target}/Started`, '');
  };
  const error = await failure(client.load(now.id, now.target, { replace: true, progress }));
  assert.ok(error instanceof LocalError && error.reason === 'PROFILE_BUSY', `${error}`);
  assert.deepEqual(Object.keys(picture(now.target)), [...Object.keys(now.old), 'SingletonLock', 'Started'].sort());
  assert.equal(now.sidecar(), now.oldSidecar);
  await client.load(now.id, now.target, { replace: true, force: true });
  assert.deepEqual(picture(now.target), now.next);
});

test('a file system without second names gets copies', async (t) => {
  const now = await scene(t);
  const { linkSync } = fs;
  fs.linkSync = () => {
    throw Object.assign(new Error('EPERM: operation not permitted'), { code: 'EPERM' });
  };
  t.after(() => (fs.linkSync = linkSync));
  await heals(now);
});

test('what another load of this process is putting together stays', async (t) => {
  const now = await scene(t);
  await Promise.all([client.load(now.id, now.target, { replace: true }), client.load(now.id, `${now.home}/other`)]);
  assert.deepEqual(picture(`${now.home}/other`), now.next);
  const all = await Promise.allSettled([1, 2, 3].map(() => client.load(now.id, now.target, { replace: true })));
  assert.ok(all.some(({ status }) => status === 'fulfilled'));
  fs.rmSync(`${now.home}/other`, { recursive: true });
  fs.rmSync(`${now.home}/other.cloakroom.json`);
  await heals(now);
});
