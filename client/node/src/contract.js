// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file The contract as grpc-js takes it: its services, their methods, and the values of its enums. */

import { loadPackageDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

import { Invalid } from './errors.js';
import { protoDirectory } from './resources.js';

const options = { keepCase: false, enums: String, defaults: true, oneofs: true, includeDirs: [protoDirectory] };
const names = ['session', 'invalidation', 'admin'].map((name) => `cloakroom/v1/${name}.proto`);
// Modification times in nanoseconds do not fit a number; revisions and counts, which are all that the others have, do.
const definition = {
  ...loadSync(names, { ...options, longs: Number }),
  ...loadSync('cloakroom/v1/profile.proto', { ...options, longs: String }),
};

/** The services of `cloakroom.v1` by name, as constructors of their clients. */
export const api = /** @type {any} */ (loadPackageDefinition(definition)).cloakroom.v1;

/**
 * The contract's name of an enum value. One that does not exist must be refused here: on the wire it would count as not given.
 *
 * @param {'SessionState' | 'TtlMode' | 'ChangeKind'} type
 * @param {string} value as callers write it
 * @returns {string}
 */
export function enumValue(type, value) {
  /** @type {string[]} */
  const all = /** @type {any} */ (definition[`cloakroom.v1.${type}`]).type.value.map((/** @type {{ name: string }} */ { name }) => name);
  const prefix = all[0].slice(0, -'UNSPECIFIED'.length);
  const name = `${prefix}${value}`;
  if (name === all[0] || !all.includes(name)) {
    const choices = all.slice(1).map((one) => one.slice(prefix.length));
    throw Invalid.here(`${JSON.stringify(value)} is no ${type}: choose one of ${choices.join(', ')}`);
  }
  return name;
}
