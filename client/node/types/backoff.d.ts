/**
 * How long to wait before another attempt, with full jitter: a fleet that lost its daemon at one moment must not come back at one moment.
 *
 * @param {number} attempt how many have failed, from 1
 * @param {number} [leastSeconds] what the daemon asked for
 * @param {() => number} [random] a number from 0 to below 1
 * @returns {number} milliseconds
 */
export function backoff(attempt: number, leastSeconds?: number, random?: () => number): number;
/** How often in all something is tried that passes. */
export const ATTEMPTS: 5;
