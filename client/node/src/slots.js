// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/**
 * @file Slots: the directories of mounts, `ROOT/mounts/NAMESPACE/SESSION/SLOT`. Whose a slot is says the name of the one claim file in it, and it changes hands by one rename of
 * that file: of two who try, one finds it gone. Clients in every language share them: `client/vectors/README.md` describes it.
 */

import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';

import { FREE, OWN, claimsOf, isVacant, move, stamp } from './claims.js';
import { Invalid } from './errors.js';
import { liveBrowser, lstat, namesIn, removeTree } from './system.js';

/** How many free slots of a session stay. */
const MOST_FREE = 2;
/** For how long a slot without a claim may be one that somebody is just making. */
const MAKING_MS = 3_600_000;
/** How often another name is tried for a new slot. */
const TRIES = 5;

/** @typedef {{ directory: string, claim: string, since: bigint }} Found a slot, its claim's name, and since when it has that, in nanoseconds since 1970 */

/**
 * @param {string} directory
 * @returns {string[]} the directories in it, none if it is not there
 */
function directoriesIn(directory) {
  const paths = namesIn(directory).map((name) => `${directory}/${name}`);
  return paths.filter((one) => lstat(one)?.isDirectory());
}

/**
 * @param {string} home
 * @returns {string[]} the directories of a session's slots
 */
function slotsIn(home) {
  return directoriesIn(home).filter((directory) => /^[0-9a-f]{8}$/.test(path.basename(directory)));
}

/**
 * @param {string} home
 * @returns {Found[]} the session's slots that nobody holds, the one used last first
 */
function vacant(home) {
  /** @type {Found[]} */
  const found = [];
  for (const directory of slotsIn(home)) {
    const [claim, ...more] = claimsOf(directory);
    const since = claim && more.length === 0 && isVacant(claim) ? lstat(`${directory}/${claim}`)?.mtimeNs : undefined;
    if (since !== undefined) found.push({ directory, claim, since });
  }
  return found.sort((a, b) => (a.since < b.since ? 1 : a.since > b.since ? -1 : 0));
}

/**
 * @param {Found} slot
 * @returns {boolean} whether it is this process's own now: not if another one was faster, or a browser that its former owner left still runs on it
 */
function take({ directory, claim }) {
  if (!move(`${directory}/${claim}`, `${directory}/${OWN}`)) return false;
  if (liveBrowser(`${directory}/profile`)) {
    move(`${directory}/${OWN}`, `${directory}/${FREE}`);
    return false;
  }
  stamp(`${directory}/${OWN}`);
  return true;
}

/**
 * @param {string} home
 * @returns {string} a new slot, this process's own
 */
function make(home) {
  for (let attempt = 1; ; attempt++) {
    const directory = `${home}/${randomBytes(4).toString('hex')}`;
    try {
      fs.mkdirSync(home, { recursive: true, mode: 0o700 });
      fs.mkdirSync(directory, { mode: 0o700 });
      fs.writeFileSync(`${directory}/${OWN}`, '', { mode: 0o600, flag: 'wx' });
      return directory;
    } catch (error) {
      // Its name was taken, or it was removed, with whatever was above it, before it had a claim.
      if (attempt === TRIES || !['EEXIST', 'ENOENT'].includes(/** @type {NodeJS.ErrnoException} */ (error).code ?? '')) throw error;
    }
  }
}

/**
 * Removes everything in a slot but its claim. The sidecar goes first, so that what is left of the profile is never taken for whole.
 *
 * @param {string} directory of a slot that is this process's own
 */
function empty(directory) {
  const names = namesIn(directory).map(String);
  for (const name of names.sort((a, b) => Number(b.endsWith('.json')) - Number(a.endsWith('.json'))))
    if (name !== OWN) removeTree(`${directory}/${name}`);
}

/**
 * Removes a slot, its claim last: until then it is held, and later, should this process die, a dead one's.
 *
 * @param {string} directory of a slot that is this process's own
 */
function remove(directory) {
  try {
    empty(directory);
    fs.rmSync(`${directory}/${OWN}`, { force: true });
    fs.rmdirSync(directory);
  } catch (error) {
    move(`${directory}/${OWN}`, `${directory}/${FREE}`);
    throw error;
  }
}

/**
 * @param {string} directory
 * @returns {boolean} whether it was empty and is gone
 */
function removeEmpty(directory) {
  try {
    fs.rmdirSync(directory);
    return true;
  } catch {
    return false;
  }
}

/**
 * @param {string} [root]
 * @returns {string} the directory in which every session of every namespace has its slots
 */
function mountsIn(root) {
  const { CLOAKROOM_MOUNTS, XDG_CACHE_HOME } = process.env;
  const cache = () => path.join(XDG_CACHE_HOME || path.join(os.homedir(), '.cache'), 'cloakroom');
  return path.resolve(root ?? (CLOAKROOM_MOUNTS || cache()), 'mounts');
}

/**
 * @param {string | undefined} root
 * @param {string} namespace
 * @param {string} sessionId
 * @returns {string} where a session has its slots
 */
function homeOf(root, namespace, sessionId) {
  // These become names of directories, so they are looked at before the daemon can.
  const refuse = (/** @type {string} */ fault, /** @type {string} */ subject) =>
    Invalid.here(`mount: ${fault}`, 'INVALID_FIELD', [{ subject, description: fault }]);
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(sessionId))
    throw refuse(
      `sessionId is ${JSON.stringify(sessionId)}, and must be 1 to 128 of \`A-Z a-z 0-9 . _ -\`, the first a letter or digit`,
      'sessionId',
    );
  if (!/^([a-z0-9][a-z0-9-]{0,62})?$/.test(namespace))
    throw refuse(
      `the client's namespace is ${JSON.stringify(namespace)}, and must be 1 to 63 of \`a-z 0-9 -\`, the first a letter or digit`,
      'namespace',
    );
  return path.join(mountsIn(root), namespace || '-', sessionId);
}

/** A directory that this process holds alone, until it releases it. */
export class Slot {
  /** @param {string} directory */
  constructor(directory) {
    this.directory = directory;
    /** Where the profile is, or will be. */
    this.profile = `${directory}/profile`;
  }

  /**
   * @param {string | undefined} root
   * @param {string} namespace
   * @param {string} sessionId
   * @returns {Slot} the one used last that nobody holds, else a new one
   */
  static take(root, namespace, sessionId) {
    const home = homeOf(root, namespace, sessionId);
    return new Slot(vacant(home).find(take)?.directory ?? make(home));
  }

  /** Removes a storage state that a former owner left, which was killed before it could do that itself. */
  tidy() {
    fs.rmSync(`${this.directory}/storage-state.json`, { force: true });
  }

  /** Leaves nothing but an empty profile. */
  clear() {
    empty(this.directory);
    fs.mkdirSync(this.profile, { mode: 0o700 });
  }

  /** Lets others have it. Of the session's free slots only those used last stay. */
  release() {
    // Before the rename, because after it the claim may be another's.
    stamp(`${this.directory}/${OWN}`);
    move(`${this.directory}/${OWN}`, `${this.directory}/${FREE}`);
    const free = vacant(path.dirname(this.directory)).filter(({ claim }) => claim === FREE);
    for (const slot of free.slice(MOST_FREE)) {
      try {
        if (take(slot)) remove(slot.directory);
      } catch {
        // What cannot be removed now is left to the next one.
      }
    }
  }
}

/**
 * @param {string} directory
 * @returns {number} the sum of its files' sizes, as far as it can be read
 */
function bytesIn(directory) {
  let sum = 0;
  try {
    for (const item of fs.readdirSync(directory, { withFileTypes: true })) {
      const at = `${directory}/${item.name}`;
      sum += item.isDirectory() ? bytesIn(at) : Number(lstat(at)?.size ?? 0);
    }
  } catch {
    // It is removed whatever its size.
  }
  return sum;
}

/**
 * Removes the slots of all sessions that nobody holds and nobody has used for a while.
 *
 * @param {string | undefined} root
 * @param {number} olderThanSeconds
 * @param {AbortSignal} [signal]
 * @returns {Promise<{ removed: number, bytes: number }>} how many slots, and the sum of their files' sizes
 */
export async function pruneSlots(root, olderThanSeconds, signal) {
  const pruned = { removed: 0, bytes: 0 };
  const begin = Date.now();
  const isOld = (/** @type {bigint} */ since, /** @type {number} */ ms) => Number(since / 1_000_000n) <= begin - ms;
  /** @type {unknown[]} */
  const failures = [];
  const discard = async (/** @type {string} */ directory, /** @type {(directory: string) => void} */ how) => {
    try {
      const bytes = bytesIn(directory);
      how(directory);
      pruned.removed++;
      pruned.bytes += bytes;
    } catch (error) {
      failures.push(error);
    }
    await turn();
    signal?.throwIfAborted();
  };
  signal?.throwIfAborted();
  for (const home of directoriesIn(mountsIn(root)).flatMap((namespace) => directoriesIn(namespace))) {
    for (const slot of vacant(home)) if (isOld(slot.since, olderThanSeconds * 1000) && take(slot)) await discard(slot.directory, remove);
    const unclaimed = slotsIn(home).filter((directory) => claimsOf(directory).length === 0);
    for (const directory of unclaimed) if (isOld(lstat(directory)?.mtimeNs ?? 0n, MAKING_MS)) await discard(directory, removeTree);
    // The session's and the namespace's own, if that was all in them.
    if (removeEmpty(home)) removeEmpty(path.dirname(home));
  }
  // One that cannot be removed does not keep the others.
  if (failures.length > 0) throw failures[0];
  return pruned;
}
