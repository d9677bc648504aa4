/**
 * @param {string} directory
 * @returns {string} a path beside it that is this process's own until it is released
 */
export function claim(directory: string): string;
/**
 * Removes what is there, if it is still there.
 *
 * @param {string} name
 */
export function release(name: string): void;
/**
 * @param {string} directory
 * @returns {string[]} what any process of any host is making beside it, or has left there
 */
export function asidesOf(directory: string): string[];
/**
 * Clears away what processes of this host left beside a directory when they were killed.
 *
 * @param {string} directory
 */
export function sweep(directory: string): void;
