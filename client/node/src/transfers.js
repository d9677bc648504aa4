// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file Streams of profiles on connections that break: sent until it is known what became of them, received until they are complete. */

import { setTimeout as sleep } from 'node:timers/promises';

import { ATTEMPTS, backoff } from './backoff.js';
import { Invalid, Unavailable, isOverload } from './errors.js';
import { Assembly, saveMessages } from './framing.js';
import { short, snapshot } from './messages.js';
import { removeTree } from './system.js';

/** @typedef {import('./connection.js').Connection} Connection */
/** @typedef {import('./messages.js').Snapshot} Snapshot */
/** @typedef {import('./messages.js').Progress} Progress */
/** @typedef {Omit<import('./messages.js').Saved, 'warnings'>} Sent */

/**
 * Tells what has moved; a stream that is sent again does not count backwards.
 *
 * @param {Progress | undefined} progress
 */
function teller(progress) {
  let told = -1;
  return (/** @type {number} */ done, /** @type {number} */ total) => {
    if (done > told) progress?.({ done: (told = done), total });
  };
}

/**
 * Waits before another attempt, if one may help. What could not be reached was waited for already.
 *
 * @param {unknown} error
 * @param {number} attempt
 * @param {AbortSignal} [signal]
 */
async function pause(error, attempt, signal) {
  const passing = isOverload(error) || (error instanceof Unavailable && error.reason !== 'UNREACHABLE');
  if (!passing || attempt === ATTEMPTS) throw error;
  await sleep(backoff(attempt, error.retryDelaySeconds), undefined, { signal });
}

/**
 * @param {Snapshot} made
 * @param {{ begin: any, root: Buffer }} save
 * @returns {Snapshot} the same, if it is what was sent: a sidecar must never name one snapshot and hold the entries of another
 */
function own(made, { begin, root }) {
  if (made.manifestRoot.equals(root)) return made;
  throw Invalid.here(
    `the upload id ${begin.uploadId} made the snapshot ${made.id}, which has another content: give every save its own`,
    'REQUEST_ID_REUSED',
  );
}

/**
 * Sends a save until it is known to be done or refused.
 *
 * @param {Connection} connection
 * @param {{ begin: any, directory: string, change: import('./messages.js').Difference, state: Buffer, root: Buffer }} save
 * @param {import('./messages.js').SaveOptions} options
 * @returns {Promise<Sent>}
 */
export async function send(connection, save, { compress = !connection.loopback, progress, signal }) {
  const { namespace } = connection;
  const { sessionId, uploadId } = save.begin;
  const tell = teller(progress);
  for (let attempt = 1; ; attempt++) {
    try {
      const messages = saveMessages({ namespace, ...save }, compress, tell);
      const { answer, ...sent } = await connection.upload('ProfileService', 'saveProfile', messages, { signal });
      return {
        snapshot: own(snapshot(answer.snapshot), save),
        revision: Number(answer.revision),
        sessionEtag: answer.sessionEtag,
        uploadId,
        ...sent,
      };
    } catch (error) {
      await pause(error, attempt, signal);
      if (isOverload(error)) continue;
    }
    // The save may have been done before its answer was lost.
    const status = await saveStatus(connection, sessionId, uploadId, { signal }).catch((error) => {
      if (!(error instanceof Unavailable || isOverload(error))) throw error;
    });
    // Done with another content, under an upload id that was used before: sent again, the daemon refuses it.
    if (status?.snapshot?.manifestRoot.equals(save.root))
      return { snapshot: status.snapshot, revision: status.snapshot.revision, sessionEtag: '', uploadId, messages: 0, wireBytes: 0 };
  }
}

/**
 * Says what became of a save.
 *
 * @param {Connection} connection
 * @param {string} sessionId
 * @param {string} uploadId
 * @param {import('./connection.js').CallOptions} [call]
 * @returns {Promise<{ state: 'UNKNOWN' | 'COMMITTED', snapshot: Snapshot | undefined, revision: number }>}
 */
export async function saveStatus(connection, sessionId, uploadId, call = {}) {
  const answer = await connection.unary('ProfileService', 'getSaveStatus', { sessionId, uploadId }, call);
  return {
    state: short(answer.state, 'SAVE_STATE_'),
    snapshot: answer.snapshot ? snapshot(answer.snapshot) : undefined,
    revision: Number(answer.revision),
  };
}

/**
 * Takes a load's stream until it is complete.
 *
 * @param {Connection} connection
 * @param {Record<string, unknown>} request
 * @param {() => string} makeShelf gives an empty directory for what comes
 * @param {import('./framing.js').Base | undefined} base
 * @param {{ progress?: Progress, signal?: AbortSignal }} options
 * @returns {Promise<Assembly>} everything that was announced, not yet verified as a whole
 */
export async function receive(connection, request, makeShelf, base, { progress, signal }) {
  const tell = teller(progress);
  for (let attempt = 1; ; attempt++) {
    const assembly = new Assembly(makeShelf, base);
    try {
      let done = 0;
      for await (const message of connection.download('ProfileService', 'loadProfile', request, { signal })) {
        assembly.accept(message);
        tell((done += message.records?.dataSize ?? 0), Number(assembly.begin.contentBytes));
      }
      return assembly;
    } catch (error) {
      if (assembly.shelf) removeTree(assembly.shelf);
      await pause(error, attempt, signal);
    }
  }
}
