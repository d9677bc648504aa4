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
/**
 * All messages of a save.
 *
 * @param {{ namespace: string, begin: any, directory: string, change: Difference, state: Buffer, root: Buffer }} save
 * @param {boolean} compress
 * @param {(done: number, total: number) => void} tell
 * @returns {AsyncGenerator<any, void, void>} `SaveProfileRequest`s
 */
export function saveMessages({ namespace, begin, directory, change, state, root }: {
    namespace: string;
    begin: any;
    directory: string;
    change: Difference;
    state: Buffer;
    root: Buffer;
}, compress: boolean, tell: (done: number, total: number) => void): AsyncGenerator<any, void, void>;
/** What a load's messages bring, in a workspace beside the place where the directory will stand. Nothing gets a name from the wire before all is verified. */
export class Assembly {
    /**
     * @param {() => string} makeShelf gives an empty directory, when there is something to put there
     * @param {Base} [base]
     */
    constructor(makeShelf: () => string, base?: Base);
    named: (Entry & {
        covered: Uint8Array;
    })[];
    removed: Set<string>;
    storageState: Buffer[];
    begin: any;
    root: Buffer | undefined;
    shelf: string | undefined;
    makeShelf: () => string;
    base: Base | undefined;
    /** The directory in which what came lies. */
    get workspace(): string;
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
