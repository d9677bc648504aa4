// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

import assert from 'node:assert/strict';

/**
 * @param {Promise<unknown>} promise that must be rejected
 * @returns {Promise<any>} the error
 */
export function failure(promise) {
  return promise.then(
    (value) => assert.fail(`it succeeded: ${JSON.stringify(value)}`),
    (error) => error,
  );
}
