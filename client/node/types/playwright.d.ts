/**
 * Loads a session's profile and starts a browser on it, with the session cookies of the storage state that was saved with it. If the head was saved without one, those of a
 * storage state that was put into the session by itself count. A session that nothing was saved in yet starts with a fresh profile, which gets all cookies of the storage state that was put into it, if
 * there is one; what else that holds, such as localStorage, has no way into a profile.
 *
 * @template {Context} C
 * @template O
 * @param {Client} client
 * @param {string} sessionId
 * @param {BrowserType<C, O>} browserType
 * @param {string} directory where the profile goes. What is there gives way if it has a sidecar of this session and was not changed since, or is empty; anything else only
 *   with `load: { replace: true }`
 * @param {O & { load?: import('./messages.js').LoadOptions }} [given] the options of Playwright's `launchPersistentContext`, such as `headless`, `channel`, `viewport` and `proxy`,
 *   and in `load` how to load
 * @returns {Promise<C>}
 */
export function openContext<C extends Context, O>(client: Client, sessionId: string, browserType: BrowserType<C, O>, directory: string, given?: O & {
    load?: import("./messages.js").LoadOptions;
}): Promise<C>;
/**
 * Takes the storage state, closes the browser, waits until it has exited, and saves both as the session's new head. IndexedDB goes with the profile, as a difference; with
 * `indexedDB` it goes with the storage state once more, whole, for workers that use that without the profile.
 *
 * @param {Client} client
 * @param {string} sessionId
 * @param {Context} context
 * @param {string} directory its profile
 * @param {import('./messages.js').SaveOptions & { indexedDB?: boolean }} [options]
 * @returns {Promise<import('./messages.js').Saved>}
 */
export function saveContext(client: Client, sessionId: string, context: Context, directory: string, { indexedDB, ...options }?: import("./messages.js").SaveOptions & {
    indexedDB?: boolean;
}): Promise<import("./messages.js").Saved>;
export type Client = import("./client.js").Client;
export type Context = import("./browser.js").Context;
export type Cookie = import("./browser.js").Cookie;
export type StorageState = import("./browser.js").StorageState;
/**
 * What of a Playwright `BrowserType` is used here.
 */
export type BrowserType<C extends Context, O = any> = import("./browser.js").BrowserType<C, O>;
export { PORTABLE_FLAGS, capture, launch, mend, restore, sessionCookies } from "./browser.js";
