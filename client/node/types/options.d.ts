/**
 * @param {string} verb
 * @param {unknown} given
 * @param {Known} known
 * @param {string} [within] before the names
 */
export function checkOptions(verb: string, given: unknown, known: Known, within?: string): void;
/**
 * Checks what a verb is given, before anything is done.
 *
 * @param {string} verb
 * @param {Partial<Record<keyof typeof ARGUMENTS, unknown>>} given in its place, without which there is no call
 * @param {unknown} options by name
 * @param {Known} known
 */
export function check(verb: string, given: Partial<Record<keyof typeof ARGUMENTS, unknown>>, options: unknown, known: Known): void;
export namespace CALL {
    let signal: "signal";
    let timeoutSeconds: "seconds";
}
export namespace READ {
    let minRevision: "count";
}
export namespace TOUCH {
    let etag: "text";
    let leaseToken: "count";
}
export namespace REQUEST {
    let requestId: "text";
}
export namespace WRITE { }
export namespace FIELDS {
    let businessId: "text";
    let email: "secret";
    let labels: "labels";
    let ttlSeconds: "number";
    let ttlMode: "text";
}
export namespace OWNER {
    let businessId_1: "text";
    export { businessId_1 as businessId };
    let email_1: "secret";
    export { email_1 as email };
}
export namespace SELECTOR {
    let sessionId: "text";
}
export namespace WATCH {
    export let selectors: [{
        kinds: "texts";
        businessId: "text";
        email: "secret";
        sessionId: "text";
    }];
    export let resumeToken: "bytes";
    export let afterRevision: "count";
    export let bookmarkIntervalSeconds: "number";
    let signal_1: "signal";
    export { signal_1 as signal };
}
export namespace SAVE {
    export let replace: "flag";
    export let policy: "text";
    export let include: "texts";
    export let exclude: "texts";
    export let storageState: "document";
    export let uploadId: "text";
    let etag_1: "text";
    export { etag_1 as etag };
    let leaseToken_1: "count";
    export { leaseToken_1 as leaseToken };
    export namespace portability {
        let os: "text";
        let brand: "text";
        let browserVersion: "text";
        let passwordStore: "text";
        let quiesced: "flag";
        let capturePolicy: "text";
    }
    export let force: "flag";
    export let compress: "flag";
    export let progress: "callback";
    let signal_2: "signal";
    export { signal_2 as signal };
}
export namespace LOAD {
    export let snapshotId: "text";
    export let have: "path";
    let replace_1: "flag";
    export { replace_1 as replace };
    let force_1: "flag";
    export { force_1 as force };
    export let withStorageState: "flag";
    let compress_1: "flag";
    export { compress_1 as compress };
    let minRevision_1: "count";
    export { minRevision_1 as minRevision };
    let progress_1: "callback";
    export { progress_1 as progress };
    let signal_3: "signal";
    export { signal_3 as signal };
}
export namespace MOUNT {
    export let root: "path";
    let snapshotId_1: "text";
    export { snapshotId_1 as snapshotId };
    let withStorageState_1: "flag";
    export { withStorageState_1 as withStorageState };
    let minRevision_2: "count";
    export { minRevision_2 as minRevision };
    let progress_2: "callback";
    export { progress_2 as progress };
    let signal_4: "signal";
    export { signal_4 as signal };
}
export namespace PRUNE {
    export let olderThanSeconds: "seconds";
    let root_1: "path";
    export { root_1 as root };
    let signal_5: "signal";
    export { signal_5 as signal };
}
export namespace TLS {
    let ca: "pem";
    let cert: "pem";
    let key: "pem";
    let serverName: "text";
}
export namespace CLIENT {
    export let namespace: "text";
    export let token: "secret";
    export let tls: "tls";
    export let insecure: "flag";
    let timeoutSeconds_1: "seconds";
    export { timeoutSeconds_1 as timeoutSeconds };
    export let stallSeconds: "seconds";
    export let patienceSeconds: "seconds";
}
export type Type = keyof typeof TYPES;
/**
 * a type, an object, or an array of such objects
 */
export type Kind = Type | Known | [Known];
/**
 * the options that there are
 */
export type Known = {
    [name: string]: Kind;
};
declare namespace ARGUMENTS {
    let sessionId_1: "text";
    export { sessionId_1 as sessionId };
    export let sessionIds: "texts";
    export let idPrefix: "text";
    export let directory: "path";
    let uploadId_1: "text";
    export { uploadId_1 as uploadId };
    let snapshotId_2: "text";
    export { snapshotId_2 as snapshotId };
    export let to: "text";
    let storageState_1: "document";
    export { storageState_1 as storageState };
    let selectors_1: [{
        businessId: "text";
        email: "secret";
        sessionId: "text";
    }];
    export { selectors_1 as selectors };
    export let client: "client";
    export let browserType: "browserType";
    export let context: "context";
    export let options: "object";
}
declare namespace TYPES {
    export let text: readonly ["a string", (value: unknown) => value is string];
    export let secret: readonly ["a string", (value: unknown) => value is string];
    export let path: readonly ["a path: a string that is not empty", (value: unknown) => boolean];
    export let texts: readonly ["an array of strings", (value: unknown) => value is string[]];
    let labels_1: readonly ["an object whose values are strings", (value: unknown) => boolean];
    export { labels_1 as labels };
    export let flag: readonly ["true or false", (value: unknown) => value is boolean];
    export let number: readonly ["a number", (number: unknown) => boolean];
    export let seconds: readonly ["a number of seconds, from 0", (value: any) => boolean];
    export let count: readonly ["a whole number, from 0", (value: any) => boolean];
    export let bytes: readonly ["bytes, such as a Buffer", (value: unknown) => value is Uint8Array<ArrayBufferLike>];
    export let pem: readonly ["PEM, as a string or as bytes", (value: unknown) => value is string | Uint8Array<ArrayBufferLike>];
    let tls_1: readonly ["true, false or { ca, cert, key, serverName }", (value: unknown) => boolean];
    export { tls_1 as tls };
    export let document: readonly ["what Playwright's storageState() gives, or that as JSON", (value: unknown) => boolean];
    let client_1: readonly ["a Client", (value: any) => boolean];
    export { client_1 as client };
    let browserType_1: readonly ["a browser type of Playwright's, such as playwright.chromium", (value: any) => boolean];
    export { browserType_1 as browserType };
    let context_1: readonly ["a browser context of Playwright's, such as openContext gives", (value: any) => boolean];
    export { context_1 as context };
    export let object: readonly ["an object", (value: unknown) => boolean];
    export let callback: readonly ["a function", (value: unknown) => value is Function];
    let signal_6: readonly ["an AbortSignal", (value: any) => boolean];
    export { signal_6 as signal };
}
export {};
