// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file Profiles: walk, hash, diff, save; load, verify, rename. The algorithm stands in `profile.proto`, what a tree is made of in `tree.js`. */

import fs from 'node:fs';
import path from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';

import { LoadFailed, LocalError } from './errors.js';
import { faultInName } from './paths.js';
import { inflate, namesIn, readAt, setAttributes, signatureAt, squeeze, writeAt } from './system.js';
import { DIGEST, LEAF, MOST, byPath, digestLeaves, fileRoot, fromWire, look, manifestRoot, spanOf, toWire } from './tree.js';

/** @typedef {import('./messages.js').Entry} Entry */
/** @typedef {import('./messages.js').Run} Run */
/** @typedef {import('./messages.js').Difference} Difference */
/** @typedef {{ directory: string, snapshotId: string, entries: Map<string, Entry & { seen: string }> }} Base a directory that holds a snapshot; `seen`: its `stat` now */

/** About how many bytes a message is given: more brings nothing, and the contract allows four times as many. */
const MESSAGE = 64 * LEAF;

/**
 * Walks a directory, never through a link, and hashes what is not known or was touched since.
 *
 * @param {string} directory
 * @param {(path: string) => boolean} keeps
 * @param {Map<string, Entry>} [known] taken as it is while untouched
 * @returns {Promise<Entry[]>} in order of paths
 */
export async function scan(directory, keeps, known = new Map()) {
  /** @type {Entry[]} */
  const found = [];
  const walk = async (/** @type {string} */ parent) => {
    for (const bytes of namesIn(directory + parent)) {
      const name = `${parent}/${bytes}`.slice(1);
      if (!keeps(name)) continue;
      if (faultInName(bytes)) throw LocalError.path(name, faultInName(bytes));
      const old = known.get(name);
      const entry = old?.stat && signatureAt(`${directory}/${name}`) === old.stat ? old : await look(directory, name);
      if (entry) found.push(entry);
      if (entry?.kind === 'directory') await walk(`/${name}`);
    }
    await turn();
  };
  await walk('');
  return found.sort(byPath);
}

/**
 * Finds what has to travel to make one tree of another.
 *
 * @param {Entry[]} base in order of their paths
 * @param {Entry[]} next likewise
 * @returns {Difference} exactly as `client/vectors/README.md` says
 */
export function diff(base, next) {
  const olds = new Map(base.map((entry) => [entry.path, entry]));
  const texts = /** @type {Map<string, string>} */ (new Map());
  const leafOf = (/** @type {string} */ text, /** @type {number} */ at) => text.slice(at * DIGEST, (at + 1) * DIGEST);
  const textOf = (/** @type {string} */ name) => {
    const text = texts.get(name) ?? olds.get(name)?.leaves.toString('latin1') ?? '';
    texts.set(name, text);
    return text;
  };
  const first = /** @type {Map<string, [string, number]>} */ (new Map());
  const find = (/** @type {string} */ leaf) => {
    for (const name of first.size === 0 ? olds.keys() : []) {
      for (let at = 0, one; (one = leafOf(textOf(name), at)); at++) if (!first.has(one)) first.set(one, [name, at]);
    }
    return first.get(leaf);
  };
  const paths = new Set(next.map((entry) => entry.path));
  /** @type {Difference} */
  const change = { entries: [], removed: [...olds.keys()].filter((name) => !paths.has(name)), runs: [] };
  for (const entry of next) {
    const old = olds.get(entry.path);
    const same = old?.kind === entry.kind && old.mode === entry.mode && old.mtimeNs === entry.mtimeNs && old.size === entry.size;
    if (old && same && old.root.equals(entry.root) && old.target === entry.target) continue;
    const number = change.entries.push(entry) - 1;
    const text = entry.leaves.toString('latin1');
    /** @type {Run | undefined} */
    let run;
    for (let at = 0, leaf; (leaf = leafOf(text, at)); at++) {
      if (leafOf(textOf(entry.path), at) === leaf) {
        run = undefined;
        continue;
      }
      const from = run?.copyPath;
      const goesOn = run && from !== undefined && leafOf(textOf(from), (run.copyFirstLeaf ?? 0) + run.leafCount) === leaf;
      const source = goesOn ? undefined : find(leaf);
      if (run && (goesOn || (!source && from === undefined))) run.leafCount++;
      else change.runs.push((run = { entry: number, firstLeaf: at, leafCount: 1, ...(source && { copyPath: source[0], copyFirstLeaf: source[1] }) }));
    }
  }
  return change;
}

/**
 * Cuts a difference where its messages are full.
 *
 * @param {Difference} change
 * @returns {Generator<Difference>} the same, in pieces that fit a message each
 */
export function* cut({ entries, removed, runs }) {
  /** @type {Difference} */
  let message = { entries: [], removed: [], runs: [] };
  let weight = 0;
  function* add(/** @type {keyof Difference} */ list, /** @type {any} */ item, /** @type {number} */ cost) {
    if (weight > 0 && weight + cost > MESSAGE) {
      yield message;
      message = { entries: [], removed: [], runs: [] };
      weight = 0;
    }
    message[list].push(item);
    weight += cost;
  }
  for (const name of removed) yield* add('removed', name, 8 + Buffer.byteLength(name));
  for (let entry = 0, next = 0; entry < entries.length; entry++) {
    const { path: name, target, size } = entries[entry];
    yield* add('entries', entries[entry], 96 + Buffer.byteLength(name + target));
    for (let run; (run = runs[next])?.entry === entry; next++) {
      if (run.copyPath !== undefined) yield* add('runs', run, 32 + Buffer.byteLength(run.copyPath));
      for (let done = 0, leafCount; run.copyPath === undefined && done < run.leafCount; done += leafCount) {
        const firstLeaf = run.firstLeaf + done;
        leafCount = Math.min(run.leafCount - done, Math.max(1, Math.floor((MESSAGE - weight) / LEAF)));
        yield* add('runs', { entry, firstLeaf, leafCount }, 32 + spanOf(size, firstLeaf, leafCount));
      }
    }
  }
  if (weight > 0) yield message;
}

/**
 * Reads the data of a piece, which must still be what was hashed, and packs it.
 *
 * @param {string} directory
 * @param {Entry[]} all the entries of the whole difference
 * @param {Difference} piece
 * @param {number} [level] how hard to pack the data; 0 for not at all
 * @returns {Promise<any>} a `ProfileRecords`
 */
export async function pack(directory, all, { entries, removed, runs }, level = 6) {
  const raw = Buffer.concat(
    runs
      .filter((run) => run.copyPath === undefined)
      .map(({ entry, firstLeaf, leafCount }) => {
        const { path: name, size, leaves } = all[entry];
        const bytes = readAt(`${directory}/${name}`, firstLeaf * LEAF, spanOf(size, firstLeaf, leafCount));
        if (!digestLeaves(bytes).equals(leaves.subarray(firstLeaf * DIGEST, (firstLeaf + leafCount) * DIGEST))) throw LocalError.changing(name);
        return bytes;
      }),
  );
  return { entries: entries.map(toWire), removed, runs, ...(await squeeze(raw, level)), dataSize: raw.length };
}

/** Takes a load's messages and makes a directory of them, in a workspace beside the place where it will stand. Nothing gets a name from the wire before all is verified. */
export class Assembly {
  named = /** @type {(Entry & { covered: Uint8Array })[]} */ ([]);
  removed = /** @type {Set<string>} */ (new Set());
  fresh = /** @type {Map<string, string>} */ (new Map());
  storageState = /** @type {Buffer[]} */ ([]);
  begin = /** @type {any} */ (undefined);
  root = /** @type {Buffer | undefined} */ (undefined);

  /**
   * @param {string} workspace an empty directory
   * @param {Base} [base]
   */
  constructor(workspace, base) {
    this.workspace = workspace;
    this.base = base;
  }

  /**
   * @param {any} message a `LoadProfileResponse`
   */
  accept(message) {
    if (this.root || (message.message === 'begin') === Boolean(this.begin))
      throw LoadFailed.because(`a message \`${message.message}\` came out of turn`, 'STREAM_PROTOCOL');
    if (message.message === 'storageState') this.storageState.push(message.storageState.data);
    else if (message.message === 'records') this.records(message.records);
    else if (message.message === 'end') this.root = message.end.manifestRoot;
    else if (message.message === 'begin') {
      this.begin = message.begin;
      if (!this.begin.baseSnapshotId) this.base = undefined;
      else if (this.begin.baseSnapshotId !== this.base?.snapshotId) throw LoadFailed.because('it is a difference to a snapshot that is not here');
    } else throw LoadFailed.because('a message of an unknown kind: is this client older than the daemon?', 'STREAM_PROTOCOL');
  }

  /**
   * @param {any} records a `ProfileRecords`
   */
  records({ entries, runs, removed, codec, data, dataSize }) {
    for (const entry of entries.map(fromWire)) {
      const covered = new Uint8Array(entry.leaves.length / DIGEST);
      if (entry.kind === 'file') writeAt(`${this.workspace}/${this.named.length}`, 0, Buffer.alloc(0));
      this.named.push({ ...entry, covered });
    }
    for (const name of removed) this.removed.add(name);
    const bytes = codec === 'CODEC_DEFLATE' ? inflate(data, Math.min(dataSize, MOST)) : codec === 'CODEC_RAW' ? data : Buffer.alloc(0);
    if (bytes.length !== dataSize || dataSize > MOST)
      throw LoadFailed.because(`${data.length} bytes of ${codec} do not give the ${dataSize} that were announced`);
    let at = 0;
    for (const { entry, firstLeaf, leafCount, copyPath, copyFirstLeaf } of runs) {
      const length = spanOf(this.named[entry]?.size ?? 0, firstLeaf, leafCount);
      if (copyPath) this.copy(entry, firstLeaf, leafCount, copyPath, copyFirstLeaf);
      else this.write(entry, firstLeaf, leafCount, bytes.subarray(at, (at += Math.max(0, length))));
    }
    if (at !== bytes.length) throw LoadFailed.because(`${bytes.length} bytes came where the runs need ${at}`);
  }

  /**
   * @param {number} number
   * @param {number} first
   * @param {number} count
   * @param {Buffer} bytes
   */
  write(number, first, count, bytes) {
    const { kind, path: name, size, leaves, covered } = this.named[number] ?? {};
    if (kind !== 'file' || count < 1 || first + count > covered.length || bytes.length !== spanOf(size, first, count))
      throw LoadFailed.because(`leaves ${first} to ${first + count} do not fit entry ${number}`);
    if (covered.subarray(first, first + count).includes(1)) throw LoadFailed.because(`a leaf of ${JSON.stringify(name)} came twice`);
    covered.fill(1, first, first + count);
    digestLeaves(bytes).copy(leaves, first * DIGEST);
    writeAt(`${this.workspace}/${number}`, first * LEAF, bytes);
  }

  /**
   * @param {number} number
   * @param {number} first
   * @param {number} count
   * @param {string} source
   * @param {number} sourceFirst
   */
  copy(number, first, count, source, sourceFirst) {
    const from = this.base?.entries.get(source);
    if (!this.base || from?.kind !== 'file') throw LoadFailed.because(`leaves come from ${JSON.stringify(source)}, which is not a file here`);
    for (let done = 0, some; done < Math.max(1, count); done += some) {
      some = Math.min(count - done, MOST / LEAF);
      this.write(
        number,
        first + done,
        some,
        readAt(`${this.base.directory}/${source}`, (sourceFirst + done) * LEAF, Math.max(0, spanOf(from.size, sourceFirst + done, some))),
      );
    }
  }

  /** @returns {Entry[]} what the directory will hold, in order of the paths: complete, and with every root as announced */
  finish() {
    if (!this.root) throw LoadFailed.because('the stream broke off before its end', 'STREAM_TRUNCATED');
    /** @type {Map<string, Entry>} */
    const all = new Map(this.base?.entries);
    for (const name of this.removed) if (!all.delete(name)) throw LoadFailed.because(`${JSON.stringify(name)} is removed, but was not there`);
    for (const [number, { covered, ...entry }] of this.named.entries()) {
      for (let at, end; (at = covered.indexOf(0)) !== -1;)
        this.copy(number, at, ((end = covered.indexOf(1, at)) === -1 ? covered.length : end) - at, entry.path, at);
      if (entry.kind === 'file' && !fileRoot(entry.leaves).equals(entry.root))
        throw LoadFailed.because(`${JSON.stringify(entry.path)} has another root than announced`, 'DIGEST_MISMATCH');
      if (this.removed.has(entry.path) || this.fresh.has(entry.path)) throw LoadFailed.because(`${JSON.stringify(entry.path)} is named twice`);
      all.set(entry.path, entry);
      this.fresh.set(entry.path, `${this.workspace}/${number}`);
    }
    for (const name of all.keys())
      if (name.includes('/') && all.get(path.posix.dirname(name))?.kind !== 'directory')
        throw LoadFailed.because(`${JSON.stringify(name)} is not in a directory`);
    const entries = [...all.values()].sort(byPath);
    const root = manifestRoot(entries);
    if (!root.equals(this.root) || !root.equals(this.begin.snapshot?.manifestRoot ?? Buffer.alloc(0)))
      throw LoadFailed.because('the whole has another manifest root than announced', 'DIGEST_MISMATCH');
    return entries;
  }

  /**
   * @param {Entry[]} entries what `finish` gave
   * @param {string} tree a place for it, in the workspace
   * @param {(base: Base, path: string, to: string) => void} take brings an unchanged file
   */
  place(entries, tree, take) {
    fs.mkdirSync(tree, { mode: 0o700 });
    for (const { kind, path: name } of entries) {
      const blob = this.fresh.get(name);
      if (kind === 'directory') fs.mkdirSync(`${tree}/${name}`, { mode: 0o700 });
      else if (kind === 'file' && blob) fs.renameSync(blob, `${tree}/${name}`);
      else if (kind === 'file' && this.base) take(this.base, name, `${tree}/${name}`);
    }
    // Links come when nothing is written through them any more; directories get their times when nothing is put into them any more.
    for (const { kind, path: name, target } of entries) if (kind === 'link') fs.symlinkSync(target, `${tree}/${name}`);
    for (const { kind, path: name, mode, mtimeNs } of entries.toReversed()) if (kind !== 'link') setAttributes(`${tree}/${name}`, mode, mtimeNs);
  }
}
