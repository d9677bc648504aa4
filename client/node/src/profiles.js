// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/**
 * @file Profiles, in the order of things: walk and hash, diff, save; load, verify, rename. The algorithm stands in `profile.proto`, what a tree is made of in `tree.js`, how a
 * difference travels in `framing.js`, on connections that break in `transfers.js`; what a directory held is in its sidecar (`sidecar.js`), what a save of it follows
 * says `lineage.js`, and `directories.js` looks before anything is read from one or put in its place.
 */

import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';

import { ATTEMPTS } from './backoff.js';
import { capture, checkContent, oddities } from './capture.js';
import { Workspace, checkSource, checkTarget, describe, intact, isUntouched, remember, swap } from './directories.js';
import { LoadFailed, LocalError, ParentNotHead } from './errors.js';
import { comesFrom, explained, leftOut, parentOf } from './lineage.js';
import { snapshot } from './messages.js';
import { faultInName } from './paths.js';
import { storageStateBytes } from './sessions.js';
import { writeSidecar } from './sidecar.js';
import { copyFile, hasAttributes, keptTime, linkFile, lstat, namesIn, setAttributes, signatureAt, warn } from './system.js';
import { receive, send } from './transfers.js';
import { DIGEST, byPath, fileRoot, look, manifestRoot } from './tree.js';

/** @typedef {import('./connection.js').Connection} Connection */
/** @typedef {import('./framing.js').Assembly} Assembly */
/** @typedef {import('./framing.js').Base} Base */
/** @typedef {import('./messages.js').Entry} Entry */
/** @typedef {import('./messages.js').Run} Run */
/** @typedef {import('./messages.js').Difference} Difference */

/** How often a profile that changes while it is read is read in all. */
const READS = 3;

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
      // Still the time that a load has set, as exactly as it could.
      if (entry && old && entry.mtimeNs === keptTime(old.mtimeNs)) entry.mtimeNs = old.mtimeNs;
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
 * Saves a directory as the session's new head. Only what differs from the snapshot that it came from travels. What it follows is what it came from, which must be the head; with
 * `replace` it is the head, whatever that is.
 *
 * @param {Connection} connection
 * @param {string} sessionId
 * @param {string} directory
 * @param {import('./messages.js').SaveOptions} [options]
 * @returns {Promise<import('./messages.js').Saved>}
 */
export async function save(connection, sessionId, directory, options = {}) {
  const { policy = 'default', include, exclude, storageState, uploadId, etag, leaseToken, force = false, replace = false, signal } = options;
  const { namespace } = connection;
  const keeps = capture({ policy, include, exclude });
  const { from, origin } = checkSource(directory, force);
  const state = storageState === undefined ? Buffer.alloc(0) : storageStateBytes(storageState);
  const known = comesFrom(from, sessionId, namespace, replace);
  const portability = { ...known?.origin, ...origin, capturePolicy: policy, ...options.portability };
  let seen = known?.entries ?? [];
  for (let read = 1, lost = 0; ;) {
    const entries = await scan(from, keeps, new Map(seen.map((entry) => [entry.path, entry])));
    checkContent(from, entries, policy, force);
    const root = manifestRoot(entries);
    const warnings = [...oddities(from, entries), ...leftOut(known, state)];
    if (read + lost === 1) for (const { message, code } of warnings) warn(message, code);
    const { base, ...parent } = await parentOf(connection, sessionId, known, { replace, signal });
    const begin = { sessionId, ...parent, uploadId: uploadId ?? randomUUID(), etag, leaseToken, portability };
    try {
      const saved = await send(connection, { begin, directory: from, change: diff(base, entries), state, root }, options);
      const { id: snapshotId, hasStorageState } = saved.snapshot;
      const sidecar = { namespace, sessionId, snapshotId, manifestRoot: root, storageState: hasStorageState, origin: portability, entries };
      warnings.push(...remember(from, sidecar));
      return { ...saved, warnings };
    } catch (error) {
      if (replace && error instanceof ParentNotHead && ++lost < ATTEMPTS) seen = entries;
      else if (!(error instanceof LocalError) || error.reason !== 'PROFILE_CHANGING' || ++read > READS) throw explained(error, from, known);
    }
  }
}

/**
 * Loads a snapshot into a directory. The directory appears at the end, complete and verified, or not at all: until then all happens in a workspace beside it, and what is
 * there stays as it is. Where the snapshot is in place already, as its sidecar and a look at each entry say, nothing on the disk is touched.
 *
 * @param {Connection} connection
 * @param {string} sessionId
 * @param {string} directory
 * @param {import('./messages.js').LoadOptions} [options]
 * @returns {Promise<import('./messages.js').Loaded>}
 */
export async function load(connection, sessionId, directory, options = {}) {
  const { snapshotId, have, replace = false, force = false, withStorageState = true, compress = !connection.loopback, minRevision } = options;
  const target = path.resolve(directory);
  const there = checkTarget(target, replace, force);
  const former = have ?? (there ? target : undefined);
  const space = new Workspace(target);
  const makeShelf = () => fs.mkdtempSync(`${space.open()}/shelf-`);
  try {
    // Before anything is looked at: what a dead load left may be second names of what stands there.
    space.tidy(false);
    const base = former === undefined ? undefined : await intact(path.resolve(former), sessionId, connection.namespace);
    if (base?.directory !== target) space.open();
    const acceptCodecs = compress ? ['CODEC_DEFLATE'] : [];
    const request = { sessionId, snapshotId, haveSnapshotId: base?.snapshotId, acceptCodecs, withStorageState, minRevision };
    const assembly = await receive(connection, request, makeShelf, base, options);
    const { entries, fresh } = verify(assembly);
    const loaded = snapshot(assembly.begin.snapshot);
    const isSame = assembly.base?.directory === target && assembly.base.snapshotId === loaded.id && fresh.size + assembly.removed.size === 0;
    if (!assembly.base || !isSame || !isUntouched(assembly.base, loaded.portability.capturePolicy)) {
      place(entries, fresh, assembly.base, target, `${space.open()}/tree`);
      const { id, manifestRoot: root, portability, hasStorageState } = loaded;
      const { namespace } = connection;
      const sidecar = { namespace, sessionId, snapshotId: id, manifestRoot: root, storageState: hasStorageState, origin: portability, entries };
      swap(sidecar, `${space.open()}/tree`, target, `${space.open()}/old`, { replace, force });
      try {
        // From now on the directory is what the sidecar says. With the system's word on each entry, the next save need not look at all of them.
        writeSidecar(target, { ...sidecar, entries: await describe(target, entries) });
      } catch {
        // The one without is as true.
      }
    } else space.tidy(true);
    const bytes = assembly.storageState.length > 0 ? Buffer.concat(assembly.storageState) : undefined;
    const { baseSnapshotId, contentBytes } = assembly.begin;
    const storageState = bytes && JSON.parse(bytes.toString('utf8'));
    return { directory: target, snapshot: loaded, baseSnapshotId, contentBytes: Number(contentBytes), storageState, storageStateBytes: bytes };
  } finally {
    space.close();
  }
}

/**
 * Looks whether what was received is what was announced: each file's root, and that of the whole.
 *
 * @param {Assembly} assembly
 * @returns {{ entries: Entry[], fresh: Map<string, string> }} what the directory will hold, in order of the paths, and where what came anew lies
 */
export function verify(assembly) {
  if (!assembly.root) throw LoadFailed.because('the stream broke off before its end', 'STREAM_TRUNCATED');
  /** @type {Map<string, Entry>} */
  const all = new Map(assembly.base?.entries);
  const fresh = /** @type {Map<string, string>} */ (new Map());
  for (const name of assembly.removed) if (!all.delete(name)) throw LoadFailed.because(`${JSON.stringify(name)} is removed, but was not there`);
  for (const [number, { covered, ...entry }] of assembly.named.entries()) {
    for (let at, end; (at = covered.indexOf(0)) !== -1;)
      assembly.copy(number, at, ((end = covered.indexOf(1, at)) === -1 ? covered.length : end) - at, entry.path, at);
    if (entry.kind === 'file' && !fileRoot(entry.leaves).equals(entry.root))
      throw LoadFailed.because(`${JSON.stringify(entry.path)} has another root than announced`, 'DIGEST_MISMATCH');
    if (assembly.removed.has(entry.path) || fresh.has(entry.path)) throw LoadFailed.because(`${JSON.stringify(entry.path)} is named twice`);
    all.set(entry.path, entry);
    fresh.set(entry.path, `${assembly.workspace}/${number}`);
  }
  for (const name of all.keys())
    if (name.includes('/') && all.get(path.posix.dirname(name))?.kind !== 'directory')
      throw LoadFailed.because(`${JSON.stringify(name)} is not in a directory`);
  const entries = [...all.values()].sort(byPath);
  const root = manifestRoot(entries);
  if (!root.equals(assembly.root) || !root.equals(assembly.begin.snapshot?.manifestRoot ?? Buffer.alloc(0)))
    throw LoadFailed.because('the whole has another manifest root than announced', 'DIGEST_MISMATCH');
  return { entries, fresh };
}

/**
 * Builds the whole tree aside. What is unchanged comes from the former directory: by a second name for the file where that directory is about to give way, so that it stays
 * whole until then; by a copy where it stays, because two directories must not write into each other's files.
 *
 * @param {Entry[]} entries
 * @param {Map<string, string>} fresh
 * @param {Base | undefined} base
 * @param {string} target where the tree will stand
 * @param {string} tree a place for it, in the workspace
 */
export function place(entries, fresh, base, target, tree) {
  const inPlace = base !== undefined && lstat(target) !== undefined && fs.realpathSync(base.directory) === fs.realpathSync(target);
  const still = (/** @type {string} */ name) => {
    if (signatureAt(`${base?.directory}/${name}`) !== base?.entries.get(name)?.seen) throw LocalError.changing(name);
  };
  const taken = entries.filter(({ kind, path: name }) => kind === 'file' && !fresh.has(name));
  if (inPlace) for (const { path: name } of taken) still(name);
  const shared = /** @type {Set<string>} */ (new Set());
  fs.mkdirSync(tree, { mode: 0o700 });
  for (const entry of entries) {
    const { kind, path: name } = entry;
    const blob = fresh.get(name);
    if (kind === 'directory') fs.mkdirSync(`${tree}/${name}`, { mode: 0o700 });
    else if (kind === 'file' && blob) fs.renameSync(blob, `${tree}/${name}`);
    else if (kind === 'file' && base) {
      const from = `${base.directory}/${name}`;
      // What has two names has one set of attributes: they must be right already.
      if (inPlace && hasAttributes(from, entry) && linkFile(from, `${tree}/${name}`)) shared.add(name);
      else copyFile(from, `${tree}/${name}`);
      if (!inPlace) still(name);
    }
  }
  // Links come when nothing is written through them any more; directories get their times when nothing is put into them any more.
  for (const { kind, path: name, target: to } of entries) if (kind === 'link') fs.symlinkSync(to, `${tree}/${name}`);
  for (const { kind, path: name, mode, mtimeNs } of entries.toReversed())
    if (kind !== 'link' && !shared.has(name)) setAttributes(`${tree}/${name}`, mode, mtimeNs);
}
