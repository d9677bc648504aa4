/**
 * @param {string} directory
 * @returns {string} a path beside it that is this process's own until it is released
 */
export function claim(directory: string): string;
/**
 * @param {string} directory
 * @returns {string} a new directory beside it that is this process's own until it is released, and has a heartbeat until then
 */
export function claimWorkspace(directory: string): string;
/**
 * Removes what is there, if it is still there.
 *
 * @param {string} name
 */
export function release(name: string): void;
/**
 * Ends a claim, but leaves what is there to a later load.
 *
 * @param {string} name
 */
export function leave(name: string): void;
/**
 * @param {string} directory
 * @returns {string[]} what any process of any host is making beside it, or has left there
 */
export function asidesOf(directory: string): string[];
/**
 * Looks for what a load of any client has beside a directory from before it takes that away until it is complete.
 *
 * @param {string} directory
 * @returns {string | undefined} the first one. Where the directory has a sidecar it says nothing, for a whole load or save came after it
 */
export function unfinished(directory: string): string | undefined;
/**
 * Clears away what dead processes have left beside a directory. What cannot be removed now is left to the next load.
 *
 * @param {string} directory
 * @param {string} workspace this load's own
 * @param {boolean} whole whether the directory is known to be so, by its sidecar: until then what a load left that had taken it away tells that it may not be saved
 */
export function sweep(directory: string, workspace: string, whole: boolean): void;
