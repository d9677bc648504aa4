// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file What the client does when a real daemon goes away at a bad moment. */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { test } from 'node:test';

import { Client } from '../src/index.js';
import { Daemon } from '../support/daemon.js';
import { picture, temporary } from '../support/trees.js';

/**
 * A daemon that a test may kill, a client of it, and a session.
 *
 * @param {import('node:test').TestContext} t
 */
async function mortal(t) {
  const daemon = new Daemon();
  t.after(() => daemon.remove());
  await daemon.start();
  const client = new Client(daemon.target);
  t.after(() => client.close());
  const { id } = await client.sessions.create({ businessId: 'b' });
  return { daemon, client, id };
}

/**
 * Kills a daemon once, and starts it anew in the background.
 *
 * @param {Daemon} daemon
 */
function killer(daemon) {
  /** @type {Promise<unknown> | undefined} */
  let restarted;
  return {
    strike: () => (restarted ??= daemon.stop('SIGKILL').then(() => daemon.start())),
    done: async () => assert.ok(await restarted, 'the daemon was killed'),
  };
}

/**
 * @param {string} directory made here
 * @param {number} count files of 1 MiB
 */
function fill(directory, count) {
  fs.mkdirSync(directory);
  for (let at = 0; at < count; at++) fs.writeFileSync(`${directory}/f${at}`, randomBytes(1024 * 1024));
}

test('a save goes on after the daemon was killed', async (t) => {
  const { daemon, client, id } = await mortal(t);
  const directory = temporary(t);
  fill(`${directory}/p`, 24);
  const { strike, done } = killer(daemon);
  const storageState = { cookies: [], origins: [] };
  const saved = await client.save(id, `${directory}/p`, { storageState, progress: ({ done, total }) => void (done > total / 2 && strike()) });
  await done();
  const all = [];
  for await (const snapshot of client.snapshots(id)) all.push(snapshot.id);
  assert.deepEqual(all, [saved.snapshot.id]);
  const loaded = await client.load(id, `${directory}/q`, { withStorageState: true });
  assert.deepEqual(picture(`${directory}/q`), picture(`${directory}/p`));
  assert.deepEqual(loaded.storageState, storageState);
  assert.equal((await client.save(id, `${directory}/p`)).messages, 2, 'the sidecar is that of the save');
});

test('a load goes on after the daemon was killed', async (t) => {
  const { daemon, client, id } = await mortal(t);
  const directory = temporary(t);
  fill(`${directory}/p`, 60);
  await client.save(id, `${directory}/p`);
  const { strike, done } = killer(daemon);
  await client.load(id, `${directory}/q`, { progress: ({ done }) => void (done > 1024 * 1024 && strike()) });
  await done();
  assert.deepEqual(picture(`${directory}/q`), picture(`${directory}/p`));
  assert.deepEqual(fs.readdirSync(directory).sort(), ['p', 'p.cloakroom.json', 'q', 'q.cloakroom.json']);
});

test('a watch says so when the daemon lost everything', async (t) => {
  const { daemon, client } = await mortal(t);
  const stop = AbortSignal.timeout(60_000);
  /** @type {string[]} */
  const seen = [];
  for await (const event of client.watch({ bookmarkIntervalSeconds: 1, signal: stop })) {
    if (event.kind === 'bookmark' && !seen.includes('bookmark')) {
      await daemon.stop('SIGKILL');
      fs.rmSync(daemon.directory, { recursive: true });
      await daemon.start();
    }
    if (event.kind === 'reset') {
      assert.equal(event.reason, 'HISTORY_CHANGED');
      assert.ok(event.spreadSeconds > 0 && event.spreadSeconds <= 60, `${event.spreadSeconds}`);
      await client.sessions.create({ sessionId: 'after', businessId: 'b' });
    }
    seen.push(event.kind);
    if (event.kind === 'changes') {
      assert.deepEqual(
        event.changes.map(({ sessionId }) => sessionId),
        ['after'],
      );
      break;
    }
  }
  assert.deepEqual(
    seen.filter((kind, at) => kind !== seen[at - 1]),
    ['opened', 'bookmark', 'opened', 'reset', ...(seen.at(-2) === 'bookmark' ? ['bookmark'] : []), 'changes'],
  );
});
