/**
 * @param {string} directory
 * @returns {string} where its sidecar is
 */
export function sidecarPath(directory: string): string;
/**
 * @param {string} directory
 * @param {string} sessionId
 * @param {string} namespace as the client asks for it, empty for the caller's own: what another one calls that may be another namespace
 * @returns {Sidecar | undefined} undefined if there is none that can be read and belongs to the session
 */
export function readSidecar(directory: string, sessionId: string, namespace: string): Sidecar | undefined;
/**
 * @param {string} directory
 * @param {Sidecar} sidecar
 */
export function writeSidecar(directory: string, { namespace, sessionId, snapshotId, manifestRoot, origin, entries }: Sidecar): void;
/** @param {string} directory whose sidecar is no longer true */
export function forgetSidecar(directory: string): void;
export type Entry = import("./messages.js").Entry;
/**
 * what stays true of a snapshot's portability when a save does not find it out anew
 */
export type Origin = Partial<import("./messages.js").Portability>;
export type Sidecar = {
    namespace: string;
    sessionId: string;
    snapshotId: string;
    manifestRoot: Buffer;
    origin: Origin;
    entries: Entry[];
};
