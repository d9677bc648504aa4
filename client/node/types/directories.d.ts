/** @typedef {import('./messages.js').Entry} Entry */
/** @typedef {import('./framing.js').Base} Base */
/**
 * @param {string} directory
 * @param {boolean} force
 * @returns {boolean} whether the browser has exited
 */
export function checkBrowser(directory: string, force: boolean): boolean;
/**
 * @param {string} directory
 * @param {boolean} force
 * @returns {{ from: string, origin: Partial<import('./messages.js').Portability> }} the directory to save from, and what it tells of where its profile can go
 */
export function checkSource(directory: string, force: boolean): {
    from: string;
    origin: Partial<import("./messages.js").Portability>;
};
/**
 * @param {string} target where a load goes
 * @param {boolean} replace
 * @param {boolean} force
 * @returns {boolean} whether a directory is there, which may be replaced
 */
export function checkTarget(target: string, replace: boolean, force: boolean): boolean;
/**
 * Looks whether a directory still holds the snapshot that its sidecar names.
 *
 * @param {string} directory
 * @param {string} sessionId
 * @param {string} namespace
 * @returns {Promise<Base | undefined>} undefined if not: then nothing is taken from it
 */
export function intact(directory: string, sessionId: string, namespace: string): Promise<Base | undefined>;
/**
 * Finds what is new in a directory that holds a snapshot, and would travel.
 *
 * @param {Base} base
 * @param {string} policy with which the snapshot was captured. Under one that is not known everything travels
 * @returns {string[]} paths; of what is in a new directory only that one's
 */
export function strays({ directory, entries }: Base, policy: string): string[];
/**
 * Looks whether a directory that holds a snapshot is just as a load of it would leave it, and its sidecar says so: nothing was touched, and what is there besides does not travel, such
 * as caches.
 *
 * @param {Base} base
 * @param {string} policy with which the snapshot was captured. Under one that is not known everything travels
 * @returns {boolean}
 */
export function isUntouched(base: Base, policy: string): boolean;
/**
 * Puts a tree in its place, unless something stands there that may not give way, also if it appeared a moment ago. At every moment the place holds the former directory, nothing, or the whole tree. The sidecar goes before the former directory and comes after
 * the new one, and from before the one until after the other stands `old`: so `checkSource` can tell, also if this process is killed here and a browser makes the
 * directory anew, that what stands there is not what was loaded.
 *
 * @param {import('./sidecar.js').Sidecar} sidecar of the tree
 * @param {string} tree
 * @param {string} target
 * @param {string} old where what is in its place goes, and is removed
 * @param {{ replace: boolean, force: boolean }} may as for `checkTarget`
 */
export function swap(sidecar: import("./sidecar.js").Sidecar, tree: string, target: string, old: string, { replace, force }: {
    replace: boolean;
    force: boolean;
}): void;
/**
 * Adds to the entries of a directory that was just loaded what the system says of each. What was written a moment before has to grow old first: until then a change could
 * hide behind its times.
 *
 * @param {string} directory
 * @param {Entry[]} entries
 * @returns {Promise<Entry[]>}
 */
export function describe(directory: string, entries: Entry[]): Promise<Entry[]>;
/**
 * Writes the sidecar after a save, which is done whatever happens here.
 *
 * @param {string} directory
 * @param {import('./sidecar.js').Sidecar} sidecar
 * @returns {import('./messages.js').Warning[]}
 */
export function remember(directory: string, sidecar: import("./sidecar.js").Sidecar): import("./messages.js").Warning[];
/** A directory beside a target in which a load is put together. It is made when it is first asked for, so that a load that finds everything in place touches nothing. */
export class Workspace {
    /** @param {string} target */
    constructor(target: string);
    target: string;
    /** @returns {string} where it is */
    open(): string;
    /**
     * Clears away what dead loads have left beside the target, if there is something.
     *
     * @param {boolean} whole whether the target is known to be so
     */
    tidy(whole: boolean): void;
    /** Removes it, unless it holds the only former directory because that could not be put back. */
    close(): void;
    #private;
}
export type Entry = import("./messages.js").Entry;
export type Base = import("./framing.js").Base;
