// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/**
 * @file What is made beside a directory before it is put in its place or the sidecar's. Its name says who makes it, so that what a process left there when it was killed can be
 * told from what another is making now. Whose process id counts here is judged by that: it lives, or it is dead. Of all others, on the same volume from other hosts and containers,
 * only their heartbeat tells: who makes a workspace writes to a file in it once a minute, and who has not for an hour is dead. One that is not and goes on after all finds its
 * workspace gone, and its load fails.
 */

import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

import { isAlive, lstat, namesIn, removeTree } from './system.js';

/** How often a workspace's heart beats, and without a beat for how long its maker is taken for dead. */
const BEAT_MS = 60_000;
const SILENT_MS = 3_600_000;

/**
 * Process ids mean the same within one process id namespace of one running kernel, and that cannot be told by a host name: containers may share one, and with it a volume.
 *
 * @returns {string} stands for that in a name. Where the system does not tell it is this process's own, so that no process id is judged
 */
function realm() {
  let known;
  try {
    known = fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8') + fs.readlinkSync('/proc/self/ns/pid');
  } catch {
    known = randomBytes(16);
  }
  return createHash('sha256').update(known).digest('hex').slice(0, 8);
}

const host = realm();
/** What this process is making, and the hearts of those that have one. */
const mine = /** @type {Map<string, NodeJS.Timeout | undefined>} */ (new Map());
/** What this process has ended and could not remove: its own process id does not tell that, for it lives. */
const left = /** @type {Set<string>} */ (new Set());

/**
 * @param {string} directory
 * @returns {string} a path beside it that is this process's own until it is released
 */
export function claim(directory) {
  const name = `${directory}.cloakroom-${host}-${process.pid}-${randomBytes(4).toString('hex')}`;
  mine.set(name, undefined);
  return name;
}

/**
 * @param {string} directory
 * @returns {string} a new directory beside it that is this process's own until it is released, and has a heartbeat until then
 */
export function claimWorkspace(directory) {
  const name = claim(directory);
  try {
    fs.mkdirSync(name, { mode: 0o700 });
    fs.writeFileSync(`${name}/alive`, '.', { mode: 0o600 });
  } catch (error) {
    release(name);
    throw error;
  }
  mine.set(name, setInterval(beat, BEAT_MS, name).unref());
  return name;
}

/** @param {string} workspace */
function beat(workspace) {
  try {
    // In place, for which a full disk has room; and written, not stamped: so the time is by the clock of the file system, which all who share it share.
    fs.writeFileSync(`${workspace}/alive`, '.', { flag: 'r+' });
  } catch {
    // The next one may succeed.
  }
}

/**
 * @param {string} name
 * @returns {number} when its maker last gave a sign, in milliseconds by the file system's clock
 */
function lastSign(name) {
  const stat = lstat(name);
  return Number((stat?.isDirectory() && lstat(`${name}/alive`)?.mtimeMs) || stat?.mtimeMs || 0);
}

/**
 * Removes what is there, if it is still there.
 *
 * @param {string} name
 */
export function release(name) {
  leave(name);
  removeTree(name);
  left.delete(name);
}

/**
 * Ends a claim, but leaves what is there to a later load.
 *
 * @param {string} name
 */
export function leave(name) {
  clearInterval(mine.get(name));
  mine.delete(name);
  left.add(name);
}

/**
 * @param {string} name of what may lie beside a directory
 * @param {string} base the directory's own
 * @returns {boolean} whether a claim has such a name
 */
function isClaim(name, base) {
  return name.startsWith(`${base}.cloakroom-`) && /^[0-9a-f]{8}-\d+-[0-9a-f]{8}$/.test(name.slice(`${base}.cloakroom-`.length));
}

/**
 * @param {string} directory
 * @returns {string[]} what any process of any host is making beside it, or has left there
 */
export function asidesOf(directory) {
  const [parent, base] = [path.dirname(directory), path.basename(directory)];
  const ours = namesIn(parent)
    .map(String)
    .filter((name) => isClaim(name, base));
  return ours.map((name) => path.join(parent, name));
}

/**
 * Looks for what a load of any client has beside a directory from before it takes that away until it is complete.
 *
 * @param {string} directory
 * @returns {string | undefined} the first one. Where the directory has a sidecar it says nothing, for a whole load or save came after it
 */
export function unfinished(directory) {
  const [parent, base] = [path.dirname(directory), path.basename(directory)];
  for (const name of namesIn(parent).map(String)) {
    const inner =
      name === `.${base}.cloakroom-load`
        ? ['former', 'replaced']
        : name.startsWith(`.${base}.loading-`)
          ? ['aside']
          : isClaim(name, base)
            ? ['old']
            : [];
    const workspace = path.join(parent, name);
    if (inner.length === 0 || !lstat(workspace)?.isDirectory()) continue;
    const found = inner.map((one) => path.join(workspace, one)).find(lstat);
    if (found) return found;
  }
  return undefined;
}

/**
 * Clears away what dead processes have left beside a directory. What cannot be removed now is left to the next load.
 *
 * @param {string} directory
 * @param {string} workspace this load's own
 * @param {boolean} whole whether the directory is known to be so, by its sidecar: until then what a load left that had taken it away tells that it may not be saved
 */
export function sweep(directory, workspace, whole) {
  beat(workspace);
  const silent = lastSign(workspace) - SILENT_MS;
  for (const name of asidesOf(directory).filter((one) => !mine.has(one))) {
    const [where, pid] = name.split('-').slice(-3);
    try {
      const dead = left.has(name) || (where === host && !isAlive(Number(pid))) || lastSign(name) < silent;
      const telling = !whole && lstat(name)?.isDirectory() && lstat(`${name}/old`);
      if (!dead || telling) continue;
      removeTree(name);
      left.delete(name);
    } catch {
      // Somebody else's, or just cleared away by another load.
    }
  }
}
