/** @typedef {import('./messages.js').Entry} Entry */
/** @typedef {{ namespace: string, sessionId: string, snapshotId: string, manifestRoot: Buffer, entries: Entry[] }} Sidecar */
/**
 * @param {string} directory
 * @returns {string} where its sidecar is
 */
export function sidecarPath(directory: string): string;
/**
 * @param {string} directory
 * @param {string} sessionId
 * @param {string} namespace empty if the caller was not told
 * @returns {Sidecar | undefined} undefined if there is none that can be read and belongs to the session
 */
export function readSidecar(directory: string, sessionId: string, namespace: string): Sidecar | undefined;
/**
 * @param {string} directory
 * @param {Sidecar} sidecar
 */
export function writeSidecar(directory: string, { namespace, sessionId, snapshotId, manifestRoot, entries }: Sidecar): void;
export type Entry = import("./messages.js").Entry;
export type Sidecar = {
    namespace: string;
    sessionId: string;
    snapshotId: string;
    manifestRoot: Buffer;
    entries: Entry[];
};
