// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/**
 * @file What is made beside a directory before it is put in its place or the sidecar's. Its name says who makes it, so that what a process left there when it was killed can be
 * told from what another is making now.
 */

import { createHash, randomBytes } from 'node:crypto';
import os from 'node:os';
import path from 'node:path';

import { isAlive, namesIn, removeTree } from './system.js';

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
 * @param {string} directory
 * @returns {string[]} what any process of any host is making beside it, or has left there
 */
export function asidesOf(directory) {
  const [parent, start] = [path.dirname(directory), `${path.basename(directory)}.cloakroom-`];
  const ours = (/** @type {string} */ name) => name.startsWith(start) && /^[0-9a-f]{8}-\d+-[0-9a-f]{8}$/.test(name.slice(start.length));
  return namesIn(parent)
    .map(String)
    .filter(ours)
    .map((name) => path.join(parent, name));
}

/**
 * Clears away what processes of this host left beside a directory when they were killed.
 *
 * @param {string} directory
 */
export function sweep(directory) {
  for (const name of asidesOf(directory)) {
    const [where, pid] = name.split('-').slice(-3);
    const running = Number(pid) === process.pid ? mine.has(name) : isAlive(Number(pid));
    if (where === host && !running) removeTree(name);
  }
}
