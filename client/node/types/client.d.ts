/** @typedef {import('./messages.js').Snapshot} Snapshot */
/** @typedef {import('./sessions.js').ReadOptions} ReadOptions */
/** @typedef {import('./connection.js').CallOptions} CallOptions */
/**
 * One of the daemon's stores.
 *
 * @typedef {object} StoreInfo
 * @property {string} engine what it is: `sqlite`, `redis`, `local`, `s3`, …
 * @property {string} location where it is, without credentials
 * @property {string} health `OK` or `UNAVAILABLE`
 * @property {string[]} warnings what an operator should know or do about it
 */
/**
 * @typedef {object} ServerInfo
 * @property {string} version the daemon's version
 * @property {string} instanceId a name of its process that no other has
 * @property {Date | undefined} startTime when it started
 * @property {string} namespace the namespace that the caller's empty one means
 * @property {StoreInfo} metadata the store of sessions, indices and events
 * @property {StoreInfo} blobs the store of profiles
 * @property {string} history names the unbroken run of revisions; empty while the metadata store is unavailable
 * @property {number} revision the namespace's revision
 * @property {string} exclusivity what this deployment really gives: `EXCLUSIVE` or `FENCED_WRITES_ONLY`
 * @property {string[]} capabilities what a client may count on
 * @property {{ messageBytes: number, storageStateBytes: number, profileEntries: number, profileBytes: number, pageSize: number }} limits
 */
/** A client of one cloakroomd, or of several replicas behind one address. */
export class Client extends History {
    /**
     * @param {string} [target] such as `127.0.0.1:7700`, `https://cloakroom.example:7700` or `dns:///cloakroom.example:7700`; if not given that of the environment variable
     *   `CLOAKROOM_TARGET`, or else `127.0.0.1:7700`
     * @param {import('./connection.js').ClientOptions} [options]
     */
    constructor(target?: string, options?: import("./connection.js").ClientOptions);
    /** Sessions: one browser identity each. */
    sessions: Sessions;
    /** The namespace that this client asks for; empty for the caller's own. */
    get namespace(): string;
    /** Whether the client was closed: then whatever is asked of it is refused. */
    get closed(): boolean;
    /**
     * Loads a session's profile into a directory. The directory appears at the end, complete and verified, or not at all.
     *
     * @param {string} sessionId
     * @param {string} directory must not exist, unless `replace` is said
     * @param {import('./messages.js').LoadOptions} [options]
     * @returns {Promise<import('./messages.js').Loaded>}
     */
    load(sessionId: string, directory: string, options?: import("./messages.js").LoadOptions): Promise<import("./messages.js").Loaded>;
    /**
     * Saves a directory as the session's new head. Only what differs from the snapshot that it was loaded from, or saved as last, travels.
     *
     * @param {string} sessionId
     * @param {string} directory a profile whose browser has exited
     * @param {import('./messages.js').SaveOptions} [options]
     * @returns {Promise<import('./messages.js').Saved>}
     */
    save(sessionId: string, directory: string, options?: import("./messages.js").SaveOptions): Promise<import("./messages.js").Saved>;
    /**
     * Gives a session's profile in a directory of this machine that nobody else has until it is released. Where that is still the head, nothing travels; else only what differs. A session in which
     * nothing was saved yet gets an empty one.
     *
     * @param {string} sessionId
     * @param {import('./mount.js').MountOptions} [options]
     * @returns {Promise<import('./mount.js').Mount>}
     */
    mount(sessionId: string, options?: import("./mount.js").MountOptions): Promise<import("./mount.js").Mount>;
    /**
     * Removes the directories of mounts, of all sessions, that nobody has and nobody has used for a while.
     *
     * @param {import('./mount.js').PruneOptions} [options]
     * @returns {Promise<import('./mount.js').Pruned>}
     */
    pruneMounts(options?: import("./mount.js").PruneOptions): Promise<import("./mount.js").Pruned>;
    /**
     * Says what became of a save.
     *
     * @param {string} sessionId
     * @param {string} uploadId
     * @param {CallOptions} [options]
     * @returns {Promise<{ state: 'UNKNOWN' | 'COMMITTED', snapshot: Snapshot | undefined, revision: number }>}
     */
    saveStatus(sessionId: string, uploadId: string, options?: CallOptions): Promise<{
        state: "UNKNOWN" | "COMMITTED";
        snapshot: Snapshot | undefined;
        revision: number;
    }>;
    /**
     * Hears of every change that others make, without gaps and without repetition: `for await (const event of client.watch())`.
     *
     * @param {import('./watch.js').WatchOptions} [options]
     * @returns {Watch}
     */
    watch(options?: import("./watch.js").WatchOptions): Watch;
    /**
     * Tells every watcher to forget what it knows of some sessions, without changing them.
     *
     * @param {{ sessionId?: string, businessId?: string, email?: string }[]} selectors which sessions, 1 to 64
     * @param {CallOptions & { reason?: string, validateOnly?: boolean, requestId?: string }} [options] `validateOnly`: only count them
     * @returns {Promise<{ sessionCount: number, revision: number }>}
     */
    invalidate(selectors: {
        sessionId?: string;
        businessId?: string;
        email?: string;
    }[], options?: CallOptions & {
        reason?: string;
        validateOnly?: boolean;
        requestId?: string;
    }): Promise<{
        sessionCount: number;
        revision: number;
    }>;
    /**
     * Says what the daemon is, what it stands on and what it can do.
     *
     * @param {CallOptions} [options]
     * @returns {Promise<ServerInfo>}
     */
    serverInfo(options?: CallOptions): Promise<ServerInfo>;
    /** Closes the connection. Calls and watches that still run are ended. */
    close(): void;
    /** The same as `close`, for `using`. */
    [Symbol.dispose](): void;
}
export type Snapshot = import("./messages.js").Snapshot;
export type ReadOptions = import("./sessions.js").ReadOptions;
export type CallOptions = import("./connection.js").CallOptions;
/**
 * One of the daemon's stores.
 */
export type StoreInfo = {
    /**
     * what it is: `sqlite`, `redis`, `local`, `s3`, …
     */
    engine: string;
    /**
     * where it is, without credentials
     */
    location: string;
    /**
     * `OK` or `UNAVAILABLE`
     */
    health: string;
    /**
     * what an operator should know or do about it
     */
    warnings: string[];
};
export type ServerInfo = {
    /**
     * the daemon's version
     */
    version: string;
    /**
     * a name of its process that no other has
     */
    instanceId: string;
    /**
     * when it started
     */
    startTime: Date | undefined;
    /**
     * the namespace that the caller's empty one means
     */
    namespace: string;
    /**
     * the store of sessions, indices and events
     */
    metadata: StoreInfo;
    /**
     * the store of profiles
     */
    blobs: StoreInfo;
    /**
     * names the unbroken run of revisions; empty while the metadata store is unavailable
     */
    history: string;
    /**
     * the namespace's revision
     */
    revision: number;
    /**
     * what this deployment really gives: `EXCLUSIVE` or `FENCED_WRITES_ONLY`
     */
    exclusivity: string;
    /**
     * what a client may count on
     */
    capabilities: string[];
    limits: {
        messageBytes: number;
        storageStateBytes: number;
        profileEntries: number;
        profileBytes: number;
        pageSize: number;
    };
};
import { History } from './history.js';
import { Sessions } from './sessions.js';
import { Watch } from './watch.js';
