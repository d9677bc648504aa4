/**
 * Reads a glob as `capture.json` describes it.
 *
 * @param {string} glob
 * @returns {(path: string) => boolean} whether a path relative to the profile matches
 */
export function compileGlob(glob: string): (path: string) => boolean;
/**
 * Says which paths of a profile travel.
 *
 * @param {CaptureOptions} [options]
 * @returns {(path: string) => boolean} the verdict on one path, provided that the directories above it are kept
 */
export function capture({ policy, include, exclude }?: CaptureOptions): (path: string) => boolean;
/**
 * Refuses to make nothing a session's head, which would hide its login.
 *
 * @param {string} directory
 * @param {unknown[]} entries
 * @param {CapturePolicy} policy
 * @param {boolean} force
 */
export function checkContent(directory: string, entries: unknown[], policy: CapturePolicy, force: boolean): void;
/**
 * Looks whether what is saved is a browser's profile at all. It is saved in any case; but a wrong directory is noticed late.
 *
 * @param {string} directory
 * @param {{ path: string }[]} entries
 * @returns {import('./messages.js').Warning[]}
 */
export function oddities(directory: string, entries: {
    path: string;
}[]): import("./messages.js").Warning[];
/**
 * how much to leave out: `client/capture.json` says what and why
 */
export type CapturePolicy = "default" | "lean" | "full";
export type CaptureOptions = {
    /**
     * how much to leave out; `default` if not given
     */
    policy?: CapturePolicy | undefined;
    /**
     * globs of what to keep although a rule leaves it out
     */
    include?: string[] | undefined;
    /**
     * globs of what to leave out besides
     */
    exclude?: string[] | undefined;
};
