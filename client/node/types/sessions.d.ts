/**
 * @param {object | string | Uint8Array} storageState
 * @returns {Buffer} its JSON
 */
export function storageStateBytes(storageState: object | string | Uint8Array): Buffer;
/** Playwright storage states of sessions. */
export class StorageStates {
    /** @param {import('./connection.js').Connection} connection */
    constructor(connection: import("./connection.js").Connection);
    /** @private */
    private connection;
    /**
     * Reads the session's storage state: what was put last, or saved last with a profile.
     *
     * @param {string} sessionId
     * @param {ReadOptions} [options]
     * @returns {Promise<StoredState>}
     */
    get(sessionId: string, options?: ReadOptions): Promise<StoredState>;
    /**
     * Replaces the session's storage state. Counts as a use.
     *
     * @param {string} sessionId
     * @param {object | string | Uint8Array} storageState what Playwright's `storageState()` gives, or that as JSON
     * @param {WriteOptions} [options] `etag` is the storage state's
     * @returns {Promise<{ etag: string, revision: number }>}
     */
    put(sessionId: string, storageState: object | string | Uint8Array, options?: WriteOptions): Promise<{
        etag: string;
        revision: number;
    }>;
}
/** Sessions: one browser identity each. */
export class Sessions {
    /** @param {import('./connection.js').Connection} connection */
    constructor(connection: import("./connection.js").Connection);
    /** @private */
    private connection;
    /** Playwright storage states of sessions. */
    storageState: StorageStates;
    /**
     * @private
     * @param {string} method
     * @param {Record<string, unknown>} request
     * @param {CallOptions} call
     * @returns {Promise<Session>}
     */
    private one;
    /**
     * Creates a session in state PENDING.
     *
     * @param {SessionFields & { businessId: string, sessionId?: string }} fields `sessionId`: the wanted id; the daemon makes one if not given
     * @param {CallOptions & { requestId?: string }} [options]
     * @returns {Promise<Session>}
     */
    create(fields: SessionFields & {
        businessId: string;
        sessionId?: string;
    }, options?: CallOptions & {
        requestId?: string;
    }): Promise<Session>;
    /**
     * Reads one session. Reading is not a use: it does not move the expiry.
     *
     * @param {string} sessionId
     * @param {ReadOptions} [options]
     * @returns {Promise<Session>}
     */
    get(sessionId: string, options?: ReadOptions): Promise<Session>;
    /**
     * Reads up to 100 sessions in one consistent read.
     *
     * @param {string[]} sessionIds
     * @param {ReadOptions} [options]
     * @returns {Promise<{ sessions: Session[], missing: string[], revision: number }>} `missing`: the ids that name no live session
     */
    batchGet(sessionIds: string[], options?: ReadOptions): Promise<{
        sessions: Session[];
        missing: string[];
        revision: number;
    }>;
    /**
     * Changes the given fields and leaves the others.
     *
     * @param {string} sessionId
     * @param {SessionFields} fields
     * @param {WriteOptions} [options]
     * @returns {Promise<Session>}
     */
    update(sessionId: string, fields: SessionFields, options?: WriteOptions): Promise<Session>;
    /**
     * Hides a session from every list and lookup; it stays revivable for 7 days. Deleting a deleted one succeeds.
     *
     * @param {string} sessionId
     * @param {WriteOptions} [options]
     * @returns {Promise<Session>}
     */
    delete(sessionId: string, options?: WriteOptions): Promise<Session>;
    /**
     * Revives a deleted or expired session in the state it had before.
     *
     * @param {string} sessionId
     * @param {WriteOptions} [options]
     * @returns {Promise<Session>}
     */
    undelete(sessionId: string, options?: WriteOptions): Promise<Session>;
    /**
     * Lists live sessions, oldest first, page by page as they are asked for. Whatever exists during the whole listing appears exactly once.
     *
     * @param {ReadOptions & { businessId?: string, email?: string, states?: SessionState[], labels?: Record<string, string>, pageSize?: number }} [filter]
     *   all given ones must match
     * @returns {AsyncGenerator<Session, void, void>}
     */
    list(filter?: ReadOptions & {
        businessId?: string;
        email?: string;
        states?: SessionState[];
        labels?: Record<string, string>;
        pageSize?: number;
    }): AsyncGenerator<Session, void, void>;
    /**
     * The most recently used ACTIVE session of a business or an e-mail address.
     *
     * @param {{ businessId: string } | { email: string }} owner
     * @param {ReadOptions} [options]
     * @returns {Promise<Session>}
     */
    active(owner: {
        businessId: string;
    } | {
        email: string;
    }, options?: ReadOptions): Promise<Session>;
    /**
     * Counts as a use: moves `lastUseTime` and a sliding expiry.
     *
     * @param {string} sessionId
     * @param {TouchOptions} [options]
     * @returns {Promise<{ expireTime: Date | undefined, revision: number }>}
     */
    touch(sessionId: string, options?: TouchOptions): Promise<{
        expireTime: Date | undefined;
        revision: number;
    }>;
    /**
     * Moves a session to another state.
     *
     * @param {string} sessionId
     * @param {SessionState} to
     * @param {WriteOptions & { reason?: string }} [options] `reason`: why, for those who read it; without secrets
     * @returns {Promise<Session>}
     */
    transition(sessionId: string, to: SessionState, options?: WriteOptions & {
        reason?: string;
    }): Promise<Session>;
    /**
     * Finds the one live session whose id starts with a prefix.
     *
     * @param {string} idPrefix
     * @param {ReadOptions} [options]
     * @returns {Promise<Session>}
     */
    resolve(idPrefix: string, options?: ReadOptions): Promise<Session>;
}
export type Session = import("./messages.js").Session;
export type SessionState = import("./messages.js").SessionState;
export type TtlMode = import("./messages.js").TtlMode;
export type CallOptions = import("./connection.js").CallOptions;
/**
 * `minRevision`: answer nothing older than this
 */
export type ReadOptions = CallOptions & {
    minRevision?: number;
};
/**
 * `etag`: only if it is still this; `leaseToken`: the lease under which this is done
 */
export type TouchOptions = CallOptions & {
    etag?: string;
    leaseToken?: number;
};
/**
 * `requestId`: makes a repetition harmless; made by the client if not given
 */
export type WriteOptions = TouchOptions & {
    requestId?: string;
};
/**
 * A session's storage state, as it was stored.
 */
export type StoredState = {
    /**
     * Playwright's document: what `browser.newContext({ storageState })` takes
     */
    storageState: {
        cookies: any[];
        origins: any[];
        [more: string]: any;
    };
    /**
     * the same byte for byte, as it was put
     */
    bytes: Buffer;
    /**
     * the storage state's own: give it back to `put` to make that conditional
     */
    etag: string;
    /**
     * when it was put or saved
     */
    updateTime: Date | undefined;
    /**
     * the namespace's revision that the answer reflects
     */
    revision: number;
};
/**
 * what a caller may set
 */
export type SessionFields = {
    businessId?: string;
    email?: string;
    labels?: Record<string, string>;
    ttlSeconds?: number;
    ttlMode?: TtlMode;
};
