// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file What stands around a profile's stream: what the directory held before, who uses it now, retries, progress, and the swap of directories. */

import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { backoff } from './backoff.js';
import { capture } from './capture.js';
import { LocalError, Unavailable } from './errors.js';
import { short, snapshot } from './messages.js';
import { Assembly, cut, diff, pack, scan } from './profiles.js';
import { storageStateBytes } from './sessions.js';
import { readSidecar, sidecarPath, writeSidecar } from './sidecar.js';
import { TICK_MS, liveBrowser, lstat, origin, removeTree, settledSignature, signatureAt } from './system.js';
import { look, manifestRoot, spanOf } from './tree.js';

/** @typedef {import('./connection.js').Connection} Connection */
/** @typedef {import('./messages.js').Entry} Entry */
/** @typedef {import('./messages.js').Snapshot} Snapshot */
/** @typedef {import('./messages.js').Progress} Progress */
/** @typedef {import('./profiles.js').Base} Base */

/**
 * @typedef {object} SaveExtras
 * @property {object | string | Uint8Array} [storageState] Playwright's storage state, to be saved and restored with the profile
 * @property {string} [uploadId] names this save for repetitions; made by the client if not given
 * @property {string} [etag] only if the session still has this
 * @property {number} [leaseToken] the lease under which this is saved
 * @property {Partial<import('./messages.js').Portability>} [portability] where the profile comes from, as far as the caller knows better
 * @property {boolean} [force] save although a live browser holds the profile; what it has not yet written is then missing
 * @property {boolean} [compress] pack the data on its way; if not given, unless the daemon is on this host and there is much of it
 * @property {Progress} [progress]
 * @property {AbortSignal} [signal]
 */
/** @typedef {SaveExtras & import('./capture.js').CaptureOptions} SaveOptions */
/**
 * @typedef {object} Saved
 * @property {Snapshot} snapshot the session's new head
 * @property {number} revision the revision of the change
 * @property {string} sessionEtag the session's etag after the save; empty if the answer was lost and the save was found committed afterwards
 * @property {string} uploadId names this save; give it back to repeat it
 * @property {number} messages how many were sent; 0 if the answer was lost
 * @property {number} wireBytes their bytes, before gRPC frames them; 0 if the answer was lost
 */

/**
 * @typedef {object} LoadOptions
 * @property {string} [snapshotId] the wanted snapshot; the head if not given
 * @property {string} [have] a directory with a former snapshot of the session: what is unchanged comes from it; with `replace` the directory itself if not given
 * @property {boolean} [replace] put the profile in the place of what is there, in one step at the end
 * @property {boolean} [force] replace it although a live browser holds it
 * @property {boolean} [withStorageState] also the storage state that was saved with the snapshot
 * @property {boolean} [compress] have the data packed on its way; if not given, unless the daemon is on this host
 * @property {number} [minRevision] nothing older than this
 * @property {Progress} [progress]
 * @property {AbortSignal} [signal]
 */
/**
 * @typedef {object} Loaded
 * @property {string} directory where the profile is
 * @property {Snapshot} snapshot what it is
 * @property {string} baseSnapshotId what the stream was a difference to; empty for a full load
 * @property {number} contentBytes bytes of file content that travelled, unpacked
 * @property {any} storageState the storage state, if it was asked for and saved with the snapshot
 * @property {Buffer | undefined} storageStateBytes the same byte for byte
 */

/** How often a broken stream is tried in all, and a profile that changes is read anew. */
const ATTEMPTS = 5;
const READS = 3;
/** Bytes of content above which packing quickly beats packing well; on one host, above which packing does not pay. */
const FAST_ABOVE = 4 * 1024 * 1024;
/** Bytes of a storage state in one message. */
const CHUNK = 256 * 1024;

/**
 * @param {string} directory
 * @param {boolean} force
 * @returns {boolean} whether the browser has exited
 */
function checkBrowser(directory, force) {
  const pid = liveBrowser(directory);
  if (pid && !force) {
    throw new LocalError(`the browser with process id ${pid} has ${directory} open: close it and wait for its exit, or say force`, {
      reason: 'PROFILE_BUSY',
      metadata: { pid: String(pid) },
    });
  }
  return !pid;
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
 * Tells what has moved; a stream that is sent again does not count backwards.
 *
 * @param {Progress | undefined} progress
 */
function teller(progress) {
  let told = -1;
  return (/** @type {number} */ done, /** @type {number} */ total) => {
    if (done > told) progress?.({ done: (told = done), total });
  };
}

/**
 * Saves a directory as the session's new head. Only what differs from the snapshot that it came from travels.
 *
 * @param {Connection} connection
 * @param {string} sessionId
 * @param {string} directory
 * @param {SaveOptions} [options]
 * @returns {Promise<Saved>}
 */
export async function save(connection, sessionId, directory, options = {}) {
  const { policy = 'default', include, exclude, storageState, uploadId, etag, leaseToken, force = false, signal } = options;
  const keeps = capture({ policy, include, exclude });
  const from = path.resolve(directory);
  if (!lstat(from)?.isDirectory()) {
    throw new LocalError(`${from} is not a directory: nothing can be saved from it`, { reason: 'PROFILE_MISSING' });
  }
  const quiesced = checkBrowser(from, force);
  const portability = { ...origin(from), quiesced, capturePolicy: policy, ...options.portability };
  const state = storageState === undefined ? Buffer.alloc(0) : storageStateBytes(storageState);
  const known = readSidecar(from, sessionId, connection.namespace);
  const session = known ? undefined : (await connection.unary('SessionService', 'getSession', { sessionId }, { signal })).session;
  const base = known?.entries ?? [];
  const parentSnapshotId = known?.snapshotId ?? session.headSnapshotId;
  for (let read = 1; ; read++) {
    const begin = { sessionId, parentSnapshotId, full: !known, uploadId: uploadId ?? randomUUID(), etag, leaseToken, portability };
    const entries = await scan(from, keeps, new Map(base.map((entry) => [entry.path, entry])));
    const root = manifestRoot(entries);
    const change = diff(base, entries);
    try {
      const saved = await send(connection, from, begin, change, state, root, options);
      writeSidecar(from, { namespace: connection.namespace, sessionId, snapshotId: saved.snapshot.id, manifestRoot: root, entries });
      return saved;
    } catch (error) {
      if (!(error instanceof LocalError) || error.reason !== 'PROFILE_CHANGING' || read === READS) throw error;
    }
  }
}

/**
 * Sends a save until it is known to be done or refused.
 *
 * @param {Connection} connection
 * @param {string} directory
 * @param {any} begin
 * @param {import('./messages.js').Difference} change
 * @param {Buffer} state
 * @param {Buffer} root
 * @param {SaveOptions} options
 * @returns {Promise<Saved>}
 */
async function send(connection, directory, begin, change, state, root, { compress = !connection.loopback, progress, signal }) {
  const sent = change.runs.filter(({ copyPath }) => copyPath === undefined);
  const total = sent.reduce((sum, { entry, firstLeaf, leafCount }) => sum + spanOf(change.entries[entry].size, firstLeaf, leafCount), state.length);
  const tell = teller(progress);
  const level = total <= FAST_ABOVE ? 6 : compress ? 1 : 0;
  async function* messages() {
    let done = 0;
    yield { namespace: connection.namespace, begin };
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
  // A daemon that is not there at all is not waited for five times.
  await connection.reach(signal);
  for (let attempt = 1; ; attempt++) {
    try {
      const { answer, ...sent } = await connection.upload('ProfileService', 'saveProfile', messages(), { signal });
      return {
        snapshot: snapshot(answer.snapshot),
        revision: Number(answer.revision),
        sessionEtag: answer.sessionEtag,
        uploadId: begin.uploadId,
        ...sent,
      };
    } catch (error) {
      if (!(error instanceof Unavailable) || error.reason === 'UNREACHABLE' || attempt === ATTEMPTS) throw error;
      await sleep(backoff(attempt, error.retryDelaySeconds), undefined, { signal });
    }
    // The save may have been done before its answer was lost.
    const status = await saveStatus(connection, begin.sessionId, begin.uploadId, { signal }).catch((error) => {
      if (!(error instanceof Unavailable)) throw error;
    });
    if (status?.snapshot) {
      return { snapshot: status.snapshot, revision: status.snapshot.revision, sessionEtag: '', uploadId: begin.uploadId, messages: 0, wireBytes: 0 };
    }
  }
}

/**
 * Says what became of a save.
 *
 * @param {Connection} connection
 * @param {string} sessionId
 * @param {string} uploadId
 * @param {import('./connection.js').CallOptions} [call]
 * @returns {Promise<{ state: 'UNKNOWN' | 'COMMITTED', snapshot: Snapshot | undefined, revision: number }>}
 */
export async function saveStatus(connection, sessionId, uploadId, call = {}) {
  const answer = await connection.unary('ProfileService', 'getSaveStatus', { sessionId, uploadId }, call);
  return {
    state: short(answer.state, 'SAVE_STATE_'),
    snapshot: answer.snapshot ? snapshot(answer.snapshot) : undefined,
    revision: Number(answer.revision),
  };
}

/**
 * Looks whether a directory still holds the snapshot that its sidecar names.
 *
 * @param {string} directory
 * @param {string} sessionId
 * @param {string} namespace
 * @returns {Promise<Base | undefined>} undefined if not: then nothing is taken from it
 */
async function intact(directory, sessionId, namespace) {
  const known = readSidecar(directory, sessionId, namespace);
  if (!known) return undefined;
  /** @type {Base['entries']} */
  const entries = new Map();
  for (const entry of known.entries) {
    const seen = signatureAt(`${directory}/${entry.path}`);
    if (seen !== entry.stat) {
      const now = await look(directory, entry.path).catch(() => undefined);
      if (now?.kind !== entry.kind || !now.root.equals(entry.root) || now.target !== entry.target) return undefined;
    }
    entries.set(entry.path, { ...entry, seen });
  }
  return { directory, snapshotId: known.snapshotId, entries };
}

/**
 * Loads a snapshot into a directory. The directory appears at the end, complete and verified, or not at all.
 *
 * @param {Connection} connection
 * @param {string} sessionId
 * @param {string} directory
 * @param {LoadOptions} [options]
 * @returns {Promise<Loaded>}
 */
export async function load(connection, sessionId, directory, options = {}) {
  const {
    snapshotId,
    have,
    replace = false,
    force = false,
    withStorageState = false,
    compress = !connection.loopback,
    minRevision,
    progress,
    signal,
  } = options;
  const target = path.resolve(directory);
  const there = lstat(target);
  if (there && !replace) {
    throw new LocalError(`${target} exists: choose another directory, or say replace`, { reason: 'TARGET_EXISTS' });
  }
  if (there && !there.isDirectory()) throw new LocalError(`${target} is not a directory: it is not replaced`, { reason: 'TARGET_EXISTS' });
  if (there) checkBrowser(target, force);
  const former = have ?? (there ? target : undefined);
  const base = former === undefined ? undefined : await intact(path.resolve(former), sessionId, connection.namespace);
  fs.mkdirSync(path.dirname(target), { recursive: true });
  const workspace = fs.mkdtempSync(`${target}.cloakroom-`);
  try {
    const request = {
      sessionId,
      snapshotId,
      haveSnapshotId: base?.snapshotId,
      acceptCodecs: compress ? ['CODEC_DEFLATE'] : [],
      withStorageState,
      minRevision,
    };
    const { assembly, entries } = await receive(connection, request, workspace, base, progress, signal);
    swap(assembly, entries, `${workspace}/tree`, target, `${workspace}/old`);
    const loaded = snapshot(assembly.begin.snapshot);
    await remember(target, { namespace: connection.namespace, sessionId, snapshotId: loaded.id, manifestRoot: loaded.manifestRoot, entries });
    const bytes = assembly.storageState.length > 0 ? Buffer.concat(assembly.storageState) : undefined;
    const { baseSnapshotId, contentBytes } = assembly.begin;
    return {
      directory: target,
      snapshot: loaded,
      baseSnapshotId,
      contentBytes: Number(contentBytes),
      storageState: bytes && JSON.parse(bytes.toString('utf8')),
      storageStateBytes: bytes,
    };
  } finally {
    removeTree(workspace);
  }
}

/**
 * Takes the stream until it is complete.
 *
 * @param {Connection} connection
 * @param {Record<string, unknown>} request
 * @param {string} workspace
 * @param {Base} [base]
 * @param {Progress} [progress]
 * @param {AbortSignal} [signal]
 * @returns {Promise<{ assembly: Assembly, entries: Entry[] }>}
 */
async function receive(connection, request, workspace, base, progress, signal) {
  const tell = teller(progress);
  await connection.reach(signal);
  for (let attempt = 1; ; attempt++) {
    const shelf = fs.mkdtempSync(`${workspace}/shelf-`);
    const assembly = new Assembly(shelf, base);
    try {
      let done = 0;
      for await (const message of connection.download('ProfileService', 'loadProfile', request, { signal })) {
        assembly.accept(message);
        tell((done += message.records?.dataSize ?? 0), Number(assembly.begin.contentBytes));
      }
      return { assembly, entries: assembly.finish() };
    } catch (error) {
      removeTree(shelf);
      if (!(error instanceof Unavailable) || error.reason === 'UNREACHABLE' || attempt === ATTEMPTS) throw error;
      await sleep(backoff(attempt, error.retryDelaySeconds), undefined, { signal });
    }
  }
}

/**
 * Puts the new tree in its place. On an error everything is as it was.
 *
 * @param {Assembly} assembly
 * @param {Entry[]} entries
 * @param {string} tree where it is built
 * @param {string} target where it goes
 * @param {string} old where what was there goes
 */
function swap(assembly, entries, tree, target, old) {
  const inPlace = assembly.base !== undefined && lstat(target) !== undefined && fs.realpathSync(assembly.base.directory) === fs.realpathSync(target);
  /** @type {string[]} */
  const moved = [];
  /** @type {[string, string][]} */
  const shelved = [];
  const shelve = () => {
    for (const [from, to] of [
      [target, old],
      [sidecarPath(target), sidecarPath(old)],
    ]) {
      if (!lstat(from)) continue;
      fs.renameSync(from, to);
      shelved.push([from, to]);
    }
  };
  const take = (/** @type {Base} */ base, /** @type {string} */ name, /** @type {string} */ to) => {
    const from = `${inPlace ? old : base.directory}/${name}`;
    const untouched = () => signatureAt(from) === base.entries.get(name)?.seen;
    if (inPlace && untouched()) {
      fs.renameSync(from, to);
      moved.push(name);
      return;
    }
    // A hard link would let the two directories write into each other's files.
    if (!inPlace) fs.copyFileSync(from, to, fs.constants.COPYFILE_FICLONE);
    if (!untouched()) throw LocalError.changing(name);
  };
  try {
    if (inPlace) shelve();
    assembly.place(entries, tree, take);
    if (!inPlace) shelve();
    fs.renameSync(tree, target);
  } catch (error) {
    for (const name of moved) fs.renameSync(`${tree}/${name}`, `${old}/${name}`);
    for (const [from, to] of shelved) fs.renameSync(to, from);
    throw error;
  }
}

/**
 * Writes the sidecar of a directory that was just loaded. What was saved a moment before has to grow old first: until then a change could hide behind its times.
 *
 * @param {string} directory
 * @param {import('./sidecar.js').Sidecar} sidecar
 */
async function remember(directory, sidecar) {
  const describe = () => {
    const now = Date.now();
    return sidecar.entries.map((entry) => {
      const stat = lstat(`${directory}/${entry.path}`);
      return { ...entry, stat: stat ? settledSignature(stat, now) : '' };
    });
  };
  let entries = describe();
  if (entries.some(({ stat }) => !stat)) {
    await sleep(TICK_MS + 5);
    entries = describe();
  }
  writeSidecar(directory, { ...sidecar, entries });
}
