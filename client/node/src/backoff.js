// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** How often in all something is tried that passes. */
export const ATTEMPTS = 5;

const FIRST_MS = 100;
const MOST_MS = 5_000;

/**
 * How long to wait before another attempt, with full jitter: a fleet that lost its daemon at one moment must not come back at one moment.
 *
 * @param {number} attempt how many have failed, from 1
 * @param {number} [leastSeconds] what the daemon asked for
 * @param {() => number} [random] a number from 0 to below 1
 * @returns {number} milliseconds
 */
export function backoff(attempt, leastSeconds = 0, random = Math.random) {
  return leastSeconds * 1000 + random() * Math.min(MOST_MS, FIRST_MS * 2 ** Math.min(attempt, 16));
}
