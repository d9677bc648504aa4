// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file How a difference travels: cut into messages and packed for a save, taken from messages into a workspace in a load. */

import { LoadFailed, LocalError } from './errors.js';
import { inflate, readAt, squeeze, writeAt } from './system.js';
import { DIGEST, LEAF, MOST, digestLeaves, fromWire, spanOf, toWire } from './tree.js';

/** @typedef {import('./messages.js').Entry} Entry */
/** @typedef {import('./messages.js').Run} Run */
/** @typedef {import('./messages.js').Difference} Difference */
/** @typedef {{ directory: string, snapshotId: string, entries: Map<string, Entry & { seen: string }> }} Base a directory that holds a snapshot; `seen`: its `stat` now */

/** About how many bytes a message is given: more brings nothing, and the contract allows four times as many. */
const MESSAGE = 64 * LEAF;
/** Bytes of content above which packing quickly beats packing well; on one host, above which packing does not pay. */
const FAST_ABOVE = 4 * 1024 * 1024;
/** Bytes of a storage state in one message. */
const CHUNK = 256 * 1024;

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

/**
 * Works some items ahead, so that one is packed while another is on its way.
 *
 * @template T, U
 * @param {Iterable<T>} items
 * @param {(item: T) => Promise<U>} work
 * @returns {AsyncGenerator<U>}
 */
async function* ahead(items, work) {
  /** @type {Promise<U>[]} */
  const queue = [];
  for (const item of items) {
    const one = work(item);
    one.catch(() => {});
    queue.push(one);
    if (queue.length > 2) yield /** @type {Promise<U>} */ (queue.shift());
  }
  yield* queue;
}

/**
 * All messages of a save.
 *
 * @param {{ namespace: string, begin: any, directory: string, change: Difference, state: Buffer, root: Buffer }} save
 * @param {boolean} compress
 * @param {(done: number, total: number) => void} tell
 * @returns {AsyncGenerator<any, void, void>} `SaveProfileRequest`s
 */
export async function* saveMessages({ namespace, begin, directory, change, state, root }, compress, tell) {
  const sent = change.runs.filter(({ copyPath }) => copyPath === undefined);
  const total = sent.reduce((sum, { entry, firstLeaf, leafCount }) => sum + spanOf(change.entries[entry].size, firstLeaf, leafCount), state.length);
  const level = total <= FAST_ABOVE ? 6 : compress ? 1 : 0;
  let done = 0;
  yield { namespace, begin };
  for await (const records of ahead(cut(change), (piece) => pack(directory, change.entries, piece, level))) {
    yield { records };
    tell((done += records.dataSize), total);
  }
  for (let at = 0; at < state.length; at += CHUNK) {
    const data = state.subarray(at, at + CHUNK);
    yield { storageState: { data } };
    tell((done += data.length), total);
  }
  yield { end: { manifestRoot: root } };
  tell(done, total);
}

/** What a load's messages bring, in a workspace beside the place where the directory will stand. Nothing gets a name from the wire before all is verified. */
export class Assembly {
  named = /** @type {(Entry & { covered: Uint8Array })[]} */ ([]);
  removed = /** @type {Set<string>} */ (new Set());
  storageState = /** @type {Buffer[]} */ ([]);
  begin = /** @type {any} */ (undefined);
  root = /** @type {Buffer | undefined} */ (undefined);

  shelf = /** @type {string | undefined} */ (undefined);

  /**
   * @param {() => string} makeShelf gives an empty directory, when there is something to put there
   * @param {Base} [base]
   */
  constructor(makeShelf, base) {
    this.makeShelf = makeShelf;
    this.base = base;
  }

  /** The directory in which what came lies. */
  get workspace() {
    return (this.shelf ??= this.makeShelf());
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
}
