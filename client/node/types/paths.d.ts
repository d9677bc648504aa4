/** @file The contract's rules for paths and links, so that nothing outside a profile is ever written or read. */
/**
 * @param {string} path of an entry
 * @returns {string} what is wrong with it; empty if nothing is
 */
export function faultInPath(path: string): string;
/**
 * First climbing and then descending, no chain of links leads out of the profile.
 *
 * @param {string} path where the link is
 * @param {string} target where it points
 * @returns {string} what is wrong with it; empty if nothing is
 */
export function faultInTarget(path: string, target: string): string;
/**
 * @param {Buffer} bytes what the system calls something
 * @returns {string} what is wrong with it; empty if nothing is
 */
export function faultInName(bytes: Buffer): string;
