// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { test } from 'node:test';

import { LoadFailed } from '../src/errors.js';
import { faultInPath, faultInTarget } from '../src/paths.js';
import { Assembly } from '../src/framing.js';
import { diff, place, scan, verify } from '../src/profiles.js';
import { LEAF, manifestRoot } from '../src/tree.js';
import { entriesOf, entryOf, leavesOf, picture, plant, temporary } from '../support/trees.js';
import { content, vectors } from '../support/vectors.js';

test('digests', () => {
  for (const { name, content: pieces, size, sha256, leaf_count: count, leaves, last_leaf: last, root } of vectors('digests.json').files) {
    assert.equal(createHash('sha256').update(content(pieces)).digest('hex'), sha256, `the test's generator, ${name}`);
    const entry = entryOf({ kind: 'file', path: 'f', mode: 0o600, mtime_ns: '0', content: pieces });
    const digests = leavesOf(entry);
    assert.deepEqual(
      [entry.size, digests.length, digests.slice(0, 3), digests.at(-1) ?? '', entry.root.toString('hex')],
      [size, count, leaves, last, root],
      name,
    );
  }
});

test('manifest roots', () => {
  for (const { name, tree, manifest_root: root } of vectors('manifests.json').trees) {
    assert.equal(manifestRoot(entriesOf(tree)).toString('hex'), root, name);
  }
});

test('differences', () => {
  for (const { name, base, new: next, expected, manifest_root: root } of vectors('diffs.json').diffs) {
    const entries = entriesOf(next);
    const { entries: changed, removed, runs } = diff(entriesOf(base), entries);
    const bytes = new Map(next.map((/** @type {any} */ entry) => [entry.path, content(entry.content ?? [])]));
    const data = Buffer.concat(
      runs
        .filter(({ copyPath }) => copyPath === undefined)
        .map(({ entry, firstLeaf, leafCount }) => bytes.get(changed[entry].path).subarray(firstLeaf * LEAF, (firstLeaf + leafCount) * LEAF)),
    );
    const found = {
      entries: changed.map(({ path }) => path),
      removed,
      runs: runs.map(({ entry, firstLeaf, leafCount, copyPath, copyFirstLeaf }) => ({
        entry,
        first_leaf: firstLeaf,
        leaf_count: leafCount,
        ...(copyPath !== undefined && { copy_path: copyPath, copy_first_leaf: copyFirstLeaf }),
      })),
      data_size: data.length,
      data_sha256: createHash('sha256').update(data).digest('hex'),
    };
    assert.deepEqual(found, expected, name);
    assert.equal(manifestRoot(entries).toString('hex'), root, name);
  }
});

test('paths and links', () => {
  const { paths, links } = vectors('paths.json');
  for (const { path, ok, why } of paths) assert.equal(faultInPath(path) === '', ok, `${JSON.stringify(path)} ${why}`);
  for (const { path, target, ok, why } of links) assert.equal(faultInTarget(path, target) === '', ok, `${path} to ${JSON.stringify(target)} ${why}`);
});

const kinds = /** @type {Record<string, string>} */ ({ file: 'ENTRY_KIND_FILE', directory: 'ENTRY_KIND_DIRECTORY', link: 'ENTRY_KIND_SYMLINK' });

/**
 * A vector's message as gRPC would give it.
 *
 * @param {any} message
 * @param {Buffer} root
 * @returns {any}
 */
function wire(message, root) {
  if (message.begin) {
    const baseSnapshotId = message.begin.base ? 'base' : '';
    return { message: 'begin', begin: { snapshot: { manifestRoot: root }, baseSnapshotId, contentBytes: '0' } };
  }
  if (message.end) return { message: 'end', end: { manifestRoot: Buffer.from(message.end.manifest_root, 'hex') } };
  const { entries, runs, removed, codec, data, data_size: dataSize } = message.records;
  const records = {
    entries: entries.map((/** @type {any} */ entry) => ({
      kind: kinds[entry.kind],
      path: entry.path,
      mode: entry.mode,
      mtimeNs: entry.mtime_ns,
      size: String(entry.size),
      root: Buffer.from(entry.root ?? '', 'hex'),
      symlinkTarget: entry.target ?? '',
    })),
    runs: runs.map((/** @type {any} */ run) => ({
      entry: run.entry,
      firstLeaf: run.first_leaf,
      leafCount: run.leaf_count,
      copyPath: run.copy_path ?? '',
      copyFirstLeaf: run.copy_first_leaf ?? 0,
    })),
    removed,
    codec: `CODEC_${codec.toUpperCase()}`,
    data: Buffer.from(data, 'base64'),
    dataSize,
  };
  return { message: 'records', records };
}

/**
 * @param {string} directory
 * @param {any} vector
 * @returns {Promise<void>}
 */
async function assemble(directory, { base, messages }) {
  plant(`${directory}/base`, base);
  const held = await scan(`${directory}/base`, () => true);
  // What the file system could not keep of the times, a sidecar would remember.
  const stated = new Map(entriesOf(base).map((entry) => [entry.path, entry]));
  const entries = new Map(held.map((entry) => [entry.path, { ...entry, mtimeNs: stated.get(entry.path)?.mtimeNs ?? 0n, seen: entry.stat }]));
  fs.mkdirSync(`${directory}/shelf`);
  const assembly = new Assembly(() => `${directory}/shelf`, { directory: `${directory}/base`, snapshotId: 'base', entries });
  const root = Buffer.from(messages.find((/** @type {any} */ message) => message.end)?.end.manifest_root ?? '', 'hex');
  for (const message of messages) assembly.accept(wire(message, root));
  const { entries: complete, fresh } = verify(assembly);
  place(complete, fresh, assembly.base, `${directory}/target`, `${directory}/tree`);
}

for (const vector of vectors('loads.json').fine) {
  test(`load: ${vector.name}`, async (t) => {
    const directory = temporary(t);
    await assemble(directory, vector);
    plant(`${directory}/expected`, vector.tree);
    assert.deepEqual(picture(`${directory}/tree`), picture(`${directory}/expected`));
  });
}

for (const vector of vectors('loads.json').refused) {
  test(`load refused: ${vector.name}`, async (t) => {
    const directory = temporary(t);
    await assert.rejects(assemble(directory, vector), (error) => error instanceof LoadFailed && error.reason !== '', vector.refused);
    assert.equal(fs.existsSync(`${directory}/tree`), false);
  });
}
