// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { capture, compileGlob } from '../src/capture.js';
import { LocalError } from '../src/errors.js';
import { vectors } from '../support/vectors.js';

const { globs, bad_globs: badGlobs, decisions, callers } = vectors('capture.json');

/**
 * Whether a path travels: it and every directory above it must be kept.
 *
 * @param {(path: string) => boolean} keeps
 * @param {string} path
 */
function travels(keeps, path) {
  const names = path.split('/');
  return names.every((_, at) => keeps(names.slice(0, at + 1).join('/')));
}

test('globs match as the vectors say', () => {
  for (const { glob, path, matches } of globs) assert.equal(compileGlob(glob)(path), matches, `${glob} on ${path}`);
});

test('bad globs are refused', () => {
  for (const glob of badGlobs) assert.throws(() => compileGlob(glob), LocalError, JSON.stringify(glob));
});

test('each policy decides as the vectors say', () => {
  const policies = /** @type {const} */ (['default', 'lean', 'full']);
  for (const policy of policies) {
    const keeps = capture({ policy });
    for (const decision of decisions) assert.equal(travels(keeps, decision.path), decision[policy], `${decision.path} under ${policy}`);
  }
});

test('the caller has a say', () => {
  for (const { policy, include, exclude, path, kept } of callers) {
    assert.equal(travels(capture({ policy, include, exclude }), path), kept, JSON.stringify({ policy, include, exclude, path }));
  }
});

test('an unknown policy is refused', () => {
  assert.throws(() => capture({ policy: /** @type {any} */ ('some') }), /the capture policy is "some": choose one of default, lean, full/);
});
