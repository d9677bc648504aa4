// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file Claims: the name of the one file in a slot that says who has it. They change hands by a rename, of which two who try cannot both succeed. */

import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';

import { isAlive, namesIn } from './system.js';

/** The name of a claim that nobody has. */
export const FREE = 'claim.free';

/**
 * A host name alone does not tell whose process ids are meant: containers may share one and have process id namespaces of their own.
 *
 * @returns {string} stands for both in a claim
 */
function realm() {
  let space = '';
  try {
    space = fs.readlinkSync('/proc/self/ns/pid');
  } catch {
    // There is no /proc, so the host name has to do.
  }
  return createHash('sha256').update(`${os.hostname()}\n${space}`).digest('hex').slice(0, 8);
}

const host = realm();

/**
 * @param {number} pid
 * @returns {{ state: string, threads: number, start: string } | undefined} what the system says of a process; undefined if it says nothing
 */
function statusOf(pid) {
  try {
    const text = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field is the program's name, which may hold anything.
    const [state, ...fields] = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { state, threads: Number(fields[16]), start: fields[18] };
  } catch {
    return undefined;
  }
}

const ownStart = statusOf(process.pid)?.start ?? '0';
/** What this process calls its claims. */
export const OWN = `claim.${host}.${process.pid}.${ownStart}`;

/**
 * @param {number} pid
 * @param {string} start when it started; `0` if that is not known
 * @returns {boolean} whether that process lives, and not another one that has its id now
 */
function lives(pid, start) {
  const status = statusOf(pid);
  if (!status) return isAlive(pid);
  // One that was killed stays in the table until its parent asks for it, and in many a container nobody does. One whose first thread ended before the others looks like that too.
  const ended = ['Z', 'X'].includes(status.state) && !(status.threads > 1);
  return !ended && (start === '0' || start === status.start);
}

/**
 * @param {string} claim
 * @returns {boolean} whether nobody has it, or who has it is a dead process of this host
 */
export function isVacant(claim) {
  const [, at, pid, start] = /^claim\.([0-9a-f]{8})\.(\d+)\.(\d+)$/.exec(claim) ?? [];
  return claim === FREE || (at === host && !lives(Number(pid), start));
}

/**
 * @param {string} from
 * @param {string} to
 * @returns {boolean} false if there was nothing to rename
 */
export function move(from, to) {
  try {
    fs.renameSync(from, to);
    return true;
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ENOENT') throw error;
    return false;
  }
}

/** @param {string} file whose time becomes now, if it is still there */
export function stamp(file) {
  const now = new Date();
  try {
    fs.utimesSync(file, now, now);
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ENOENT') throw error;
  }
}

/**
 * @param {string} directory of a slot
 * @returns {string[]} the names of its claims: one, or none while it is made
 */
export function claimsOf(directory) {
  return namesIn(directory)
    .map(String)
    .filter((name) => name.startsWith('claim.'));
}
