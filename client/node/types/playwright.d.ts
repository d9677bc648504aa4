/**
 * Says in the profile that the browser has exited, so that Chromium does not greet the next page with an offer to restore the last ones. A profile that was saved while
 * its browser ran, or after it was killed, says otherwise.
 *
 * @param {string} directory a profile that no browser has open
 * @returns {boolean} whether something had to be changed
 */
export function markExited(directory: string): boolean;
/**
 * @param {StorageState | undefined} storageState
 * @returns {Cookie[]} the cookies that the browser keeps only while it runs
 */
export function sessionCookies(storageState: StorageState | undefined): Cookie[];
/**
 * Reads a context's storage state: all its cookies, localStorage, and IndexedDB.
 *
 * @template {Context} C
 * @param {C} context
 * @returns {Promise<StorageState>}
 */
export function captureStorageState<C extends Context>(context: C): Promise<StorageState>;
/**
 * Puts back into a context on a loaded profile what the profile does not keep.
 *
 * @param {Context} context
 * @param {StorageState | undefined} storageState
 * @returns {Promise<number>} how many cookies that were
 */
export function restoreSessionCookies(context: Context, storageState: StorageState | undefined): Promise<number>;
/**
 * Starts a browser on a loaded profile.
 *
 * @template {Context} C
 * @param {BrowserType<C>} browserType such as `chromium`
 * @param {string} directory the profile
 * @param {Record<string, any> & { args?: string[], storageState?: StorageState }} [options] Playwright's own, and the storage state that was saved with the profile
 * @returns {Promise<C>}
 */
export function launchPersistentContext<C extends Context>(browserType: BrowserType<C>, directory: string, { storageState, args, ...options }?: Record<string, any> & {
    args?: string[];
    storageState?: StorageState;
}): Promise<C>;
/**
 * Loads a session's profile and starts a browser on it, with its session cookies. A session that nothing was saved in yet starts with a fresh profile.
 *
 * @template {Context} C
 * @param {Client} client
 * @param {string} sessionId
 * @param {BrowserType<C>} browserType
 * @param {string} directory where the profile goes; what is there is replaced
 * @param {Record<string, any> & { load?: import('./transfers.js').LoadOptions }} [options] Playwright's own, and how to load
 * @returns {Promise<C>}
 */
export function openContext<C extends Context>(client: Client, sessionId: string, browserType: BrowserType<C>, directory: string, { load, ...options }?: Record<string, any> & {
    load?: import("./transfers.js").LoadOptions;
}): Promise<C>;
/**
 * Takes the storage state, closes the browser, waits until it has exited, and saves both as the session's new head.
 *
 * @param {Client} client
 * @param {string} sessionId
 * @param {Context} context
 * @param {string} directory its profile
 * @param {import('./transfers.js').SaveOptions} [options]
 * @returns {Promise<import('./transfers.js').Saved>}
 */
export function saveContext(client: Client, sessionId: string, context: Context, directory: string, options?: import("./transfers.js").SaveOptions): Promise<import("./transfers.js").Saved>;
/** @typedef {import('./client.js').Client} Client */
/** @typedef {{ name: string, value: string, domain?: string, path?: string, expires: number, [more: string]: any }} Cookie as Playwright writes it */
/** @typedef {{ cookies: Cookie[], origins: any[] }} StorageState as Playwright's `storageState()` gives it */
/**
 * What of a Playwright `BrowserContext` is used here.
 *
 * @typedef {object} Context
 * @property {(cookies: any[]) => Promise<void>} addCookies
 * @property {(options?: any) => Promise<any>} storageState
 * @property {() => Promise<void>} close
 * @property {() => { version(): string } | null} browser
 */
/**
 * What of a Playwright `BrowserType` is used here.
 *
 * @template {Context} C
 * @typedef {{ name(): string, launchPersistentContext(directory: string, options?: any): Promise<C> }} BrowserType
 */
/** Flags that keep a Chromium profile readable on other machines of the same operating system: its cookie key does not go into this machine's keyring. */
export const portableArgs: readonly string[];
export type Client = import("./client.js").Client;
/**
 * as Playwright writes it
 */
export type Cookie = {
    name: string;
    value: string;
    domain?: string;
    path?: string;
    expires: number;
    [more: string]: any;
};
/**
 * as Playwright's `storageState()` gives it
 */
export type StorageState = {
    cookies: Cookie[];
    origins: any[];
};
/**
 * What of a Playwright `BrowserContext` is used here.
 */
export type Context = {
    addCookies: (cookies: any[]) => Promise<void>;
    storageState: (options?: any) => Promise<any>;
    close: () => Promise<void>;
    browser: () => {
        version(): string;
    } | null;
};
/**
 * What of a Playwright `BrowserType` is used here.
 */
export type BrowserType<C extends Context> = {
    name(): string;
    launchPersistentContext(directory: string, options?: any): Promise<C>;
};
