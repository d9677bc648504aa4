// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

import { existsSync, readFileSync } from 'node:fs';
import { sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const packageDirectory = fileURLToPath(new URL('..', import.meta.url));

/**
 * Where a file that all clients share lies. In a checkout it is the one that the other clients read too, so a changed contract is never shadowed by
 * an older copy; in an installed package it is the copy that was packed with it.
 *
 * @param {string} packed its path in the package's `shared` directory
 * @param {string} checkout its path in the checkout
 * @returns {string}
 */
function locate(packed, checkout) {
  const installed = packageDirectory.split(sep).includes('node_modules');
  const live = fileURLToPath(new URL(`../../../${checkout}`, import.meta.url));
  return !installed && existsSync(live) ? live : `${packageDirectory}shared${sep}${packed}`;
}

/** The directory that holds `cloakroom/v1`. */
export const protoDirectory = locate('proto', 'proto');

/** The directory that holds the part of `google/rpc` that errors use. */
export const errorProtoDirectory = `${packageDirectory}proto`;

/**
 * The capture rules, as in `capture.json`.
 *
 * @returns {any}
 */
export function captureRules() {
  return JSON.parse(readFileSync(locate('capture.json', 'client/capture.json'), 'utf8'));
}

/**
 * The published retry policy, as this client uses it: it gives every change a request id, so all calls with one answer may be repeated alike. Their timeout is taken out,
 * so that a caller may choose a longer one.
 *
 * @returns {{ json: string, timeoutSeconds: number }}
 */
export function serviceConfig() {
  const config = JSON.parse(readFileSync(locate('service_config.json', 'proto/service_config.json'), 'utf8'));
  const [{ timeout, retryPolicy }] = config.methodConfig;
  for (const method of config.methodConfig) {
    if (method.timeout) method.retryPolicy = retryPolicy;
    delete method.timeout;
  }
  return { json: JSON.stringify(config), timeoutSeconds: parseFloat(timeout) };
}

/** This package's version. */
export const version = /** @type {string} */ (JSON.parse(readFileSync(`${packageDirectory}package.json`, 'utf8')).version);
