// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file What to look at before a directory is read for a save, how it gives way to a load, and what stands beside it. */

import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { asidesOf, claimWorkspace, leave, release, sweep, unfinished } from './asides.js';
import { capture } from './capture.js';
import { LocalError } from './errors.js';
import { forgetSidecar, isOf, readSidecar, sidecarPath, writeSidecar } from './sidecar.js';
import { TICK_MS, hasAttributes, kindOf, liveBrowser, lstat, namesIn, origin, removeTree, settledSignature, signatureAt, warn } from './system.js';
import { look } from './tree.js';

/** @typedef {import('./messages.js').Entry} Entry */
/** @typedef {import('./framing.js').Base} Base */

/**
 * @param {string} directory
 * @param {boolean} force
 * @returns {boolean} whether the browser has exited
 */
export function checkBrowser(directory, force) {
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
 * @param {string} directory
 * @param {boolean} force
 * @returns {{ from: string, origin: Partial<import('./messages.js').Portability> }} the directory to save from, and what it tells of where its profile can go
 */
export function checkSource(directory, force) {
  const from = path.resolve(directory);
  const leftover = lstat(sidecarPath(from)) ? undefined : unfinished(from);
  if (leftover) {
    const message = `a load into ${from} is under way or was cut off in the middle (${leftover}): load it again; nothing was saved`;
    throw new LocalError(message, { reason: 'LOAD_UNFINISHED', metadata: { leftover } });
  }
  if (!lstat(from)?.isDirectory()) {
    const broken = asidesOf(from).length > 0;
    const cause = broken ? 'a load into it was cut short, and nothing of it counts: load it again' : 'nothing can be saved from it';
    throw new LocalError(`${from} is not a directory: ${cause}`, { reason: 'PROFILE_MISSING' });
  }
  return { from, origin: { ...origin(from), quiesced: checkBrowser(from, force) } };
}

/**
 * @param {string} target
 * @param {unknown} [cause]
 * @returns {LocalError}
 */
function occupied(target, cause) {
  const known = readSidecar(target);
  const whose = known ? ` (it is the profile of session ${known.sessionId})` : '';
  return new LocalError(`${target} exists${whose}: choose another directory, or say replace`, { reason: 'TARGET_EXISTS', cause });
}

/**
 * @param {string} target where a load goes
 * @param {boolean} replace
 * @param {boolean} force
 * @returns {boolean} whether a directory is there, which may be replaced
 */
export function checkTarget(target, replace, force) {
  const there = lstat(target);
  if (!there) return false;
  if (!replace) throw occupied(target);
  if (!there.isDirectory()) throw new LocalError(`${target} is not a directory: it is not replaced`, { reason: 'TARGET_EXISTS' });
  checkBrowser(target, force);
  return true;
}

/**
 * Looks whether a directory still holds the snapshot that its sidecar names.
 *
 * @param {string} directory
 * @param {string} sessionId
 * @param {string} namespace
 * @returns {Promise<Base | undefined>} undefined if not: then nothing is taken from it
 */
export async function intact(directory, sessionId, namespace) {
  const known = readSidecar(directory);
  if (!known || !isOf(known, sessionId, namespace)) return undefined;
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
 * Finds what is new in a directory that holds a snapshot, and would travel.
 *
 * @param {Base} base
 * @param {string} policy with which the snapshot was captured. Under one that is not known everything travels
 * @returns {string[]} paths; of what is in a new directory only that one's
 */
export function strays({ directory, entries }, policy) {
  const keeps = capture({ policy: policy === 'default' || policy === 'lean' ? policy : 'full' });
  const parents = ['', ...[...entries.values()].filter(({ kind }) => kind === 'directory').map(({ path: name }) => `${name}/`)];
  const names = parents.flatMap((parent) => namesIn(`${directory}/${parent}`).map((name) => parent + name));
  return names.filter((name) => !entries.has(name) && keeps(name) && kindOf(lstat(`${directory}/${name}`)));
}

/**
 * Looks whether a directory that holds a snapshot is just as a load of it would leave it, and its sidecar says so: nothing was touched, and what is there besides does not travel, such
 * as caches.
 *
 * @param {Base} base
 * @param {string} policy with which the snapshot was captured. Under one that is not known everything travels
 * @returns {boolean}
 */
export function isUntouched(base, policy) {
  const { directory, entries } = base;
  for (const entry of entries.values()) {
    const { kind, path: name, seen, stat } = entry;
    // Looked at once more, because the answer took a while.
    if (signatureAt(`${directory}/${name}`) !== seen) return false;
    if (stat ? seen !== stat : kind !== 'link' && !hasAttributes(`${directory}/${name}`, entry)) return false;
  }
  return strays(base, policy).length === 0;
}

/** A directory beside a target in which a load is put together. It is made when it is first asked for, so that a load that finds everything in place touches nothing. */
export class Workspace {
  /** @type {string | undefined} */
  #made;

  /** @param {string} target */
  constructor(target) {
    this.target = target;
  }

  /** @returns {string} where it is */
  open() {
    if (this.#made === undefined) {
      fs.mkdirSync(path.dirname(this.target), { recursive: true });
      this.#made = claimWorkspace(this.target);
      sweep(this.target, this.#made, false);
    }
    return this.#made;
  }

  /**
   * Clears away what dead loads have left beside the target, if there is something.
   *
   * @param {boolean} whole whether the target is known to be so
   */
  tidy(whole) {
    if (asidesOf(this.target).some((name) => name !== this.#made)) sweep(this.target, this.open(), whole);
  }

  /** Removes it, unless it holds the only former directory because that could not be put back. */
  close() {
    const made = this.#made;
    if (made === undefined) return;
    if (!lstat(sidecarPath(this.target)) && lstat(`${made}/old/tree`)) leave(made);
    else release(made);
  }
}

/**
 * Puts a tree in its place, unless something stands there that may not give way, also if it appeared a moment ago. At every moment the place holds the former directory, nothing, or the whole tree. The sidecar goes before the former directory and comes after
 * the new one, and from before the one until after the other stands `old`: so `checkSource` can tell, also if this process is killed here and a browser makes the
 * directory anew, that what stands there is not what was loaded.
 *
 * @param {import('./sidecar.js').Sidecar} sidecar of the tree
 * @param {string} tree
 * @param {string} target
 * @param {string} old where what is in its place goes, and is removed
 * @param {{ replace: boolean, force: boolean }} may as for `checkTarget`
 */
export function swap(sidecar, tree, target, old, { replace, force }) {
  writeSidecar(tree, sidecar);
  fs.mkdirSync(old, { mode: 0o700 });
  const former = /** @type {[string, string][]} */ ([[sidecarPath(target), `${old}/sidecar`]]);
  if (checkTarget(target, replace, force)) former.unshift([target, `${old}/tree`]);
  try {
    for (const [from, to] of former.toReversed()) if (lstat(from)) fs.renameSync(from, to);
    // Fails where a directory with something in it, or anything else, has appeared meanwhile.
    fs.renameSync(tree, target);
    fs.renameSync(sidecarPath(tree), sidecarPath(target));
  } catch (error) {
    if (!lstat(tree)) fs.renameSync(target, tree);
    // What has appeared stays: a directory because it cannot be renamed over, and its sidecar, which is of a load that was faster.
    for (const [from, to] of former) if (lstat(to) && !(from === sidecarPath(target) && lstat(from))) fs.renameSync(to, from);
    const isThere = ['ENOTEMPTY', 'EEXIST', 'ENOTDIR'].includes(/** @type {NodeJS.ErrnoException} */ (error).code ?? '');
    throw isThere && lstat(target) ? occupied(target, error) : error;
  }
  removeTree(old);
  sweep(target, path.dirname(old), true);
}

/**
 * Adds to the entries of a directory that was just loaded what the system says of each. What was written a moment before has to grow old first: until then a change could
 * hide behind its times.
 *
 * @param {string} directory
 * @param {Entry[]} entries
 * @returns {Promise<Entry[]>}
 */
export async function describe(directory, entries) {
  const all = () => {
    const now = Date.now();
    return entries.map((entry) => {
      const stat = lstat(`${directory}/${entry.path}`);
      return { ...entry, stat: stat ? settledSignature(stat, now) : '' };
    });
  };
  const first = all();
  if (first.every(({ stat }) => stat)) return first;
  await sleep(TICK_MS + 5);
  return all();
}

/**
 * Removes what the sidecar said before a save, for that is no longer so.
 *
 * @param {string} directory
 * @param {unknown} error why it cannot be written
 * @returns {string} what that means for the next save
 */
function untold(directory, error) {
  const sidecar = sidecarPath(directory);
  try {
    forgetSidecar(directory);
    return `${sidecar} cannot be written (${error}), so nothing tells the next save where ${directory} comes from: load it anew, or say replace`;
  } catch (failure) {
    const what = `${sidecar} can neither be written (${error}) nor removed (${failure})`;
    return `${what}, so the next save does not know that ${directory} is the head: remove what lies there, and load anew or say replace`;
  }
}

/**
 * Writes the sidecar after a save, which is done whatever happens here.
 *
 * @param {string} directory
 * @param {import('./sidecar.js').Sidecar} sidecar
 * @returns {import('./messages.js').Warning[]}
 */
export function remember(directory, sidecar) {
  try {
    writeSidecar(directory, sidecar);
    return [];
  } catch (error) {
    const message = untold(directory, error);
    warn(message, 'CLOAKROOM_NO_SIDECAR');
    return [{ code: 'CLOAKROOM_NO_SIDECAR', message }];
  }
}
