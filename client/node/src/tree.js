// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file What a profile's tree is made of: entries, leaves and their digests, as `profile.proto` describes them. */

import * as crypto from 'node:crypto';
import fs from 'node:fs';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';

import { LoadFailed, LocalError } from './errors.js';
import { faultInPath, faultInTarget } from './paths.js';
import { kindOf, lstat, readAt, settledSignature, signature, signatureAt } from './system.js';

/** @typedef {import('./messages.js').Entry} Entry */

/** Bytes of a leaf and of its digest. */
export const LEAF = 4096;
export const DIGEST = 16;
/** Most bytes of leaves in one message. */
export const MOST = 240 * LEAF;
/** The kinds of entries, each at its number in the contract, and their names there. */
const KINDS = /** @type {const} */ (['', 'file', 'directory', 'link']);
const WIRE_KINDS = ['', 'ENTRY_KIND_FILE', 'ENTRY_KIND_DIRECTORY', 'ENTRY_KIND_SYMLINK'];
/** Largest file that is believed, so that a damaged size does not ask for all memory: 64 GiB have 256 MiB of digests. */
const MOST_SIZE = 2 ** 36;
const nothing = Buffer.alloc(0);

/** @type {(data: Uint8Array) => Buffer} */
const sha256 = 'hash' in crypto ? (data) => crypto.hash('sha256', data, 'buffer') : (data) => crypto.createHash('sha256').update(data).digest();

/**
 * @param {number} size of a file
 * @param {number} first
 * @param {number} count
 * @returns {number} how many bytes some of its leaves have
 */
export function spanOf(size, first, count) {
  return Math.min(size, (first + count) * LEAF) - first * LEAF;
}

/**
 * @param {{ path: string }} a
 * @param {{ path: string }} b
 * @returns {number} the order of their paths' UTF-8 bytes
 */
export function byPath(a, b) {
  return Buffer.compare(Buffer.from(a.path), Buffer.from(b.path));
}

/**
 * @param {Buffer} bytes whole leaves, the last one may be shorter
 * @returns {Buffer} their digests, one after the other
 */
export function digestLeaves(bytes) {
  const digests = Buffer.allocUnsafe(Math.ceil(bytes.length / LEAF) * DIGEST);
  for (let at = 0; at * LEAF < bytes.length; at++) sha256(bytes.subarray(at * LEAF, (at + 1) * LEAF)).copy(digests, at * DIGEST, 0, DIGEST);
  return digests;
}

/**
 * @param {Buffer} leaves digests of all leaves of a file
 * @returns {Buffer} its root
 */
export function fileRoot(leaves) {
  return sha256(leaves);
}

/**
 * @param {Entry[]} entries in order of their paths
 * @returns {Buffer}
 */
export function manifestRoot(entries) {
  const digest = crypto.createHash('sha256');
  for (const { kind, path: name, mode, mtimeNs, size, root, target } of entries) {
    const head = Buffer.alloc(25);
    head.writeUInt8(KINDS.indexOf(kind), 0);
    head.writeUInt32BE(mode, 1);
    head.writeBigInt64BE(mtimeNs, 5);
    head.writeBigUInt64BE(BigInt(size), 13);
    head.writeUInt32BE(Buffer.byteLength(name), 21);
    digest
      .update(head)
      .update(name)
      .update(kind === 'file' ? root : kind === 'link' ? sha256(Buffer.from(target)) : Buffer.alloc(32));
  }
  return digest.digest();
}

/**
 * @param {string} directory
 * @param {string} name
 * @returns {Promise<Entry | undefined>} undefined if nothing is there that can travel
 */
export async function look(directory, name) {
  const at = `${directory}/${name}`;
  for (const pause of [10, 50, 250, 0]) {
    const now = Date.now();
    const stat = lstat(at);
    const kind = kindOf(stat);
    if (!stat || !kind) return undefined;
    const fault = faultInPath(name);
    if (fault) throw LocalError.path(name, fault);
    const common = { kind, path: name, mode: Number(stat.mode & 0o7777n), mtimeNs: stat.mtimeNs, stat: settledSignature(stat, now) };
    const found = { ...common, size: 0, root: nothing, leaves: nothing, target: '' };
    if (kind === 'directory') return found;
    try {
      const target = kind === 'link' ? fs.readlinkSync(at) : '';
      const astray = kind === 'link' ? faultInTarget(name, target) : '';
      if (astray) throw LocalError.path(name, `it is a link to ${JSON.stringify(target)}, and of that ${astray}`);
      if (kind === 'link') return { ...found, mode: 0o777, mtimeNs: 0n, size: Buffer.byteLength(target), target };
      const size = Number(stat.size);
      const pieces = [];
      for (let done = 0; done < size; done += MOST) {
        pieces.push(digestLeaves(readAt(at, done, Math.min(MOST, size - done))));
        if (size > MOST) await turn();
      }
      const leaves = Buffer.concat(pieces);
      if (signatureAt(at) === signature(stat)) return { ...found, size, root: fileRoot(leaves), leaves };
    } catch (error) {
      if (!['ENOENT', 'ELOOP', 'EINVAL'].includes(/** @type {NodeJS.ErrnoException} */ (error).code ?? '')) throw error;
    }
    await sleep(pause);
  }
  throw LocalError.changing(name);
}

/**
 * @param {Entry} entry
 * @returns {any} an `Entry` of the contract
 */
export function toWire({ kind, path, mode, mtimeNs, size, root, target }) {
  return { kind: WIRE_KINDS[KINDS.indexOf(kind)], path, mode, mtimeNs: String(mtimeNs), size, root, symlinkTarget: target };
}

/**
 * @param {any} wire an `Entry` of the contract, from a load
 * @returns {Entry} with a place for its leaves
 */
export function fromWire({ kind: wireKind, path, mode, mtimeNs, size: wireSize, root, symlinkTarget: target }) {
  const kind = KINDS[WIRE_KINDS.indexOf(wireKind)];
  const size = Number(wireSize);
  const fault = faultInPath(path) || (kind === 'link' ? faultInTarget(path, target) : '');
  if (fault) throw LoadFailed.because(`${JSON.stringify(path)}: ${fault}`, 'PATH_INVALID');
  const [least, most, rootLength] = {
    '': [0, -1, 0],
    file: [0, MOST_SIZE, 32],
    directory: [0, 0, 0],
    link: [Buffer.byteLength(target), Buffer.byteLength(target), 0],
  }[kind ?? ''];
  if (!kind || size < least || size > most || root.length !== rootLength || mode > 0o7777) {
    throw LoadFailed.because(`${JSON.stringify(path)} is described wrongly`);
  }
  const leaves = Buffer.alloc(Math.ceil((kind === 'file' ? size : 0) / LEAF) * DIGEST);
  return { kind, path, mode, mtimeNs: BigInt(mtimeNs), size, root, leaves, target, stat: '' };
}
