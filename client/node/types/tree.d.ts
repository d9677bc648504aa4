/**
 * @param {number} size of a file
 * @param {number} first
 * @param {number} count
 * @returns {number} how many bytes some of its leaves have
 */
export function spanOf(size: number, first: number, count: number): number;
/**
 * @param {{ path: string }} a
 * @param {{ path: string }} b
 * @returns {number} the order of their paths' UTF-8 bytes
 */
export function byPath(a: {
    path: string;
}, b: {
    path: string;
}): number;
/**
 * @param {Buffer} bytes whole leaves, the last one may be shorter
 * @returns {Buffer} their digests, one after the other
 */
export function digestLeaves(bytes: Buffer): Buffer;
/**
 * @param {Buffer} leaves digests of all leaves of a file
 * @returns {Buffer} its root
 */
export function fileRoot(leaves: Buffer): Buffer;
/**
 * @param {Entry[]} entries in order of their paths
 * @returns {Buffer}
 */
export function manifestRoot(entries: Entry[]): Buffer;
/**
 * @param {string} directory
 * @param {string} name
 * @returns {Promise<Entry | undefined>} undefined if nothing is there that can travel
 */
export function look(directory: string, name: string): Promise<Entry | undefined>;
/**
 * @param {Entry} entry
 * @returns {any} an `Entry` of the contract
 */
export function toWire({ kind, path, mode, mtimeNs, size, root, target }: Entry): any;
/**
 * @param {any} wire an `Entry` of the contract, from a load
 * @returns {Entry} with a place for its leaves
 */
export function fromWire({ kind: wireKind, path, mode, mtimeNs, size: wireSize, root, symlinkTarget: target }: any): Entry;
/** @typedef {import('./messages.js').Entry} Entry */
/** Bytes of a leaf and of its digest. */
export const LEAF: 4096;
export const DIGEST: 16;
/** Most bytes of leaves in one message. */
export const MOST: number;
export type Entry = import("./messages.js").Entry;
