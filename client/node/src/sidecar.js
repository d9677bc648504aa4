// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/**
 * @file What a directory held when it was loaded or saved, in a file beside it that clients in every language share: `client/vectors/README.md` describes it.
 */

import fs from 'node:fs';

import { claim, release } from './asides.js';
import { fileRoot, manifestRoot } from './tree.js';

/** @typedef {import('./messages.js').Entry} Entry */
/** @typedef {Partial<import('./messages.js').Portability>} Origin what stays true of a snapshot's portability when a save does not find it out anew */
/**
 * @typedef {object} Sidecar
 * @property {string} namespace as the client asks for it, empty for the caller's own: what another one calls that may be another namespace
 * @property {string} sessionId
 * @property {string} snapshotId what the directory held
 * @property {Buffer} manifestRoot
 * @property {boolean} storageState whether the snapshot is known to carry a storage state
 * @property {Origin} origin
 * @property {Entry[]} entries
 */

/** What an origin consists of, here and in the file. */
const ORIGIN = /** @type {const} */ ([
  ['os', 'os'],
  ['brand', 'brand'],
  ['browserVersion', 'browser_version'],
  ['passwordStore', 'password_store'],
]);

/**
 * @param {any} facts
 * @returns {Origin} what is known
 */
function readOrigin(facts) {
  return Object.fromEntries(ORIGIN.map(([here, there]) => [here, facts?.[there]]).filter(([, fact]) => fact && typeof fact === 'string'));
}

/**
 * @param {Origin} origin
 * @returns {Record<string, string>}
 */
function writeOrigin(origin) {
  return Object.fromEntries(ORIGIN.map(([here, there]) => [there, origin[here] ?? '']).filter(([, fact]) => fact));
}

/**
 * @param {string} directory
 * @returns {string} where its sidecar is
 */
export function sidecarPath(directory) {
  return `${directory}.cloakroom.json`;
}

/**
 * @param {Sidecar | undefined} sidecar
 * @param {string} sessionId
 * @param {string} namespace
 * @returns {boolean} whether there is one, and it is of that session
 */
export function isOf(sidecar, sessionId, namespace) {
  return sidecar?.sessionId === sessionId && sidecar.namespace === namespace;
}

/**
 * @param {string} directory
 * @returns {Sidecar | undefined} undefined if there is none that can be read and is sound
 */
export function readSidecar(directory) {
  try {
    const read = JSON.parse(fs.readFileSync(sidecarPath(directory), 'utf8'));
    const { version, namespace, session_id: sessionId, snapshot_id: snapshotId } = read;
    if (version !== 1 || typeof namespace !== 'string' || typeof sessionId !== 'string' || !/^[0-9a-f]{32}$/.test(snapshotId)) return undefined;
    const entries = read.entries.map((/** @type {any} */ entry) => ({
      kind: entry.kind,
      path: entry.path,
      mode: entry.mode,
      mtimeNs: BigInt(entry.mtime_ns),
      size: entry.size,
      root: Buffer.from(entry.root ?? '', 'hex'),
      leaves: Buffer.from(entry.leaves ?? '', 'base64'),
      target: entry.target ?? '',
      stat: entry.stat,
    }));
    const root = manifestRoot(entries);
    const sound = entries.every((/** @type {Entry} */ { kind, root, leaves }) => kind !== 'file' || fileRoot(leaves).equals(root));
    if (!sound || root.toString('hex') !== read.manifest_root) return undefined;
    return {
      namespace,
      sessionId,
      snapshotId,
      manifestRoot: root,
      storageState: read.storage_state === true,
      origin: readOrigin(read.origin),
      entries,
    };
  } catch {
    // No sidecar, or a damaged one: the caller then looks at everything, which is slower and never wrong.
    return undefined;
  }
}

/**
 * @param {string} directory
 * @param {Sidecar} sidecar
 */
export function writeSidecar(directory, { namespace, sessionId, snapshotId, manifestRoot, storageState, origin, entries }) {
  const aside = claim(directory);
  const body = {
    version: 1,
    namespace,
    session_id: sessionId,
    snapshot_id: snapshotId,
    manifest_root: manifestRoot.toString('hex'),
    ...(storageState && { storage_state: true }),
    origin: writeOrigin(origin),
    entries: entries.map(({ kind, path, mode, mtimeNs, size, root, leaves, target, stat }) => ({
      kind,
      path,
      mode,
      mtime_ns: String(mtimeNs),
      size,
      ...(kind === 'file' && { root: root.toString('hex'), leaves: leaves.toString('base64') }),
      ...(kind === 'link' && { target }),
      stat,
    })),
  };
  try {
    fs.writeFileSync(aside, JSON.stringify(body), { mode: 0o600, flag: 'wx' });
    fs.renameSync(aside, sidecarPath(directory));
  } finally {
    release(aside);
  }
}

/** @param {string} directory whose sidecar is no longer true */
export function forgetSidecar(directory) {
  fs.rmSync(sidecarPath(directory), { force: true });
}
