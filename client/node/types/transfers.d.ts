/**
 * Saves a directory as the session's new head. Only what differs from the snapshot that it came from travels.
 *
 * @param {Connection} connection
 * @param {string} sessionId
 * @param {string} directory
 * @param {SaveOptions} [options]
 * @returns {Promise<Saved>}
 */
export function save(connection: Connection, sessionId: string, directory: string, options?: SaveOptions): Promise<Saved>;
/**
 * Says what became of a save.
 *
 * @param {Connection} connection
 * @param {string} sessionId
 * @param {string} uploadId
 * @param {import('./connection.js').CallOptions} [call]
 * @returns {Promise<{ state: 'UNKNOWN' | 'COMMITTED', snapshot: Snapshot | undefined, revision: number }>}
 */
export function saveStatus(connection: Connection, sessionId: string, uploadId: string, call?: import("./connection.js").CallOptions): Promise<{
    state: "UNKNOWN" | "COMMITTED";
    snapshot: Snapshot | undefined;
    revision: number;
}>;
/**
 * Loads a snapshot into a directory. The directory appears at the end, complete and verified, or not at all.
 *
 * @param {Connection} connection
 * @param {string} sessionId
 * @param {string} directory
 * @param {LoadOptions} [options]
 * @returns {Promise<Loaded>}
 */
export function load(connection: Connection, sessionId: string, directory: string, options?: LoadOptions): Promise<Loaded>;
export type Connection = import("./connection.js").Connection;
export type Entry = import("./messages.js").Entry;
export type Snapshot = import("./messages.js").Snapshot;
export type Progress = import("./messages.js").Progress;
export type Base = import("./profiles.js").Base;
export type SaveExtras = {
    /**
     * Playwright's storage state, to be saved and restored with the profile
     */
    storageState?: string | object | Uint8Array<ArrayBufferLike> | undefined;
    /**
     * names this save for repetitions; made by the client if not given
     */
    uploadId?: string | undefined;
    /**
     * only if the session still has this
     */
    etag?: string | undefined;
    /**
     * the lease under which this is saved
     */
    leaseToken?: number | undefined;
    /**
     * where the profile comes from, as far as the caller knows better
     */
    portability?: Partial<import("./messages.js").Portability> | undefined;
    /**
     * save although a live browser holds the profile; what it has not yet written is then missing
     */
    force?: boolean | undefined;
    /**
     * pack the data on its way; if not given, unless the daemon is on this host and there is much of it
     */
    compress?: boolean | undefined;
    progress?: import("./messages.js").Progress | undefined;
    signal?: AbortSignal | undefined;
};
export type SaveOptions = SaveExtras & import("./capture.js").CaptureOptions;
export type Saved = {
    /**
     * the session's new head
     */
    snapshot: Snapshot;
    /**
     * the revision of the change
     */
    revision: number;
    /**
     * the session's etag after the save; empty if the answer was lost and the save was found committed afterwards
     */
    sessionEtag: string;
    /**
     * names this save; give it back to repeat it
     */
    uploadId: string;
    /**
     * how many were sent; 0 if the answer was lost
     */
    messages: number;
    /**
     * their bytes, before gRPC frames them; 0 if the answer was lost
     */
    wireBytes: number;
};
export type LoadOptions = {
    /**
     * the wanted snapshot; the head if not given
     */
    snapshotId?: string | undefined;
    /**
     * a directory with a former snapshot of the session: what is unchanged comes from it; with `replace` the directory itself if not given
     */
    have?: string | undefined;
    /**
     * put the profile in the place of what is there, in one step at the end
     */
    replace?: boolean | undefined;
    /**
     * replace it although a live browser holds it
     */
    force?: boolean | undefined;
    /**
     * also the storage state that was saved with the snapshot
     */
    withStorageState?: boolean | undefined;
    /**
     * have the data packed on its way; if not given, unless the daemon is on this host
     */
    compress?: boolean | undefined;
    /**
     * nothing older than this
     */
    minRevision?: number | undefined;
    progress?: import("./messages.js").Progress | undefined;
    signal?: AbortSignal | undefined;
};
export type Loaded = {
    /**
     * where the profile is
     */
    directory: string;
    /**
     * what it is
     */
    snapshot: Snapshot;
    /**
     * what the stream was a difference to; empty for a full load
     */
    baseSnapshotId: string;
    /**
     * bytes of file content that travelled, unpacked
     */
    contentBytes: number;
    /**
     * the storage state, if it was asked for and saved with the snapshot
     */
    storageState: any;
    /**
     * the same byte for byte
     */
    storageStateBytes: Buffer | undefined;
};
