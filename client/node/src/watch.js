// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

import { setTimeout as sleep } from 'node:timers/promises';

import { backoff } from './backoff.js';
import { enumValue } from './contract.js';
import { CloakroomError } from './errors.js';
import { change, duration, seconds, short } from './messages.js';

/** @typedef {import('./messages.js').Change} Change */
/** @typedef {{ sessionId?: string, businessId?: string, email?: string, kinds?: import('./messages.js').ChangeKind[] }} Selector given fields must all match; several selectors are alternatives */

/**
 * @typedef {object} WatchOptions
 * @property {Selector[]} [selectors] which changes to hear of; none: all
 * @property {Uint8Array} [resumeToken] go on after the message that carried this
 * @property {number} [afterRevision] start after this revision, such as that of an answer just read
 * @property {number} [bookmarkIntervalSeconds] how often to hear that nothing else happened: 1 to 60, default 5
 * @property {AbortSignal} [signal] ends the watch
 */

/**
 * One event of a watch. `resumeToken` covers everything up to and with it.
 *
 * - `opened`: the watch runs; changes after `revision` follow, or a reset. It comes again after each reconnection.
 * - `changes`: what happened, in order.
 * - `bookmark`: everything up to `revision` was told.
 * - `reset`: changes may have been missed. Forget everything that the selectors cover and read it anew, at some moment within `spreadSeconds`.
 *   `reason` is `COMPACTED`, `HISTORY_CHANGED`, `SLOW_CONSUMER`, `GAP`, or `UNKNOWN_CHANGE` if the daemon told of something that this client does not know.
 *
 * @typedef {{ resumeToken: Buffer } & (
 *   | { kind: 'opened', revision: number }
 *   | { kind: 'changes', revision: number, changes: Change[] }
 *   | { kind: 'bookmark', revision: number }
 *   | { kind: 'reset', reason: string, revision: number, spreadSeconds: number }
 * )} WatchEvent
 */

/** A stream that was silent for so many bookmark intervals is taken for dead. */
const SILENT_INTERVALS = 3;
const DEFAULT_INTERVAL_SECONDS = 5;

/** Codes after which another attempt may help. What is wrong with the call itself stays wrong. */
const PASSING = ['UNAVAILABLE', 'DEADLINE_EXCEEDED', 'RESOURCE_EXHAUSTED', 'ABORTED', 'INTERNAL', 'UNKNOWN', 'CANCELLED'];

/**
 * A watch that goes on by itself across broken connections and restarts of the daemon. An event counts as applied when the next one is asked for, so whoever stops
 * in the middle of one, or dies there, hears it again. One loop at a time.
 *
 * @implements {AsyncIterable<WatchEvent>}
 */
export class Watch {
  /**
   * @param {import('./connection.js').Connection} connection
   * @param {WatchOptions} [options]
   */
  constructor(connection, { selectors = [], resumeToken, afterRevision, bookmarkIntervalSeconds = DEFAULT_INTERVAL_SECONDS, signal } = {}) {
    /** @private */
    this.connection = connection;
    /** @private */
    this.selectors = selectors.map(({ kinds, ...selector }) => ({ ...selector, kinds: kinds?.map((kind) => enumValue('ChangeKind', kind)) }));
    /** @private */
    this.afterRevision = afterRevision;
    /** @private */
    this.intervalSeconds = bookmarkIntervalSeconds;
    /** @private */
    this.signal = signal;
    /** Where to go on: after the last event that was applied. Keep it to go on in another process. */
    this.resumeToken = resumeToken && Buffer.from(resumeToken);
  }

  /** @returns {AsyncGenerator<WatchEvent, void, void>} */
  async *[Symbol.asyncIterator]() {
    let [failures, seen, forgotten] = [0, false, false];
    while (!this.ended) {
      let pauseSeconds = 0;
      try {
        for await (const message of this.stream()) {
          if (message.event === 'opened') this.intervalSeconds = seconds(message.opened.bookmarkInterval) || this.intervalSeconds;
          else failures = 0;
          // What is only opened has told nothing yet: what it goes on from counts until more was heard, such as a reset that follows. So none is lost, whatever the token of `opened` says.
          const goesOn = message.event === 'opened' && (this.resumeToken ?? this.afterRevision) !== undefined;
          const event = this.event(goesOn ? { ...message, resumeToken: this.resumeToken ?? message.resumeToken } : message);
          if (event && forgotten)
            yield {
              kind: 'reset',
              reason: 'HISTORY_CHANGED',
              revision: event.revision,
              spreadSeconds: this.intervalSeconds,
              resumeToken: event.resumeToken,
            };
          else if (event) yield event;
          [seen, forgotten] = [true, false];
          if (message.resumeToken.length > 0 && !goesOn) this.resumeToken = message.resumeToken;
          if (message.event === 'draining') {
            pauseSeconds = seconds(message.draining.retryAfter);
            break;
          }
        }
      } catch (error) {
        if (this.ended) return;
        if (!(error instanceof CloakroomError)) throw error;
        if (error.reason === 'INVALID_RESUME_TOKEN' && seen) {
          // The token was good once: the daemon has lost its keys, and with them everything else.
          [this.resumeToken, this.afterRevision, forgotten] = [undefined, undefined, true];
        } else if (!PASSING.includes(error.code)) throw error;
        // Never reached at all: most likely a wrong address, which no patience mends.
        if (error.reason === 'UNREACHABLE' && !this.connection.contact) throw error;
        pauseSeconds = error.retryDelaySeconds ?? 0;
      }
      failures++;
      await sleep(backoff(failures, pauseSeconds), undefined, { signal: this.signal }).catch(() => {});
    }
  }

  /** @private */
  get ended() {
    return this.connection.closed || this.signal?.aborted;
  }

  /** @private */
  stream() {
    const start = this.resumeToken
      ? { resumeToken: this.resumeToken }
      : this.afterRevision === undefined
        ? {}
        : { afterRevision: this.afterRevision };
    const request = { selectors: this.selectors, bookmarkInterval: duration(this.intervalSeconds), ...start };
    const quietSeconds = () => SILENT_INTERVALS * this.intervalSeconds;
    return this.connection.download('InvalidationService', 'watchInvalidations', request, { signal: this.signal, quietSeconds });
  }

  /**
   * @private
   * @param {any} message a `WatchInvalidationsResponse`
   * @returns {WatchEvent | undefined} undefined if it is the watch's own business
   */
  event({ event, resumeToken, opened, batch, bookmark, reset }) {
    if (event === 'opened') return { kind: 'opened', revision: opened.revision, resumeToken };
    if (event === 'bookmark') return { kind: 'bookmark', revision: bookmark.revision, resumeToken };
    if (event === 'draining') return undefined;
    if (event === 'reset') {
      return {
        kind: 'reset',
        reason: short(reset.reason, 'REASON_'),
        revision: reset.revision,
        spreadSeconds: seconds(reset.spread),
        resumeToken,
      };
    }
    const changes = (batch?.changes ?? []).map(change);
    if (event === 'batch' && !changes.some((/** @type {Change} */ { kind }) => kind === 'UNKNOWN'))
      return { kind: 'changes', revision: changes.at(-1).revision, changes, resumeToken };
    // Something of a newer daemon: what it means is not known here, so nothing read before can be trusted.
    return { kind: 'reset', reason: 'UNKNOWN_CHANGE', revision: changes.at(-1)?.revision ?? 0, spreadSeconds: 0, resumeToken };
  }
}
