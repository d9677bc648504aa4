/**
 * @param {string} directory
 * @returns {string} where its sidecar is
 */
export function sidecarPath(directory: string): string;
/**
 * @param {Sidecar | undefined} sidecar
 * @param {string} sessionId
 * @param {string} namespace
 * @returns {boolean} whether there is one, and it is of that session
 */
export function isOf(sidecar: Sidecar | undefined, sessionId: string, namespace: string): boolean;
/**
 * @param {string} directory
 * @returns {Sidecar | undefined} undefined if there is none that can be read and is sound
 */
export function readSidecar(directory: string): Sidecar | undefined;
/**
 * @param {string} directory
 * @param {Sidecar} sidecar
 */
export function writeSidecar(directory: string, { namespace, sessionId, snapshotId, manifestRoot, storageState, origin, entries }: Sidecar): void;
/** @param {string} directory whose sidecar is no longer true */
export function forgetSidecar(directory: string): void;
export type Entry = import("./messages.js").Entry;
/**
 * what stays true of a snapshot's portability when a save does not find it out anew
 */
export type Origin = Partial<import("./messages.js").Portability>;
export type Sidecar = {
    /**
     * as the client asks for it, empty for the caller's own: what another one calls that may be another namespace
     */
    namespace: string;
    sessionId: string;
    /**
     * what the directory held
     */
    snapshotId: string;
    manifestRoot: Buffer;
    /**
     * whether the snapshot is known to carry a storage state
     */
    storageState: boolean;
    origin: Origin;
    entries: Entry[];
};
