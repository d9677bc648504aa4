// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { removeTree, setTime } from '../src/system.js';
import { DIGEST, digestLeaves, fileRoot } from '../src/tree.js';
import { content } from './vectors.js';

/** @typedef {import('../src/messages.js').Entry} Entry */

/**
 * A directory of its own for a test, gone when the test is.
 *
 * @param {{ after(fn: () => void): void }} t
 * @returns {string}
 */
export function temporary(t) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'cloakroom-node-'));
  t.after(() => removeTree(directory));
  return directory;
}

/**
 * @param {any} described an entry of a vector's tree
 * @returns {Entry}
 */
export function entryOf({ kind, path: name, mode, mtime_ns: mtimeNs, content: pieces = [], target = '' }) {
  const bytes = content(pieces);
  const leaves = digestLeaves(bytes);
  const size = kind === 'link' ? Buffer.byteLength(target) : bytes.length;
  return {
    kind,
    path: name,
    mode,
    mtimeNs: BigInt(mtimeNs),
    size,
    root: kind === 'file' ? fileRoot(leaves) : Buffer.alloc(0),
    leaves,
    target,
    stat: '',
  };
}

/**
 * @param {any[]} tree of a vector
 * @returns {Entry[]} in order of their paths
 */
export function entriesOf(tree) {
  return tree.map(entryOf).sort((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)));
}

/**
 * Makes a vector's tree on disk.
 *
 * @param {string} directory made here
 * @param {any[]} tree
 */
export function plant(directory, tree) {
  fs.mkdirSync(directory, { recursive: true });
  const sorted = tree.toSorted((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)));
  for (const entry of sorted) {
    const at = `${directory}/${entry.path}`;
    if (entry.kind === 'directory') fs.mkdirSync(at);
    if (entry.kind === 'file') fs.writeFileSync(at, content(entry.content));
    if (entry.kind === 'link') fs.symlinkSync(entry.target, at);
  }
  for (const entry of sorted.reverse()) {
    if (entry.kind === 'link') continue;
    fs.chmodSync(`${directory}/${entry.path}`, entry.mode);
    setTime(`${directory}/${entry.path}`, BigInt(entry.mtime_ns));
  }
}

/**
 * What a directory holds, told without the client's own code.
 *
 * @param {string} directory
 * @returns {Record<string, string>} for each path its kind, mode, time to the microsecond, and content
 */
export function picture(directory) {
  /** @type {Record<string, string>} */
  const seen = {};
  for (const name of fs.readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort()) {
    const at = `${directory}/${name}`;
    const stat = fs.lstatSync(at, { bigint: true });
    const common = `${(stat.mode & 0o7777n).toString(8)} ${stat.mtimeNs / 1000n}`;
    if (stat.isSymbolicLink()) seen[name] = `link ${fs.readlinkSync(at)}`;
    else if (stat.isDirectory()) seen[name] = `directory ${common}`;
    else seen[name] = `file ${common} ${fs.readFileSync(at).toString('base64')}`;
  }
  return seen;
}

/**
 * @param {Entry} entry
 * @returns {string[]} its leaf digests
 */
export function leavesOf({ leaves }) {
  return Array.from({ length: leaves.length / DIGEST }, (_, at) => leaves.toString('hex', at * DIGEST, (at + 1) * DIGEST));
}

/**
 * @param {string} directory made here
 * @param {Record<string, string | Buffer>} files
 * @returns {string}
 */
export function write(directory, files) {
  for (const [name, content] of Object.entries(files)) {
    fs.mkdirSync(`${directory}/${name}`.replace(/\/[^/]*$/, ''), { recursive: true });
    fs.writeFileSync(`${directory}/${name}`, content);
  }
  return directory;
}
