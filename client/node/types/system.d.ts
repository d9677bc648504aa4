/**
 * Sets a modification time as exactly as Node.js can: to the microsecond, rounded down. The time goes in as text because a negative number would be taken
 * for "now"; the half keeps a binary fraction from falling below its microsecond, on whichever side of zero the system's truncation works.
 *
 * @param {string} path
 * @param {bigint} mtimeNs
 */
export function setTime(path: string, mtimeNs: bigint): void;
/**
 * @param {string} path
 * @param {number} mode
 * @param {bigint} mtimeNs
 */
export function setAttributes(path: string, mode: number, mtimeNs: bigint): void;
/**
 * @param {string} path
 * @returns {fs.BigIntStats | undefined} undefined if nothing is there
 */
export function lstat(path: string): fs.BigIntStats | undefined;
/**
 * What tells whether an entry was touched.
 *
 * @param {fs.BigIntStats} stat
 * @returns {string}
 */
export function signature(stat: fs.BigIntStats): string;
/**
 * @param {fs.BigIntStats | undefined} stat
 * @returns {import('./messages.js').EntryKind | undefined} undefined if it is none that travels: a socket, a pipe, a device
 */
export function kindOf(stat: fs.BigIntStats | undefined): import("./messages.js").EntryKind | undefined;
/**
 * What tells whether an entry was touched after it was looked at. Within one tick of the file system's clock a second write would leave both times as they are;
 * it cannot while one of them lies before that tick, because it would move that one.
 *
 * @param {fs.BigIntStats} stat
 * @param {number} now the moment before it was made, in milliseconds since 1970
 * @returns {string} empty if a second write could not be told
 */
export function settledSignature(stat: fs.BigIntStats, now: number): string;
/**
 * @param {string} path
 * @returns {string} empty if nothing is there
 */
export function signatureAt(path: string): string;
/**
 * @template T
 * @param {string} path
 * @param {'read' | 'write'} how
 * @param {(fd: number) => T} use
 * @returns {T}
 */
export function withFile<T>(path: string, how: "read" | "write", use: (fd: number) => T): T;
/**
 * @param {string} directory
 * @returns {Buffer[]} the names in it; none if it has just vanished
 */
export function namesIn(directory: string): Buffer[];
/**
 * @param {string} path
 * @param {number} position
 * @param {number} length
 * @returns {Buffer} shorter only at the end of the file
 */
export function readAt(path: string, position: number, length: number): Buffer;
/**
 * @param {string} path made if it is not there
 * @param {number} position
 * @param {Buffer} bytes
 */
export function writeAt(path: string, position: number, bytes: Buffer): void;
/**
 * Packs data for the wire if that pays, as a look at one of every sixteen of its leaves says first.
 *
 * @param {Buffer} data
 * @param {number} level how hard; 0 for not at all
 * @returns {Promise<{ codec: 'CODEC_RAW' | 'CODEC_DEFLATE', data: Buffer }>}
 */
export function squeeze(data: Buffer, level: number): Promise<{
    codec: "CODEC_RAW" | "CODEC_DEFLATE";
    data: Buffer;
}>;
/**
 * @param {Buffer} data one zlib stream
 * @param {number} most bytes that it may give
 * @returns {Buffer} empty if it is none, or gives more
 */
export function inflate(data: Buffer, most: number): Buffer;
/**
 * Removes a tree, also one with directories that may not be written.
 *
 * @param {string} path
 */
export function removeTree(path: string): void;
/**
 * @param {number} pid
 * @returns {boolean} whether this host has such a process
 */
export function isAlive(pid: number): boolean;
/**
 * Looks whether a browser of this host has the profile open: Chromium leaves a link `SingletonLock` that points to `host-pid`.
 *
 * @param {string} directory
 * @returns {number | undefined} its process, if it is alive
 */
export function liveBrowser(directory: string): number | undefined;
/**
 * What a profile directory and this machine tell about where the profile can go; what they do not tell is left out.
 *
 * @param {string} directory
 * @returns {{ os?: string, browserVersion?: string }}
 */
export function origin(directory: string): {
    os?: string;
    browserVersion?: string;
};
/**
 * @param {bigint} mtimeNs
 * @returns {bigint} what a file has after `setTime`
 */
export function keptTime(mtimeNs: bigint): bigint;
/**
 * @param {string} path
 * @param {{ mode: number, mtimeNs: bigint }} wanted
 * @returns {boolean} whether it has them, as exactly as `setAttributes` can
 */
export function hasAttributes(path: string, { mode, mtimeNs }: {
    mode: number;
    mtimeNs: bigint;
}): boolean;
/**
 * Gives a file a second name.
 *
 * @param {string} from
 * @param {string} to
 * @returns {boolean} false if this file system cannot, or does not allow it
 */
export function linkFile(from: string, to: string): boolean;
/**
 * @param {string} from
 * @param {string} to sharing its blocks until one of them is written to, where the file system can do that
 */
export function copyFile(from: string, to: string): void;
/**
 * @param {string} message
 * @param {string} code
 */
export function warn(message: string, code: string): void;
/** Longer than a tick of any file system's clock that keeps better times than seconds. */
export const TICK_MS: 20;
import fs from 'node:fs';
