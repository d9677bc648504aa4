/**
 * Makes a Chromium profile say that its browser ended well, so that the next one asks and restores nothing. One that was saved while its browser ran, or
 * after it was killed, says otherwise.
 *
 * @param {string} directory a profile that no browser has open
 * @returns {boolean} whether something had to be changed
 */
export function mend(directory: string): boolean;
/**
 * @param {StorageState | string | Uint8Array | undefined} storageState as Playwright gives it, or that as JSON
 * @returns {Cookie[]} the cookies that a profile does not keep
 */
export function sessionCookies(storageState: StorageState | string | Uint8Array | undefined): Cookie[];
/**
 * Reads a context's storage state as it is saved: all its cookies, localStorage, and IndexedDB. Do it before the context is closed.
 *
 * @param {Context} context
 * @param {{ indexedDB?: boolean }} [options] `indexedDB`: false where a profile carries it already
 * @returns {Promise<StorageState>}
 */
export function capture(context: Context, { indexedDB }?: {
    indexedDB?: boolean;
}): Promise<StorageState>;
/**
 * Adds the session cookies of a storage state to a context on a profile, which has everything else already.
 *
 * @param {Context} context
 * @param {StorageState | string | Uint8Array | undefined} storageState
 * @returns {Promise<void>}
 */
export function restore(context: Context, storageState: StorageState | string | Uint8Array | undefined): Promise<void>;
/**
 * Opens a persistent context on a profile, with the session cookies of a storage state.
 *
 * @template {Context} C
 * @template O
 * @param {BrowserType<C, O>} browserType such as `chromium`
 * @param {string} directory the profile
 * @param {O & { args?: string[], storageState?: StorageState | string | Uint8Array }} [given] the options of Playwright's `launchPersistentContext`, and the storage state that
 *   was saved with the profile
 * @returns {Promise<C>}
 */
export function launch<C extends Context, O>(browserType: BrowserType<C, O>, directory: string, given?: O & {
    args?: string[];
    storageState?: StorageState | string | Uint8Array;
}): Promise<C>;
/**
 * @param {Context} context closed if this fails
 * @param {Cookie[]} cookies
 */
export function adding(context: Context, cookies: Cookie[]): Promise<void>;
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
 * @template [O=any] the options of `launchPersistentContext`
 * @typedef {{ name(): string, launchPersistentContext(directory: string, options?: O): Promise<C> }} BrowserType
 */
/**
 * Chromium seals its cookies with a key. With these flags it is one that every machine has, instead of one from a keyring, which does not travel. Every launch on a profile
 * needs them: cookies that were sealed with one key cannot be read with the other.
 */
export const PORTABLE_FLAGS: readonly string[];
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
export type BrowserType<C extends Context, O = any> = {
    name(): string;
    launchPersistentContext(directory: string, options?: O): Promise<C>;
};
