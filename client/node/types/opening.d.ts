/**
 * @param {Record<string, any>} options for Playwright, which has none of these names and would pass over them
 * @param {(name: string) => string} advice where one belongs
 */
export function refuseMisplaced(options: Record<string, any>, advice: (name: string) => string): void;
/**
 * Starts a browser on a directory into which a session was loaded, with the session cookies that belong to it, or on an empty one, with all the cookies that there are.
 *
 * @template {Context} C
 * @template O
 * @param {Client} client
 * @param {string} sessionId
 * @param {import('./browser.js').BrowserType<C, O>} browserType
 * @param {string} directory
 * @param {{ snapshot: Snapshot | undefined, storageState: any, isHead: boolean, signal?: AbortSignal }} found what was loaded, and whether it is the head
 * @param {O} [options] for Playwright
 * @returns {Promise<C>}
 */
export function openOn<C extends Context, O>(client: Client, sessionId: string, browserType: import("./browser.js").BrowserType<C, O>, directory: string, { snapshot, storageState, isHead, signal }: {
    snapshot: Snapshot | undefined;
    storageState: any;
    isHead: boolean;
    signal?: AbortSignal;
}, options?: O): Promise<C>;
/**
 * Takes the storage state, closes the browser and waits until it has exited.
 *
 * @param {Context} context
 * @param {string} directory its profile
 * @param {SaveOptions & { indexedDB?: boolean }} options
 * @returns {Promise<SaveOptions>} with what is known now
 */
export function shut(context: Context, directory: string, { indexedDB, ...options }: SaveOptions & {
    indexedDB?: boolean;
}): Promise<SaveOptions>;
export type Context = import("./browser.js").Context;
export type Client = import("./client.js").Client;
export type SaveOptions = import("./messages.js").SaveOptions;
export type Snapshot = import("./messages.js").Snapshot;
