/**
 * Walks a directory, never through a link, and hashes what is not known or was touched since.
 *
 * @param {string} directory
 * @param {(path: string) => boolean} keeps
 * @param {Map<string, Entry>} [known] taken as it is while untouched
 * @returns {Promise<Entry[]>} in order of paths
 */
export function scan(directory: string, keeps: (path: string) => boolean, known?: Map<string, Entry>): Promise<Entry[]>;
/**
 * Finds what has to travel to make one tree of another.
 *
 * @param {Entry[]} base in order of their paths
 * @param {Entry[]} next likewise
 * @returns {Difference} exactly as `client/vectors/README.md` says
 */
export function diff(base: Entry[], next: Entry[]): Difference;
/**
 * Cuts a difference where its messages are full.
 *
 * @param {Difference} change
 * @returns {Generator<Difference>} the same, in pieces that fit a message each
 */
export function cut({ entries, removed, runs }: Difference): Generator<Difference>;
/**
 * Reads the data of a piece, which must still be what was hashed, and packs it.
 *
 * @param {string} directory
 * @param {Entry[]} all the entries of the whole difference
 * @param {Difference} piece
 * @param {number} [level] how hard to pack the data; 0 for not at all
 * @returns {Promise<any>} a `ProfileRecords`
 */
export function pack(directory: string, all: Entry[], { entries, removed, runs }: Difference, level?: number): Promise<any>;
/** Takes a load's messages and makes a directory of them, in a workspace beside the place where it will stand. Nothing gets a name from the wire before all is verified. */
export class Assembly {
    /**
     * @param {string} workspace an empty directory
     * @param {Base} [base]
     */
    constructor(workspace: string, base?: Base);
    named: (Entry & {
        covered: Uint8Array;
    })[];
    removed: Set<string>;
    fresh: Map<string, string>;
    storageState: Buffer[];
    begin: any;
    root: Buffer | undefined;
    workspace: string;
    base: Base | undefined;
    /**
     * @param {any} message a `LoadProfileResponse`
     */
    accept(message: any): void;
    /**
     * @param {any} records a `ProfileRecords`
     */
    records({ entries, runs, removed, codec, data, dataSize }: any): void;
    /**
     * @param {number} number
     * @param {number} first
     * @param {number} count
     * @param {Buffer} bytes
     */
    write(number: number, first: number, count: number, bytes: Buffer): void;
    /**
     * @param {number} number
     * @param {number} first
     * @param {number} count
     * @param {string} source
     * @param {number} sourceFirst
     */
    copy(number: number, first: number, count: number, source: string, sourceFirst: number): void;
    /** @returns {Entry[]} what the directory will hold, in order of the paths: complete, and with every root as announced */
    finish(): Entry[];
    /**
     * @param {Entry[]} entries what `finish` gave
     * @param {string} tree a place for it, in the workspace
     * @param {(base: Base, path: string, to: string) => void} take brings an unchanged file
     */
    place(entries: Entry[], tree: string, take: (base: Base, path: string, to: string) => void): void;
}
export type Entry = import("./messages.js").Entry;
export type Run = import("./messages.js").Run;
export type Difference = import("./messages.js").Difference;
/**
 * a directory that holds a snapshot; `seen`: its `stat` now
 */
export type Base = {
    directory: string;
    snapshotId: string;
    entries: Map<string, Entry & {
        seen: string;
    }>;
};
