// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

import fs from 'node:fs';
import os from 'node:os';
import { promisify } from 'node:util';
import zlib from 'node:zlib';

const deflate = promisify(zlib.deflate);

/** What packing must gain at least to be worth the unpacking. */
const GAIN = 0.95;

/** Longer than a tick of any file system's clock that keeps better times than seconds. */
export const TICK_MS = 20;

/**
 * @param {bigint} mtimeNs
 * @returns {bigint} rounded down
 */
function microseconds(mtimeNs) {
  return mtimeNs >= 0n ? mtimeNs / 1000n : -((-mtimeNs + 999n) / 1000n);
}

/**
 * Sets a modification time as exactly as Node.js can: to the microsecond, rounded down. The time goes in as text because a negative number would be taken
 * for "now"; the half keeps a binary fraction from falling below its microsecond, on whichever side of zero the system's truncation works.
 *
 * @param {string} path
 * @param {bigint} mtimeNs
 */
export function setTime(path, mtimeNs) {
  const micros = microseconds(mtimeNs);
  const text = String((Number(micros) + (micros < 0n ? -0.5 : 0.5)) / 1e6);
  fs.utimesSync(path, text, text);
}

/**
 * @param {string} path
 * @param {number} mode
 * @param {bigint} mtimeNs
 */
export function setAttributes(path, mode, mtimeNs) {
  fs.chmodSync(path, mode);
  setTime(path, mtimeNs);
}

/**
 * @param {string} path
 * @returns {fs.BigIntStats | undefined} undefined if nothing is there
 */
export function lstat(path) {
  return fs.lstatSync(path, { bigint: true, throwIfNoEntry: false });
}

/**
 * What tells whether an entry was touched.
 *
 * @param {fs.BigIntStats} stat
 * @returns {string}
 */
export function signature(stat) {
  return `${stat.size}:${stat.mtimeNs}:${stat.ctimeNs}:${stat.ino}`;
}

/**
 * @param {fs.BigIntStats | undefined} stat
 * @returns {import('./messages.js').EntryKind | undefined} undefined if it is none that travels: a socket, a pipe, a device
 */
export function kindOf(stat) {
  return stat?.isFile() ? 'file' : stat?.isDirectory() ? 'directory' : stat?.isSymbolicLink() ? 'link' : undefined;
}

/**
 * What tells whether an entry was touched after it was looked at. Within one tick of the file system's clock a second write would leave both times as they are;
 * it cannot while one of them lies before that tick, because it would move that one.
 *
 * @param {fs.BigIntStats} stat
 * @param {number} now the moment before it was made, in milliseconds since 1970
 * @returns {string} empty if a second write could not be told
 */
export function settledSignature(stat, now) {
  const before = BigInt(now - TICK_MS) * 1_000_000n;
  return stat.mtimeNs <= before || stat.ctimeNs <= before ? signature(stat) : '';
}

/**
 * @param {string} path
 * @returns {string} empty if nothing is there
 */
export function signatureAt(path) {
  const stat = lstat(path);
  return stat ? signature(stat) : '';
}

/**
 * @template T
 * @param {string} path
 * @param {'read' | 'write'} how
 * @param {(fd: number) => T} use
 * @returns {T}
 */
export function withFile(path, how, use) {
  const flags = how === 'read' ? fs.constants.O_RDONLY : fs.constants.O_WRONLY | fs.constants.O_CREAT;
  const fd = fs.openSync(path, flags | (fs.constants.O_NOFOLLOW ?? 0), 0o600);
  try {
    return use(fd);
  } finally {
    fs.closeSync(fd);
  }
}

/**
 * @param {string} directory
 * @returns {Buffer[]} the names in it; none if it has just vanished
 */
export function namesIn(directory) {
  try {
    return fs.readdirSync(directory, { encoding: 'buffer' });
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ENOENT') throw error;
    return [];
  }
}

/**
 * @param {string} path
 * @param {number} position
 * @param {number} length
 * @returns {Buffer} shorter only at the end of the file
 */
export function readAt(path, position, length) {
  return withFile(path, 'read', (fd) => {
    const bytes = Buffer.allocUnsafe(length);
    let done = 0;
    for (let count = -1; done < length && count !== 0; done += count) count = fs.readSync(fd, bytes, done, length - done, position + done);
    return bytes.subarray(0, done);
  });
}

/**
 * @param {string} path made if it is not there
 * @param {number} position
 * @param {Buffer} bytes
 */
export function writeAt(path, position, bytes) {
  withFile(path, 'write', (fd) => {
    for (let done = 0; done < bytes.length;) done += fs.writeSync(fd, bytes, done, bytes.length - done, position + done);
  });
}

/**
 * Packs data for the wire if that pays, as a look at one of every sixteen of its leaves says first.
 *
 * @param {Buffer} data
 * @param {number} level how hard; 0 for not at all
 * @returns {Promise<{ codec: 'CODEC_RAW' | 'CODEC_DEFLATE', data: Buffer }>}
 */
export async function squeeze(data, level) {
  const sample = [];
  for (let at = 0; level > 0 && at < data.length; at += 16 * 4096) sample.push(data.subarray(at, at + 4096));
  const leaves = Buffer.concat(sample);
  if (leaves.length > 0 && zlib.deflateSync(leaves, { level: 1 }).length < GAIN * leaves.length) {
    const packed = await deflate(data, { level });
    if (packed.length < GAIN * data.length) return { codec: 'CODEC_DEFLATE', data: packed };
  }
  return { codec: 'CODEC_RAW', data };
}

/**
 * @param {Buffer} data one zlib stream
 * @param {number} most bytes that it may give
 * @returns {Buffer} empty if it is none, or gives more
 */
export function inflate(data, most) {
  try {
    return zlib.inflateSync(data, { maxOutputLength: Math.max(1, most) });
  } catch {
    return Buffer.alloc(0);
  }
}

/**
 * Removes a tree, also one with directories that may not be written.
 *
 * @param {string} path
 */
export function removeTree(path) {
  try {
    fs.rmSync(path, { recursive: true, force: true });
  } catch (error) {
    if (!['EACCES', 'EPERM'].includes(/** @type {NodeJS.ErrnoException} */ (error).code ?? '')) throw error;
    const open = (/** @type {string} */ directory) => {
      fs.chmodSync(directory, 0o700);
      for (const item of fs.readdirSync(directory, { withFileTypes: true })) if (item.isDirectory()) open(`${directory}/${item.name}`);
    };
    open(path);
    fs.rmSync(path, { recursive: true, force: true });
  }
}

/**
 * @param {number} pid
 * @returns {boolean} whether this host has such a process
 */
export function isAlive(pid) {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM';
  }
}

/**
 * Looks whether a browser of this host has the profile open: Chromium leaves a link `SingletonLock` that points to `host-pid`.
 *
 * @param {string} directory
 * @returns {number | undefined} its process, if it is alive
 */
export function liveBrowser(directory) {
  let target;
  try {
    target = fs.readlinkSync(`${directory}/SingletonLock`);
  } catch {
    return undefined;
  }
  const [, host, pid] = /^(.*)-(\d+)$/.exec(target) ?? [];
  return pid && host === os.hostname() && isAlive(Number(pid)) ? Number(pid) : undefined;
}

/**
 * What a profile directory and this machine tell about where the profile can go; what they do not tell is left out.
 *
 * @param {string} directory
 * @returns {{ os?: string, browserVersion?: string }}
 */
export function origin(directory) {
  /** @type {Record<string, string>} */
  const systems = { linux: 'linux', darwin: 'macos', win32: 'windows' };
  const system = systems[process.platform];
  let browserVersion = '';
  try {
    browserVersion = fs.readFileSync(`${directory}/Last Version`, 'utf8').trim().slice(0, 64);
  } catch {
    // Not every browser leaves its version; then it is unknown.
  }
  return { ...(system && { os: system }), ...(browserVersion && { browserVersion }) };
}

/**
 * @param {bigint} mtimeNs
 * @returns {bigint} what a file has after `setTime`
 */
export function keptTime(mtimeNs) {
  return microseconds(mtimeNs) * 1000n;
}

/**
 * @param {string} path
 * @param {{ mode: number, mtimeNs: bigint }} wanted
 * @returns {boolean} whether it has them, as exactly as `setAttributes` can
 */
export function hasAttributes(path, { mode, mtimeNs }) {
  const stat = lstat(path);
  return stat !== undefined && Number(stat.mode & 0o7777n) === mode && microseconds(stat.mtimeNs) === microseconds(mtimeNs);
}

/**
 * Gives a file a second name.
 *
 * @param {string} from
 * @param {string} to
 * @returns {boolean} false if this file system cannot, or does not allow it
 */
export function linkFile(from, to) {
  try {
    fs.linkSync(from, to);
    return true;
  } catch (error) {
    if (['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EXDEV'].includes(/** @type {NodeJS.ErrnoException} */ (error).code ?? ''))
      return false;
    throw error;
  }
}

/**
 * @param {string} from
 * @param {string} to sharing its blocks until one of them is written to, where the file system can do that
 */
export function copyFile(from, to) {
  fs.copyFileSync(from, to, fs.constants.COPYFILE_FICLONE);
}

/**
 * @param {string} message
 * @param {string} code
 */
export function warn(message, code) {
  process.emitWarning(message, { type: 'CloakroomWarning', code });
}
