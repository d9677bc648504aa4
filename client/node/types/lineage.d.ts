/** @typedef {import('./messages.js').Entry} Entry */
/** @typedef {import('./sidecar.js').Sidecar} Sidecar */
/**
 * @param {string} directory
 * @param {string} sessionId to be saved into
 * @param {string} namespace
 * @param {boolean} replace
 * @returns {Sidecar | undefined} where the directory came from; with `replace` that may be another session, of which only the digests of untouched files count
 */
export function comesFrom(directory: string, sessionId: string, namespace: string, replace: boolean): Sidecar | undefined;
/**
 * @param {import('./connection.js').Connection} connection
 * @param {string} sessionId
 * @param {Sidecar | undefined} known
 * @param {{ replace: boolean, signal?: AbortSignal }} options
 * @returns {Promise<{ parentSnapshotId: string, full: boolean, base: Entry[] }>} what a save follows, and to which entries it is the difference
 */
export function parentOf(connection: import("./connection.js").Connection, sessionId: string, known: Sidecar | undefined, { replace, signal }: {
    replace: boolean;
    signal?: AbortSignal;
}): Promise<{
    parentSnapshotId: string;
    full: boolean;
    base: Entry[];
}>;
/**
 * Adds to a refusal why the daemon was told of no snapshot that the directory came from.
 *
 * @param {unknown} error of a save
 * @param {string} directory
 * @param {Sidecar | undefined} known
 * @returns {unknown} the error
 */
export function explained(error: unknown, directory: string, known: Sidecar | undefined): unknown;
/**
 * @param {Sidecar | undefined} known
 * @param {Uint8Array} state the storage state that is saved, empty for none
 * @returns {import('./messages.js').Warning[]} about session cookies that go missing
 */
export function leftOut(known: Sidecar | undefined, state: Uint8Array): import("./messages.js").Warning[];
export type Entry = import("./messages.js").Entry;
export type Sidecar = import("./sidecar.js").Sidecar;
