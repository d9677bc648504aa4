// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { loadSync } from '@grpc/proto-loader';

import { capture } from '../src/capture.js';
import { LocalError } from '../src/errors.js';
import { Assembly, cut, pack } from '../src/framing.js';
import { diff, place, scan, verify } from '../src/profiles.js';
import { protoDirectory } from '../src/resources.js';
import { isOf, readSidecar, sidecarPath, writeSidecar } from '../src/sidecar.js';
import { liveBrowser, removeTree, setTime, signatureAt } from '../src/system.js';
import { LEAF, manifestRoot } from '../src/tree.js';
import { picture, temporary } from '../support/trees.js';

const all = () => true;
const wire = loadSync('cloakroom/v1/profile.proto', {
  includeDirs: [protoDirectory],
  keepCase: false,
  longs: String,
  enums: String,
  defaults: true,
  oneofs: true,
});
const records = /** @type {import('@grpc/proto-loader').MessageTypeDefinition<any, any>} */ (wire['cloakroom.v1.ProfileRecords']);

/**
 * A source of numbers that gives the same ones for the same seed, so that a failure can be repeated.
 *
 * @param {number} seed
 */
function dice(seed) {
  let count = 0;
  const roll = (/** @type {number} */ sides) => createHash('sha256').update(`${seed}:${count++}`).digest().readUInt32BE() % sides;
  const bytes = (/** @type {number} */ size) =>
    Buffer.concat(Array.from({ length: Math.ceil(size / 32) }, () => createHash('sha256').update(`${seed}:${count++}`).digest())).subarray(0, size);
  return { roll, bytes, one: (/** @type {any[]} */ items) => items[roll(items.length)] };
}

const sizes = [0, 1, 100, LEAF - 1, LEAF, LEAF + 1, 3 * LEAF, 40 * LEAF + 17, 300 * LEAF + 5];
const names = ['a', 'a-b', 'a.b', 'b', 'Default', 'é', 'e\u0301', '～', '🍪', 'x y', '-', '...'];

/**
 * Changes a directory at random.
 *
 * @param {string} directory
 * @param {ReturnType<typeof dice>} luck
 * @param {number} steps
 */
function shake(directory, { roll, bytes, one }, steps) {
  for (let step = 0; step < steps; step++) {
    const directories = [
      '',
      ...fs
        .readdirSync(directory, { recursive: true, withFileTypes: true })
        .filter((item) => item.isDirectory())
        .map((item) => `${item.parentPath}/${item.name}`.slice(directory.length + 1)),
    ];
    const at = path.join(directory, one(directories), one(names));
    const there = fs.lstatSync(at, { throwIfNoEntry: false });
    const choice = roll(10);
    if (there && choice < 2) fs.rmSync(at, { recursive: true });
    else if (there?.isFile() && choice < 6) {
      const fd = fs.openSync(at, 'r+');
      fs.writeSync(fd, bytes(roll(2 * LEAF) + 1), 0, undefined, roll(Number(there.size) + 1));
      fs.closeSync(fd);
    } else if (there?.isFile() && choice < 7) fs.truncateSync(at, roll(Number(there.size) + 1));
    else if (there && !there.isSymbolicLink() && choice < 8) fs.chmodSync(at, there.isDirectory() ? one([0o700, 0o755]) : one([0o600, 0o644, 0o400]));
    else if (there && choice < 9) {
      const to = path.join(directory, one(directories), one(names));
      if (!fs.lstatSync(to, { throwIfNoEntry: false }) && !`${to}/`.startsWith(`${at}/`)) fs.renameSync(at, to);
    } else if (!there && choice < 5) fs.writeFileSync(at, bytes(one(sizes)));
    else if (!there && choice < 8) fs.mkdirSync(at);
    else if (!there) fs.symlinkSync(one(names), at);
  }
}

for (const seed of [1, 2, 3, 4, 5, 6, 7, 8]) {
  test(`the difference of two random trees, packed and applied to the first, gives the second (seed ${seed})`, async (t) => {
    const directory = temporary(t);
    const luck = dice(seed);
    fs.mkdirSync(`${directory}/base`);
    shake(`${directory}/base`, luck, 120);
    const before = await scan(`${directory}/base`, all);
    fs.cpSync(`${directory}/base`, `${directory}/new`, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
    shake(`${directory}/new`, luck, 60);
    const after = await scan(`${directory}/new`, all);

    const change = diff(before, after);
    const entries = new Map(before.map((entry) => [entry.path, { ...entry, seen: entry.stat }]));
    fs.mkdirSync(`${directory}/shelf`);
    const assembly = new Assembly(() => `${directory}/shelf`, { directory: `${directory}/base`, snapshotId: 'base', entries });
    assembly.accept({ message: 'begin', begin: { snapshot: { manifestRoot: manifestRoot(after) }, baseSnapshotId: 'base', contentBytes: '0' } });
    for (const piece of cut(change)) {
      const message = records.serialize(await pack(`${directory}/new`, change.entries, piece));
      assert.ok(message.length < 512 * 1024, `a message of ${message.length} bytes`);
      assembly.accept({ message: 'records', records: records.deserialize(message) });
    }
    assembly.accept({ message: 'end', end: { manifestRoot: manifestRoot(after) } });
    const { entries: complete, fresh } = verify(assembly);
    assert.deepEqual(manifestRoot(complete), manifestRoot(after));
    place(complete, fresh, assembly.base, `${directory}/target`, `${directory}/tree`);
    assert.deepEqual(picture(`${directory}/tree`), picture(`${directory}/new`));
    assert.ok(Object.keys(picture(`${directory}/new`)).length > 10, 'the trees are not trivial');
  });
}

test('a second look reads only what was touched', async (t) => {
  const directory = temporary(t);
  for (const name of ['a', 'b', 'c']) fs.writeFileSync(`${directory}/${name}`, name);
  await sleep(30);
  const known = new Map((await scan(directory, all)).map((entry) => [entry.path, entry]));
  fs.writeFileSync(`${directory}/b`, 'B');
  const again = await scan(directory, all, known);
  assert.equal(again[0], known.get('a'));
  assert.notEqual(again[1], known.get('b'));
  assert.notDeepEqual(again[1].root, known.get('b')?.root);
  assert.equal(again[2], known.get('c'));
});

test('what was written a moment ago is looked at again', async (t) => {
  const directory = temporary(t);
  for (let attempt = 0; ; attempt++) {
    fs.writeFileSync(`${directory}/a`, 'one');
    const written = Number(fs.statSync(`${directory}/a`).mtimeMs);
    const [entry] = await scan(directory, all);
    // A machine that was busy with something else has let it grow old.
    if (Date.now() - written >= 20 && attempt < 100) continue;
    assert.equal(entry.stat, '');
    break;
  }
});

test('a time that the file system cannot keep is remembered as it was stated', async (t) => {
  const directory = temporary(t);
  fs.mkdirSync(`${directory}/p`);
  fs.writeFileSync(`${directory}/p/f`, 'content');
  const stated = 1_700_000_000_123_456_789n;
  setTime(`${directory}/p/f`, stated);
  assert.equal(fs.statSync(`${directory}/p/f`, { bigint: true }).mtimeNs, stated - 789n, 'Node.js sets times to the microsecond');
  await sleep(30);
  const [found] = await scan(`${directory}/p`, all);
  const entries = [{ ...found, mtimeNs: stated }];
  writeSidecar(`${directory}/p`, {
    namespace: '',
    sessionId: 's',
    snapshotId: '0'.repeat(32),
    manifestRoot: manifestRoot(entries),
    storageState: false,
    origin: {},
    entries,
  });
  const sidecar = readSidecar(`${directory}/p`);
  const known = new Map(sidecar?.entries.map((entry) => [entry.path, entry]));
  const [untouched] = await scan(`${directory}/p`, all, known);
  assert.equal(untouched.mtimeNs, stated);
  assert.deepEqual(diff(sidecar?.entries ?? [], [untouched]), { entries: [], removed: [], runs: [] });
  fs.appendFileSync(`${directory}/p/f`, '!');
  const [touched] = await scan(`${directory}/p`, all, known);
  assert.equal(touched.mtimeNs, fs.statSync(`${directory}/p/f`, { bigint: true }).mtimeNs);
});

test('times are set to the microsecond, rounded down, on both sides of 1970', (t) => {
  const directory = temporary(t);
  fs.writeFileSync(`${directory}/f`, '');
  for (const stated of [
    0n,
    1n,
    999n,
    1000n,
    1_763_600_000_123_456_789n,
    1_763_600_000_999_999_999n,
    4_102_444_800_000_001_000n,
    -1n,
    -1_000n,
    -1_500_000_001n,
    -86_400_000_000_001n,
  ]) {
    setTime(`${directory}/f`, stated);
    const got = fs.statSync(`${directory}/f`, { bigint: true }).mtimeNs;
    assert.ok(stated - got >= 0n && stated - got < 1000n, `${stated} became ${got}`);
  }
});

test('the sidecar is the shared format', async (t) => {
  const directory = temporary(t);
  fs.mkdirSync(`${directory}/p`);
  fs.mkdirSync(`${directory}/p/d`);
  fs.writeFileSync(`${directory}/p/d/f`, 'x'.repeat(5000));
  fs.symlinkSync('d/f', `${directory}/p/l`);
  await sleep(30);
  const entries = await scan(`${directory}/p`, all);
  const origin = { os: 'linux', brand: 'chromium', browserVersion: '1.2', passwordStore: 'basic' };
  const sidecar = {
    namespace: 'n',
    sessionId: 's',
    snapshotId: 'ab'.repeat(16),
    manifestRoot: manifestRoot(entries),
    storageState: true,
    origin,
    entries,
  };
  writeSidecar(`${directory}/p`, sidecar);
  assert.equal(sidecarPath(`${directory}/p`), `${directory}/p.cloakroom.json`);
  assert.equal(fs.statSync(`${directory}/p.cloakroom.json`).mode & 0o777, 0o600);
  const body = JSON.parse(fs.readFileSync(`${directory}/p.cloakroom.json`, 'utf8'));
  assert.deepEqual(Object.keys(body), ['version', 'namespace', 'session_id', 'snapshot_id', 'manifest_root', 'storage_state', 'origin', 'entries']);
  assert.equal(body.storage_state, true);
  assert.deepEqual(body.origin, { os: 'linux', brand: 'chromium', browser_version: '1.2', password_store: 'basic' });
  assert.deepEqual(body.entries.map(Object.keys), [
    ['kind', 'path', 'mode', 'mtime_ns', 'size', 'stat'],
    ['kind', 'path', 'mode', 'mtime_ns', 'size', 'root', 'leaves', 'stat'],
    ['kind', 'path', 'mode', 'mtime_ns', 'size', 'target', 'stat'],
  ]);
  const stat = fs.lstatSync(`${directory}/p/d/f`, { bigint: true });
  assert.equal(body.entries[1].stat, `5000:${stat.mtimeNs}:${stat.ctimeNs}:${stat.ino}`);
  assert.equal(body.entries[1].mtime_ns, String(stat.mtimeNs));
  assert.equal(Buffer.from(body.entries[1].leaves, 'base64').length, 32);
  assert.deepEqual([body.entries[2].mode, body.entries[2].mtime_ns, body.entries[2].size], [0o777, '0', 3]);
  assert.deepEqual(readSidecar(`${directory}/p`), sidecar);
  const { origin: _, storage_state: __, ...without } = body;
  fs.writeFileSync(`${directory}/p.cloakroom.json`, JSON.stringify(without));
  const former = { ...sidecar, storageState: false, origin: {} };
  assert.deepEqual(readSidecar(`${directory}/p`), former, 'one from before there were origins, and a word on storage states');
  writeSidecar(`${directory}/p`, former);
  assert.ok(!fs.readFileSync(`${directory}/p.cloakroom.json`, 'utf8').includes('storage_state'));
});

test('a sidecar that is damaged counts as none, and one of another session is told apart', async (t) => {
  const directory = temporary(t);
  fs.mkdirSync(`${directory}/p`);
  fs.writeFileSync(`${directory}/p/f`, 'x');
  const entries = await scan(`${directory}/p`, all);
  writeSidecar(`${directory}/p`, {
    namespace: 'n',
    sessionId: 's',
    snapshotId: 'ab'.repeat(16),
    manifestRoot: manifestRoot(entries),
    storageState: false,
    origin: {},
    entries,
  });
  const sound = fs.readFileSync(`${directory}/p.cloakroom.json`, 'utf8');
  const read = readSidecar(`${directory}/p`);
  assert.ok(isOf(read, 's', 'n'));
  assert.ok(!isOf(read, 's', ''), "the caller's own may be another");
  assert.ok(!isOf(read, 'other', 'n'));
  assert.ok(!isOf(read, 's', 'other'));
  assert.ok(!isOf(undefined, 's', 'n'));
  for (const broken of [
    sound.slice(0, -1),
    sound.replace('"version":1', '"version":2'),
    sound.replace('"namespace":"n"', '"namespace":1'),
    sound.replace('"session_id":"s"', '"session_id":null'),
    sound.replace(/"mode":\d+/, '"mode":1'),
    sound.replace(/"leaves":"..../, '"leaves":"AAAA'),
  ]) {
    fs.writeFileSync(`${directory}/p.cloakroom.json`, broken);
    assert.equal(readSidecar(`${directory}/p`), undefined, broken);
  }
});

test('sockets and pipes do not travel', async (t) => {
  const directory = temporary(t);
  const server = net.createServer().listen(`${directory}/socket`);
  t.after(() => server.close());
  await sleep(10);
  fs.writeFileSync(`${directory}/file`, '');
  assert.deepEqual(
    (await scan(directory, all)).map(({ path }) => path),
    ['file'],
  );
});

test('what the contract cannot name is refused by name, unless it is excluded', async (t) => {
  const directory = temporary(t);
  const refused = async (/** @type {string} */ word) =>
    assert.rejects(scan(directory, all), (error) => error instanceof LocalError && error.reason === 'PATH_INVALID' && error.message.includes(word));
  fs.writeFileSync(`${directory}/back\\slash`, '');
  await refused('back');
  assert.deepEqual(await scan(directory, capture({ exclude: ['back*'] })), []);
  removeTree(`${directory}/back\\slash`);
  fs.symlinkSync('/etc/passwd', `${directory}/link`);
  await refused('link');
  removeTree(`${directory}/link`);
  fs.writeFileSync(Buffer.concat([Buffer.from(`${directory}/latin-`), Buffer.from([0xe9])]), '');
  await refused('latin-');
});

test('a file that does not hold still is named', async (t) => {
  const directory = temporary(t);
  fs.writeFileSync(`${directory}/busy`, Buffer.alloc(8 * 1024 * 1024));
  let running = true;
  const writing = (async () => {
    for (let at = 0; running; at++) {
      fs.appendFileSync(`${directory}/busy`, String(at));
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  t.after(() => writing);
  try {
    await assert.rejects(
      scan(directory, all),
      (error) => error instanceof LocalError && error.reason === 'PROFILE_CHANGING' && error.message.includes('busy'),
    );
  } finally {
    running = false;
  }
});

test('a file that changes between the look and the packing is not sent', async (t) => {
  const directory = temporary(t);
  fs.writeFileSync(`${directory}/f`, 'before');
  const entries = await scan(directory, all);
  const [piece] = cut(diff([], entries));
  fs.writeFileSync(`${directory}/f`, 'after!');
  await assert.rejects(pack(directory, entries, piece), (error) => error instanceof LocalError && error.reason === 'PROFILE_CHANGING');
});

test('the process that holds a profile is found', async (t) => {
  const directory = temporary(t);
  assert.equal(liveBrowser(directory), undefined);
  const lock = (/** @type {string} */ target) => {
    fs.rmSync(`${directory}/SingletonLock`, { force: true });
    fs.symlinkSync(target, `${directory}/SingletonLock`);
  };
  lock(`${os.hostname()}-${process.pid}`);
  assert.equal(liveBrowser(directory), process.pid);
  lock(`elsewhere-${process.pid}`);
  assert.equal(liveBrowser(directory), undefined);
  lock(`${os.hostname()}-4194305`);
  assert.equal(liveBrowser(directory), undefined);
});

test('a tree that may not be written is removed all the same', async (t) => {
  const directory = temporary(t);
  fs.mkdirSync(`${directory}/x/y`, { recursive: true });
  fs.writeFileSync(`${directory}/x/y/f`, '', { mode: 0o400 });
  fs.chmodSync(`${directory}/x/y`, 0o500);
  fs.chmodSync(`${directory}/x`, 0o500);
  removeTree(`${directory}/x`);
  assert.equal(signatureAt(`${directory}/x`), '');
});
