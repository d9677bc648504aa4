/**
 * @param {Client} client
 * @param {string} sessionId
 * @param {MountOptions} options
 * @returns {Promise<Mount>}
 */
export function mount(client: Client, sessionId: string, { root, withStorageState, ...options }: MountOptions): Promise<Mount>;
/**
 * @param {PruneOptions} options
 * @returns {Promise<Pruned>}
 */
export function pruneMounts({ olderThanSeconds, root, signal }: PruneOptions): Promise<Pruned>;
/** A session's profile in a directory that nobody else has until it is released. Released without a save, it leaves the session's head alone. */
export class Mount {
    /**
     * @internal `client.mount` makes it
     * @param {Client} client
     * @param {string} sessionId
     * @param {Slot} slot
     * @param {Loaded | undefined} loaded undefined if nothing was saved in the session yet
     * @param {boolean} isHead
     */
    constructor(client: Client, sessionId: string, slot: Slot, loaded: Loaded | undefined, isHead: boolean);
    /** Where the profile is. */
    directory: string;
    /** The snapshot that was loaded, or saved last; undefined if nothing was saved in the session yet. */
    snapshot: import("./messages.js").Snapshot | undefined;
    /**
     * The storage state that was saved with the snapshot.
     *
     * @type {any}
     */
    storageState: any;
    /** The same byte for byte. */
    storageStateBytes: Buffer<ArrayBufferLike> | undefined;
    /**
     * Saves the directory as the session's new head; the next save goes on from there. Only what differs travels.
     *
     * @param {SaveOptions} [options]
     * @returns {Promise<Saved>}
     */
    save(options?: SaveOptions): Promise<Saved>;
    /**
     * Starts a browser on the directory, with the session cookies of the storage state that was saved with it, as `openContext` of `cloakroom-client/playwright` does.
     *
     * @template {import('./browser.js').Context} C
     * @template O
     * @param {import('./browser.js').BrowserType<C, O>} browserType such as `chromium`
     * @param {O} [options] those of Playwright's `launchPersistentContext`
     * @returns {Promise<C>}
     */
    openContext<C extends import("./browser.js").Context, O>(browserType: import("./browser.js").BrowserType<C, O>, options?: O): Promise<C>;
    /**
     * Takes the storage state, closes the browser, waits until it has exited, and saves both, as `saveContext` of `cloakroom-client/playwright` does.
     *
     * @param {import('./browser.js').Context} context
     * @param {SaveOptions & { indexedDB?: boolean }} [options]
     * @returns {Promise<Saved>}
     */
    saveContext(context: import("./browser.js").Context, { indexedDB, ...options }?: SaveOptions & {
        indexedDB?: boolean;
    }): Promise<Saved>;
    /** Lets the directory go without a save: the head stays as it is, and the next mount gives that. */
    discard(): Promise<void>;
    /**
     * Lets the directory go to others. What was not saved is not in the next mount. A browser has to be closed before. Released once more, nothing happens.
     *
     * @returns {Promise<void>}
     */
    release(): Promise<void>;
    /** The same as `release`, for `await using`. */
    [Symbol.asyncDispose](): Promise<void>;
    #private;
}
export type Client = import("./client.js").Client;
export type Loaded = import("./messages.js").Loaded;
export type SaveOptions = import("./messages.js").SaveOptions;
export type Saved = import("./messages.js").Saved;
export type Snapshot = import("./messages.js").Snapshot;
export type MountOptions = {
    /**
     * where mounts are kept; if not given, what the environment variable `CLOAKROOM_MOUNTS` says, or else `cloakroom` in the user's cache directory
     */
    root?: string | undefined;
    /**
     * the wanted snapshot; the head if not given
     */
    snapshotId?: string | undefined;
    /**
     * also the storage state that was saved with the snapshot; true if not given
     */
    withStorageState?: boolean | undefined;
    /**
     * nothing older than this
     */
    minRevision?: number | undefined;
    progress?: import("./messages.js").Progress | undefined;
    signal?: AbortSignal | undefined;
};
export type PruneOptions = {
    /**
     * for how long nobody has used what is removed; 7 days if not given
     */
    olderThanSeconds?: number | undefined;
    /**
     * as for `mount`
     */
    root?: string | undefined;
    signal?: AbortSignal | undefined;
};
/**
 * how many directories of mounts were removed, and the sum of their files' sizes
 */
export type Pruned = {
    removed: number;
    bytes: number;
};
import { Slot } from './slots.js';
