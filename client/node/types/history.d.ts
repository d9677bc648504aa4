/** The verbs on a session's snapshots. */
export class History {
    /** @param {Connection} connection */
    constructor(connection: Connection);
    /** @protected */
    protected connection: import("./connection.js").Connection;
    /**
     * Lists a session's snapshots, newest first, page by page as they are asked for.
     *
     * @param {string} sessionId
     * @param {ReadOptions & { showDeleted?: boolean, pageSize?: number }} [options] `showDeleted`: also those that were deleted and can still be revived
     * @returns {AsyncGenerator<Snapshot, void, void>}
     */
    snapshots(sessionId: string, options?: ReadOptions & {
        showDeleted?: boolean;
        pageSize?: number;
    }): AsyncGenerator<Snapshot, void, void>;
    /**
     * Reads one snapshot, if wanted with its entries in order of their paths.
     *
     * @param {string} sessionId
     * @param {ReadOptions & { snapshotId?: string, withEntries?: boolean }} [options] `snapshotId`: the head if not given
     * @returns {Promise<Snapshot & { entries: ListedEntry[] | undefined }>}
     */
    snapshot(sessionId: string, options?: ReadOptions & {
        snapshotId?: string;
        withEntries?: boolean;
    }): Promise<Snapshot & {
        entries: ListedEntry[] | undefined;
    }>;
    /**
     * Makes an earlier snapshot of a session its head again, together with the storage state that was saved with it. Nothing is lost: what was the head stays a snapshot.
     *
     * @param {string} sessionId
     * @param {WriteOptions & { snapshotId?: string, headSnapshotId?: string }} [options] `snapshotId`: what shall be the head again, if not given the one that the head was made
     *   from, which is undo; `headSnapshotId`: only if this is the head
     * @returns {Promise<Restored>}
     */
    restore(sessionId: string, options?: WriteOptions & {
        snapshotId?: string;
        headSnapshotId?: string;
    }): Promise<Restored>;
    /**
     * Pins a snapshot, which then cannot be deleted.
     *
     * @param {string} sessionId
     * @param {WriteOptions & { snapshotId?: string, note?: string }} [options] `snapshotId`: the head if not given; `note`: why, for those who read it
     * @returns {Promise<Marked>}
     */
    pin(sessionId: string, options?: WriteOptions & {
        snapshotId?: string;
        note?: string;
    }): Promise<Marked>;
    /**
     * Unpins a snapshot.
     *
     * @param {string} sessionId
     * @param {WriteOptions & { snapshotId?: string }} [options] `snapshotId`: the head if not given
     * @returns {Promise<Marked>}
     */
    unpin(sessionId: string, options?: WriteOptions & {
        snapshotId?: string;
    }): Promise<Marked>;
    /**
     * Deletes a snapshot, which can be revived for 7 days; never the head or a pinned one.
     *
     * @param {string} sessionId
     * @param {string} snapshotId
     * @param {WriteOptions} [options]
     * @returns {Promise<Marked>}
     */
    deleteSnapshot(sessionId: string, snapshotId: string, options?: WriteOptions): Promise<Marked>;
    /**
     * Revives a deleted snapshot.
     *
     * @param {string} sessionId
     * @param {string} snapshotId
     * @param {WriteOptions} [options]
     * @returns {Promise<Marked>}
     */
    undeleteSnapshot(sessionId: string, snapshotId: string, options?: WriteOptions): Promise<Marked>;
    /**
     * Compares two snapshots: which entries differ, and which cookies of Chromium's, by host and name and never with their values.
     *
     * @param {string} sessionId
     * @param {ReadOptions & { baseSnapshotId?: string, snapshotId?: string, pageSize?: number }} [options] `snapshotId`: the newer one, the head if not given; `baseSnapshotId`: the
     *   older one, if not given the one that the newer was made from
     * @returns {Promise<SnapshotDiff>}
     */
    diff(sessionId: string, options?: ReadOptions & {
        baseSnapshotId?: string;
        snapshotId?: string;
        pageSize?: number;
    }): Promise<SnapshotDiff>;
    /**
     * @private
     * @param {string} method
     * @param {Record<string, any>} request
     * @returns {Promise<any>}
     */
    private change;
    /**
     * @private
     * @param {string} method
     * @param {Record<string, any>} request
     * @returns {Promise<Marked>}
     */
    private mark;
}
export type Connection = import("./connection.js").Connection;
export type Snapshot = import("./messages.js").Snapshot;
export type ReadOptions = import("./sessions.js").ReadOptions;
export type WriteOptions = import("./sessions.js").WriteOptions;
/**
 * An entry of a snapshot, as the daemon lists it.
 */
export type ListedEntry = {
    kind: import("./messages.js").EntryKind;
    path: string;
    mode: number;
    mtimeNs: bigint;
    size: number;
    root: Buffer;
    target: string;
};
/**
 * A restore that was made.
 */
export type Restored = {
    /**
     * what is the head again
     */
    snapshot: Snapshot;
    /**
     * the head before: restoring it is redo. The snapshot itself if nothing had to be done
     */
    formerHeadSnapshotId: string;
    /**
     * the session's etag after it
     */
    sessionEtag: string;
    /**
     * the revision of the change
     */
    revision: number;
};
/**
 * a snapshot after it was pinned, unpinned, deleted or undeleted, and the revision of that
 */
export type Marked = {
    snapshot: Snapshot;
    revision: number;
};
/**
 * whether only the newer one has it, only the older one, or both and not the same
 */
export type DifferenceKind = "ADDED" | "REMOVED" | "CHANGED" | "UNKNOWN";
/**
 * One entry that differs: in its kind, size, mode, modification time, target or content.
 */
export type EntryDifference = {
    /**
     * how
     */
    kind: DifferenceKind;
    /**
     * the entry in the older snapshot
     */
    before: ListedEntry | undefined;
    /**
     * the entry in the newer snapshot
     */
    after: ListedEntry | undefined;
    /**
     * bytes of the newer file that differ, counted in leaves of 4 KiB
     */
    changedBytes: number;
};
/**
 * One cookie that differs. Its value is never told.
 */
export type CookieDifference = {
    /**
     * how
     */
    kind: DifferenceKind;
    /**
     * its host, with a leading dot when it is for all below too
     */
    host: string;
    name: string;
    path: string;
    /**
     * of a changed one: what the browser stores as its value is not the same
     */
    valueChanged: boolean;
    /**
     * of a changed one: its expiry or its flags are not the same
     */
    attributesChanged: boolean;
};
/**
 * What differs in one cookie database of Chromium's.
 */
export type CookieDatabaseDifference = {
    /**
     * where it is in the profile
     */
    path: string;
    /**
     * whether it could be compared
     */
    comparison: "KNOWN" | "UNKNOWN";
    /**
     * why not
     */
    unknownReason: string;
    /**
     * those that differ, in the order of their hosts and names
     */
    cookies: CookieDifference[];
    /**
     * more differ than an answer has room for
     */
    truncated: boolean;
};
/**
 * What differs between two snapshots.
 */
export type SnapshotDiff = {
    /**
     * the newer one
     */
    snapshot: Snapshot;
    /**
     * the older one; undefined if the newer is compared with an empty profile
     */
    base: Snapshot | undefined;
    /**
     * all entries that differ, in order of their paths
     */
    differences: EntryDifference[];
    /**
     * how many entries are new
     */
    added: number;
    /**
     * how many are gone
     */
    removed: number;
    /**
     * how many are in both and differ
     */
    changed: number;
    /**
     * bytes of the newer files that differ, counted in leaves of 4 KiB
     */
    changedBytes: number;
    /**
     * the cookie databases that differ
     */
    cookies: CookieDatabaseDifference[];
    /**
     * the namespace's revision that the answer reflects
     */
    revision: number;
};
