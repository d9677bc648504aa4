// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/**
 * @file What is made beside a directory before it is put in its place or the sidecar's. Its name says who makes it, so that what a process left there when it was killed can be
 * told from what another is making now.
 */

import { createHash, randomBytes } from 'node:crypto';
import os from 'node:os';
import path from 'node:path';

import { isAlive, lstat, namesIn, removeTree } from './system.js';

/** Stands for this host in a name: process ids of another one say nothing here. */
const host = createHash('sha256').update(os.hostname()).digest('hex').slice(0, 8);
/** What this process is making. */
const mine = /** @type {Set<string>} */ (new Set());

/**
 * @param {string} directory
 * @returns {string} a path beside it that is this process's own until it is released
 */
export function claim(directory) {
  const name = `${directory}.cloakroom-${host}-${process.pid}-${randomBytes(4).toString('hex')}`;
  mine.add(name);
  return name;
}

/**
 * Removes what is there, if it is still there.
 *
 * @param {string} name
 */
export function release(name) {
  mine.delete(name);
  removeTree(name);
}

/**
 * Ends a claim, but leaves what is there to a later load.
 *
 * @param {string} name
 */
export function leave(name) {
  mine.delete(name);
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
 * Clears away what processes of this host left beside a directory when they were killed.
 *
 * @param {string} directory
 * @param {boolean} whole whether it is known to be so, by its sidecar: until then what a load left that had taken it away tells that it may not be saved
 */
export function sweep(directory, whole) {
  for (const name of asidesOf(directory)) {
    const [where, pid] = name.split('-').slice(-3);
    const running = Number(pid) === process.pid ? mine.has(name) : isAlive(Number(pid));
    if (where === host && !running && (whole || !lstat(name)?.isDirectory() || !lstat(`${name}/old`))) removeTree(name);
  }
}
