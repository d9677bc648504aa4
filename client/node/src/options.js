// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/**
 * @file What callers may give to each verb. An option that does not exist is refused by name, and so is one of another type than it must have: left to itself the one would be
 * passed over in silence, and the other end in an error of whatever came upon it first.
 */

import { Invalid } from './errors.js';

/** @typedef {keyof typeof TYPES} Type */
/** @typedef {Type | Known | [Known]} Kind a type, an object, or an array of such objects */
/** @typedef {{ [name: string]: Kind }} Known the options that there are */

const isText = (/** @type {unknown} */ value) => typeof value === 'string';
const isObject = (/** @type {unknown} */ value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const isBytes = (/** @type {unknown} */ value) => value instanceof Uint8Array;

/** What each type is called, and what is of it. */
const TYPES = {
  text: /** @type {const} */ (['a string', isText]),
  secret: /** @type {const} */ (['a string', isText]),
  path: /** @type {const} */ (['a path: a string that is not empty', (/** @type {unknown} */ value) => isText(value) && value !== '']),
  texts: /** @type {const} */ (['an array of strings', (/** @type {unknown} */ value) => Array.isArray(value) && value.every(isText)]),
  labels: /** @type {const} */ ([
    'an object whose values are strings',
    (/** @type {unknown} */ value) => isObject(value) && !isBytes(value) && Object.values(/** @type {object} */ (value)).every(isText),
  ]),
  flag: /** @type {const} */ (['true or false', (/** @type {unknown} */ value) => typeof value === 'boolean']),
  number: /** @type {const} */ (['a number', Number.isFinite]),
  seconds: /** @type {const} */ (['a number of seconds, from 0', (/** @type {any} */ value) => typeof value === 'number' && value >= 0]),
  count: /** @type {const} */ (['a whole number, from 0', (/** @type {any} */ value) => Number.isSafeInteger(value) && value >= 0]),
  bytes: /** @type {const} */ (['bytes, such as a Buffer', isBytes]),
  pem: /** @type {const} */ (['PEM, as a string or as bytes', (/** @type {unknown} */ value) => isText(value) || isBytes(value)]),
  tls: /** @type {const} */ ([
    'true, false or { ca, cert, key, serverName }',
    (/** @type {unknown} */ value) => typeof value === 'boolean' || (isObject(value) && !isBytes(value)),
  ]),
  document: /** @type {const} */ ([
    "what Playwright's storageState() gives, or that as JSON",
    (/** @type {unknown} */ value) => isText(value) || isObject(value),
  ]),
  client: /** @type {const} */ (['a Client', (/** @type {any} */ value) => typeof value?.load === 'function' && isObject(value.sessions)]),
  browserType: /** @type {const} */ ([
    "a browser type of Playwright's, such as playwright.chromium",
    (/** @type {any} */ value) => typeof value?.launchPersistentContext === 'function' && typeof value.name === 'function',
  ]),
  context: /** @type {const} */ ([
    "a browser context of Playwright's, such as openContext gives",
    (/** @type {any} */ value) => typeof value?.storageState === 'function' && typeof value.addCookies === 'function',
  ]),
  object: /** @type {const} */ (['an object', isObject]),
  callback: /** @type {const} */ (['a function', (/** @type {unknown} */ value) => typeof value === 'function']),
  signal: /** @type {const} */ (['an AbortSignal', (/** @type {any} */ value) => typeof value?.aborted === 'boolean' && 'addEventListener' in value]),
};

/** The types of which nothing is shown, whatever was given. */
const HIDDEN = /** @type {Set<Kind>} */ (new Set(['secret', 'document', 'pem']));

/**
 * @template {Known} K
 * @param {K} known
 * @returns {K}
 */
const kinds = (known) => known;

export const CALL = kinds({ signal: 'signal', timeoutSeconds: 'seconds' });
export const READ = kinds({ ...CALL, minRevision: 'count' });
export const TOUCH = kinds({ ...CALL, etag: 'text', leaseToken: 'count' });
export const REQUEST = kinds({ ...CALL, requestId: 'text' });
export const WRITE = kinds({ ...TOUCH, ...REQUEST });
export const FIELDS = kinds({ businessId: 'text', email: 'secret', labels: 'labels', ttlSeconds: 'number', ttlMode: 'text' });
export const OWNER = kinds({ businessId: 'text', email: 'secret' });
export const SELECTOR = kinds({ sessionId: 'text', ...OWNER });
export const WATCH = kinds({
  selectors: [{ ...SELECTOR, kinds: 'texts' }],
  resumeToken: 'bytes',
  afterRevision: 'count',
  bookmarkIntervalSeconds: 'number',
  signal: 'signal',
});
export const SAVE = kinds({
  replace: 'flag',
  policy: 'text',
  include: 'texts',
  exclude: 'texts',
  storageState: 'document',
  uploadId: 'text',
  etag: 'text',
  leaseToken: 'count',
  portability: { os: 'text', brand: 'text', browserVersion: 'text', passwordStore: 'text', quiesced: 'flag', capturePolicy: 'text' },
  force: 'flag',
  compress: 'flag',
  progress: 'callback',
  signal: 'signal',
});
export const LOAD = kinds({
  snapshotId: 'text',
  have: 'path',
  replace: 'flag',
  force: 'flag',
  withStorageState: 'flag',
  compress: 'flag',
  minRevision: 'count',
  progress: 'callback',
  signal: 'signal',
});
export const MOUNT = kinds({
  root: 'path',
  snapshotId: 'text',
  withStorageState: 'flag',
  minRevision: 'count',
  progress: 'callback',
  signal: 'signal',
});
export const PRUNE = kinds({ olderThanSeconds: 'seconds', root: 'path', signal: 'signal' });
export const TLS = kinds({ ca: 'pem', cert: 'pem', key: 'pem', serverName: 'text' });
export const CLIENT = kinds({
  namespace: 'text',
  token: 'secret',
  tls: 'tls',
  insecure: 'flag',
  timeoutSeconds: 'seconds',
  stallSeconds: 'seconds',
  patienceSeconds: 'seconds',
});
/** What verbs take in its place rather than by name. */
const ARGUMENTS = kinds({
  sessionId: 'text',
  sessionIds: 'texts',
  idPrefix: 'text',
  directory: 'path',
  uploadId: 'text',
  snapshotId: 'text',
  to: 'text',
  storageState: 'document',
  selectors: [SELECTOR],
  client: 'client',
  browserType: 'browserType',
  context: 'context',
  options: 'object',
});

/**
 * @param {unknown} value
 * @param {boolean} [hidden] whether also a number may be secret
 * @returns {string} what it is, and not what it says, for that may be secret
 */
function sortOf(value, hidden = false) {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'number' && !hidden) return `the number ${value}`;
  if (Array.isArray(value)) return 'an array';
  if (isBytes(value)) return 'bytes';
  if (value === '') return 'empty';
  return `${typeof value === 'object' ? 'an' : 'a'} ${typeof value}`;
}

/**
 * @param {string} verb
 * @param {string} name
 * @param {string} fault
 * @param {string} [reason]
 * @returns {Invalid}
 */
function invalid(verb, name, fault, reason = 'INVALID_FIELD') {
  return Invalid.here(`${verb}: ${fault}`, reason, [{ subject: name, description: fault }]);
}

/**
 * @param {string} verb
 * @param {string} name
 * @param {unknown} value
 * @param {Kind} kind
 */
function checkValue(verb, name, value, kind) {
  const wrong = (/** @type {string} */ wanted) => invalid(verb, name, `${name} is ${sortOf(value, HIDDEN.has(kind))}, and must be ${wanted}`);
  if (typeof kind === 'string') {
    const [wanted, fits] = TYPES[kind];
    // Playwright itself takes a path here.
    if (kind === 'document' && isText(value) && /^[^\s{["]/.test(/** @type {string} */ (value)))
      throw invalid(verb, name, `${name} takes the JSON itself, not a path: give what is in the file`, 'STORAGE_STATE_INVALID');
    if (fits(value)) return;
    const entries =
      kind === 'labels' || kind === 'texts' ? Object.entries(isObject(value) || Array.isArray(value) ? /** @type {object} */ (value) : {}) : [];
    const [inner, odd] = entries.find(([, one]) => !isText(one)) ?? [];
    if (inner === undefined) throw wrong(wanted);
    throw invalid(verb, name, `${name} must be ${wanted}, and ${name}[${Array.isArray(value) ? inner : JSON.stringify(inner)}] is ${sortOf(odd)}`);
  } else if (Array.isArray(kind)) {
    if (!Array.isArray(value)) throw wrong('an array of objects');
    for (const [at, one] of value.entries()) checkValue(verb, `${name}[${at}]`, one, kind[0]);
  } else {
    if (!isObject(value) || isBytes(value)) throw wrong('an object');
    checkOptions(verb, /** @type {object} */ (value), kind, `${name}.`);
  }
}

/**
 * @param {string} verb
 * @param {unknown} given
 * @param {Known} known
 * @param {string} [within] before the names
 */
export function checkOptions(verb, given, known, within = '') {
  if (!isObject(given) || isBytes(given)) throw invalid(verb, 'options', `its options are ${sortOf(given)}, and must be an object`);
  for (const [name, value] of Object.entries(/** @type {object} */ (given))) {
    const kind = Object.hasOwn(known, name) ? known[name] : undefined;
    if (!kind) throw invalid(verb, `${within}${name}`, `there is no option ${within}${name}: choose from ${Object.keys(known).join(', ')}`);
    if (value !== undefined) checkValue(verb, `${within}${name}`, value, kind);
  }
}

/**
 * Checks what a verb is given, before anything is done.
 *
 * @param {string} verb
 * @param {Partial<Record<keyof typeof ARGUMENTS, unknown>>} given in its place, without which there is no call
 * @param {unknown} options by name
 * @param {Known} known
 */
export function check(verb, given, options, known) {
  for (const [name, value] of Object.entries(given)) checkValue(verb, name, value, /** @type {Known} */ (ARGUMENTS)[name]);
  checkOptions(verb, options, known);
}
