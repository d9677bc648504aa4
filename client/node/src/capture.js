// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

import { LocalError } from './errors.js';
import { captureRules } from './resources.js';

/** @typedef {'default' | 'lean' | 'full'} CapturePolicy how much to leave out: `client/capture.json` says what and why */

/**
 * @typedef {object} CaptureOptions
 * @property {CapturePolicy} [policy] how much to leave out; `default` if not given
 * @property {string[]} [include] globs of what to keep although a rule leaves it out
 * @property {string[]} [exclude] globs of what to leave out besides
 */

const rules = captureRules();

/**
 * Reads a glob as `capture.json` describes it.
 *
 * @param {string} glob
 * @returns {(path: string) => boolean} whether a path relative to the profile matches
 */
export function compileGlob(glob) {
  const anywhere = !glob.includes('/');
  const segments = glob
    .replace(/^\//, '')
    .split('/')
    .filter((text, at, all) => text !== '**' || all[at - 1] !== '**');
  if (segments.some((segment) => segment === '') || /[\0\\]/.test(glob)) {
    throw new LocalError(`the glob ${JSON.stringify(glob)} is bad: it is empty, has an empty segment, or has a NUL or a backslash`, {
      reason: 'CAPTURE_RULE',
    });
  }
  const segment = (/** @type {string} */ text) => text.replace(/[$()*+.?[\]^{|}]/g, (c) => (c === '*' ? '[^/]*' : c === '?' ? '[^/]' : `\\${c}`));
  // Each `**` brings the slash that parts it from its neighbour, so that it may also stand for nothing.
  const pattern = segments.reduce((before, text, at) => {
    const last = at === segments.length - 1;
    if (text === '**') return before + (last ? (at === 0 ? '[^]+' : '(?:/[^]+)?') : '(?:[^/]+/)*');
    return before + segment(text) + (last || (segments[at + 1] === '**' && at + 2 === segments.length) ? '' : '/');
  }, '');
  const whole = new RegExp(`^${pattern}$`, 'su');
  return anywhere ? (path) => whole.test(path.slice(path.lastIndexOf('/') + 1)) : (path) => whole.test(path);
}

const never = rules.never.map((/** @type {{ glob: string }} */ { glob }) => compileGlob(glob));
const known = rules.rules.map((/** @type {{ glob: string, drop: string[] }} */ { glob, drop }) => ({ matches: compileGlob(glob), drop }));

/**
 * Says which paths of a profile travel.
 *
 * @param {CaptureOptions} [options]
 * @returns {(path: string) => boolean} the verdict on one path, provided that the directories above it are kept
 */
export function capture({ policy = 'default', include = [], exclude = [] } = {}) {
  if (!Object.hasOwn(rules.policies, policy)) {
    throw new LocalError(`the capture policy is ${JSON.stringify(policy)}: choose one of ${Object.keys(rules.policies).join(', ')}`, {
      reason: 'CAPTURE_RULE',
    });
  }
  const keep = include.map(compileGlob);
  const drop = exclude.map(compileGlob);
  return (path) => {
    const hits = (/** @type {(path: string) => boolean} */ matches) => matches(path);
    if (never.some(hits)) return false;
    if (keep.some(hits)) return true;
    if (drop.some(hits)) return false;
    const rule = known.find((/** @type {{ matches: (path: string) => boolean }} */ { matches }) => matches(path));
    return !rule?.drop.includes(policy);
  };
}

/** What Chromium and Firefox write when they start on a profile for the first time. */
const MARKS = /^(Local State|Last Version|First Run|([^/]+\/)?(Preferences|Cookies)|prefs\.js|compatibility\.ini|times\.json)$/;

/**
 * Refuses to make nothing a session's head, which would hide its login.
 *
 * @param {string} directory
 * @param {unknown[]} entries
 * @param {CapturePolicy} policy
 * @param {boolean} force
 */
export function checkContent(directory, entries, policy, force) {
  if (entries.length > 0 || force) return;
  const message = `nothing in ${directory} belongs to a profile (capture policy ${policy}): is it the browser's user data directory? \`force\` saves it nevertheless`;
  throw new LocalError(message, { reason: 'NOTHING_TO_SAVE' });
}

/**
 * Looks whether what is saved is a browser's profile at all. It is saved in any case; but a wrong directory is noticed late.
 *
 * @param {string} directory
 * @param {{ path: string }[]} entries
 * @returns {import('./messages.js').Warning[]}
 */
export function oddities(directory, entries) {
  if (entries.some(({ path }) => MARKS.test(path))) return [];
  const advice = "give the browser's user data directory (it holds `Local State` or `prefs.js`), after the browser has exited";
  return entries.length === 0
    ? [{ code: 'CLOAKROOM_EMPTY_PROFILE', message: `${directory} has nothing to save, and is saved so: ${advice}` }]
    : [
        {
          code: 'CLOAKROOM_NOT_A_PROFILE',
          message: `${directory} has none of the files by which a profile of Chromium or Firefox is known: ${advice}`,
        },
      ];
}
