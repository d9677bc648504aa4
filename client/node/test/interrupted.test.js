// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file A load in the place of a former directory that ends at any step: killed, or because the disk is full. */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Client, LocalError, ParentNotHead } from '../src/index.js';
import { setTime } from '../src/system.js';
import { Daemon } from '../support/daemon.js';
import { failure } from '../support/failure.js';
import { full, interfere } from '../support/faults.js';
import { picture, temporary } from '../support/trees.js';

const faults = fileURLToPath(new URL('../support/faults.js', import.meta.url));
const daemon = new Daemon();
/** @type {Client} */
let client;

before(async () => {
  await daemon.start();
  client = new Client(daemon.target);
});

after(async () => {
  client?.close();
  await daemon.remove();
});

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

test('killed before any step', { timeout: 300_000 }, async (t) => {
  /** @type {Record<string, number>} */
  const found = { old: 0, nothing: 0, new: 0 };
  for (let step = 1, done = false; !done; step++) {
    const now = await scene(t);
    const { stdout, signal } = spawnSync(process.execPath, [faults, daemon.target, now.id, now.target, String(step)], { encoding: 'utf8' });
    done = stdout === 'done\n';
    assert.equal(signal, done ? null : 'SIGKILL');
    if (!fs.existsSync(now.target)) {
      found.nothing++;
      const error = await failure(client.save(now.id, now.target));
      assert.ok(error instanceof LocalError && error.reason === 'PROFILE_MISSING' && /cut short.*load it again/.test(error.message), error.message);
    } else {
      const seen = picture(now.target);
      const isNew = Object.hasOwn(seen, 'Default/New');
      found[isNew ? 'new' : 'old']++;
      assert.deepEqual(seen, isNew ? now.next : now.old, `before step ${step}`);
      // What stands there is whole; and it is not taken for the head where it is not known to come from it.
      const saved = await client.save(now.id, now.target).catch((error) => error);
      assert.ok(
        saved instanceof ParentNotHead || (isNew && saved.snapshot?.manifestRoot.equals(now.snapshot.manifestRoot)),
        `before step ${step}: ${saved}`,
      );
    }
    await heals(now);
  }
  assert.ok(found.old > 15 && found.nothing === 1 && found.new > 2, JSON.stringify(found));
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
