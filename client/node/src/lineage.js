// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file What a save goes on from: its directory came from one snapshot, or from nothing, and only on purpose follows another. */

import { LocalError, ParentNotHead } from './errors.js';
import { isOf, readSidecar, sidecarPath } from './sidecar.js';

/** @typedef {import('./messages.js').Entry} Entry */
/** @typedef {import('./sidecar.js').Sidecar} Sidecar */

/**
 * @param {string} directory
 * @param {string} sessionId to be saved into
 * @param {string} namespace
 * @param {boolean} replace
 * @returns {Sidecar | undefined} where the directory came from; with `replace` that may be another session, of which only the digests of untouched files count
 */
export function comesFrom(directory, sessionId, namespace, replace) {
  const known = readSidecar(directory);
  if (!known || replace || isOf(known, sessionId, namespace)) return known;
  const spaces = [known.namespace, namespace].map((name) => (name ? ` in the namespace ${name}` : " in the caller's own namespace"));
  const [there, here] = known.namespace === namespace ? ['', ''] : spaces;
  const message = `${directory} is the profile of session ${known.sessionId}${there} (its sidecar ${sidecarPath(directory)} says so), not of ${sessionId}${here}`;
  throw new LocalError(`${message}: save it there, or say replace to make it the head of ${sessionId}`, {
    reason: 'OTHER_SESSION',
    metadata: { session_id: known.sessionId, namespace: known.namespace },
  });
}

/**
 * @param {import('./connection.js').Connection} connection
 * @param {string} sessionId
 * @param {Sidecar | undefined} known
 * @param {{ replace: boolean, signal?: AbortSignal }} options
 * @returns {Promise<{ parentSnapshotId: string, full: boolean, base: Entry[] }>} what a save follows, and to which entries it is the difference
 */
export async function parentOf(connection, sessionId, known, { replace, signal }) {
  const own = isOf(known, sessionId, connection.namespace) ? known : undefined;
  const here = { parentSnapshotId: own?.snapshotId ?? '', full: false, base: own?.entries ?? [] };
  if (!replace) return here;
  const { session } = await connection.unary('SessionService', 'getSession', { sessionId }, { signal });
  const head = session.headSnapshotId;
  return head === here.parentSnapshotId ? here : { parentSnapshotId: head, full: head !== '', base: [] };
}

/**
 * Adds to a refusal why the daemon was told of no snapshot that the directory came from.
 *
 * @param {unknown} error of a save
 * @param {string} directory
 * @param {Sidecar | undefined} known
 * @returns {unknown} the error
 */
export function explained(error, directory, known) {
  if (known || !(error instanceof ParentNotHead)) return error;
  const description = `there is no ${sidecarPath(directory)} that could be read: if the directory was moved, move that with it`;
  error.message += `; ${description}`;
  error.help.push({ description, url: '' });
  return error;
}

/**
 * @param {Sidecar | undefined} known
 * @param {Uint8Array} state the storage state that is saved, empty for none
 * @returns {import('./messages.js').Warning[]} about session cookies that go missing
 */
export function leftOut(known, state) {
  if (!known?.storageState || state.length > 0) return [];
  const message =
    'the snapshot that this one follows carried a storage state and this one does not: session cookies are no longer in what is loaded; give one with storageState';
  return [{ code: 'CLOAKROOM_NO_STORAGE_STATE', message }];
}
