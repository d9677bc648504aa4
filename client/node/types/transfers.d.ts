/**
 * Sends a save until it is known to be done or refused.
 *
 * @param {Connection} connection
 * @param {{ begin: any, directory: string, change: import('./messages.js').Difference, state: Buffer, root: Buffer }} save
 * @param {import('./messages.js').SaveOptions} options
 * @returns {Promise<Sent>}
 */
export function send(connection: Connection, save: {
    begin: any;
    directory: string;
    change: import("./messages.js").Difference;
    state: Buffer;
    root: Buffer;
}, { compress, progress, signal }: import("./messages.js").SaveOptions): Promise<Sent>;
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
 * Takes a load's stream until it is complete.
 *
 * @param {Connection} connection
 * @param {Record<string, unknown>} request
 * @param {() => string} makeShelf gives an empty directory for what comes
 * @param {import('./framing.js').Base | undefined} base
 * @param {{ progress?: Progress, signal?: AbortSignal }} options
 * @returns {Promise<Assembly>} everything that was announced, not yet verified as a whole
 */
export function receive(connection: Connection, request: Record<string, unknown>, makeShelf: () => string, base: import("./framing.js").Base | undefined, { progress, signal }: {
    progress?: Progress;
    signal?: AbortSignal;
}): Promise<Assembly>;
export type Connection = import("./connection.js").Connection;
export type Snapshot = import("./messages.js").Snapshot;
export type Progress = import("./messages.js").Progress;
export type Sent = Omit<import("./messages.js").Saved, "warnings">;
import { Assembly } from './framing.js';
