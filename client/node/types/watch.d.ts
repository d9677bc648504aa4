/**
 * A watch that goes on by itself across broken connections and restarts of the daemon. An event counts as applied when the next one is asked for, so whoever stops
 * in the middle of one, or dies there, hears it again. One loop at a time.
 *
 * @implements {AsyncIterable<WatchEvent>}
 */
export class Watch implements AsyncIterable<WatchEvent> {
    /**
     * @param {import('./connection.js').Connection} connection
     * @param {WatchOptions} [options]
     */
    constructor(connection: import("./connection.js").Connection, { selectors, resumeToken, afterRevision, bookmarkIntervalSeconds, signal }?: WatchOptions);
    /** @private */
    private connection;
    /** @private */
    private selectors;
    /** @private */
    private afterRevision;
    /** @private */
    private intervalSeconds;
    /** @private */
    private signal;
    /** Where to go on: after the last event that was applied. Keep it to go on in another process. */
    resumeToken: Buffer<ArrayBuffer> | undefined;
    /** @private */
    private get ended();
    /** @private */
    private stream;
    /**
     * @private
     * @param {any} message a `WatchInvalidationsResponse`
     * @returns {WatchEvent | undefined} undefined if it is the watch's own business
     */
    private event;
    /** @returns {AsyncGenerator<WatchEvent, void, void>} */
    [Symbol.asyncIterator](): AsyncGenerator<WatchEvent, void, void>;
}
export type Change = import("./messages.js").Change;
/**
 * given fields must all match; several selectors are alternatives
 */
export type Selector = {
    sessionId?: string;
    businessId?: string;
    email?: string;
    kinds?: import("./messages.js").ChangeKind[];
};
export type WatchOptions = {
    /**
     * which changes to hear of; none: all
     */
    selectors?: Selector[] | undefined;
    /**
     * go on after the message that carried this
     */
    resumeToken?: Uint8Array<ArrayBufferLike> | undefined;
    /**
     * start after this revision, such as that of an answer just read
     */
    afterRevision?: number | undefined;
    /**
     * how often to hear that nothing else happened: 1 to 60, default 5
     */
    bookmarkIntervalSeconds?: number | undefined;
    /**
     * ends the watch
     */
    signal?: AbortSignal | undefined;
};
/**
 * One event of a watch. `resumeToken` covers everything up to and with it.
 *
 * - `opened`: the watch runs; changes after `revision` follow, or a reset. It comes again after each reconnection.
 * - `changes`: what happened, in order.
 * - `bookmark`: everything up to `revision` was told.
 * - `reset`: changes may have been missed. Forget everything that the selectors cover and read it anew, at some moment within `spreadSeconds`.
 *   `reason` is `COMPACTED`, `HISTORY_CHANGED`, `SLOW_CONSUMER`, `GAP`, or `UNKNOWN_CHANGE` if the daemon told of something that this client does not know.
 */
export type WatchEvent = {
    resumeToken: Buffer;
} & ({
    kind: "opened";
    revision: number;
} | {
    kind: "changes";
    revision: number;
    changes: Change[];
} | {
    kind: "bookmark";
    revision: number;
} | {
    kind: "reset";
    reason: string;
    revision: number;
    spreadSeconds: number;
});
