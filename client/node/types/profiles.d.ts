/**
 * Walks a directory, never through a link, and hashes what is not known or was touched since.
 *
 * @param {string} directory
 * @param {(path: string) => boolean} keeps
 * @param {Map<string, Entry>} [known] taken as it is while untouched
 * @returns {Promise<Entry[]>} in order of paths
 */
export function scan(directory: string, keeps: (path: string) => boolean, known?: Map<string, Entry>): Promise<Entry[]>;
/**
 * Finds what has to travel to make one tree of another.
 *
 * @param {Entry[]} base in order of their paths
 * @param {Entry[]} next likewise
 * @returns {Difference} exactly as `client/vectors/README.md` says
 */
export function diff(base: Entry[], next: Entry[]): Difference;
/**
 * Saves a directory as the session's new head. Only what differs from the snapshot that it came from travels. What it follows is what it came from, which must be the head; with
 * `replace` it is the head, whatever that is.
 *
 * @param {Connection} connection
 * @param {string} sessionId
 * @param {string} directory
 * @param {import('./messages.js').SaveOptions} [options]
 * @returns {Promise<import('./messages.js').Saved>}
 */
export function save(connection: Connection, sessionId: string, directory: string, options?: import("./messages.js").SaveOptions): Promise<import("./messages.js").Saved>;
/**
 * Loads a snapshot into a directory. The directory appears at the end, complete and verified, or not at all: until then all happens in a workspace beside it, and what is
 * there stays as it is. Where the snapshot is in place already, as its sidecar and a look at each entry say, nothing on the disk is touched.
 *
 * @param {Connection} connection
 * @param {string} sessionId
 * @param {string} directory
 * @param {import('./messages.js').LoadOptions} [options]
 * @returns {Promise<import('./messages.js').Loaded>}
 */
export function load(connection: Connection, sessionId: string, directory: string, options?: import("./messages.js").LoadOptions): Promise<import("./messages.js").Loaded>;
/**
 * Looks whether what was received is what was announced: each file's root, and that of the whole.
 *
 * @param {Assembly} assembly
 * @returns {{ entries: Entry[], fresh: Map<string, string> }} what the directory will hold, in order of the paths, and where what came anew lies
 */
export function verify(assembly: Assembly): {
    entries: Entry[];
    fresh: Map<string, string>;
};
/**
 * Builds the whole tree aside. What is unchanged comes from the former directory: by a second name for the file where that directory is about to give way, so that it stays
 * whole until then; by a copy where it stays, because two directories must not write into each other's files.
 *
 * @param {Entry[]} entries
 * @param {Map<string, string>} fresh
 * @param {Base | undefined} base
 * @param {string} target where the tree will stand
 * @param {string} tree a place for it, in the workspace
 */
export function place(entries: Entry[], fresh: Map<string, string>, base: Base | undefined, target: string, tree: string): void;
export type Connection = import("./connection.js").Connection;
export type Assembly = import("./framing.js").Assembly;
export type Base = import("./framing.js").Base;
export type Entry = import("./messages.js").Entry;
export type Run = import("./messages.js").Run;
export type Difference = import("./messages.js").Difference;
