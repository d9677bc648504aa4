// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

import { Cancelled, Unavailable, fromGrpc } from './errors.js';

/** Ends a call that stands still, that its caller gives up, or whose client is closed. */
export class Guard {
  /**
   * @param {import('./connection.js').Connection} connection
   * @param {{ cancel(): void }} call
   * @param {AbortSignal} [signal]
   * @param {() => number} [quietSeconds] for how long at most nothing may move
   */
  constructor(connection, call, signal, quietSeconds) {
    this.connection = connection;
    this.call = call;
    this.signal = signal;
    this.quietSeconds = quietSeconds;
    this.silence = 0;
    this.abort = () => call.cancel();
    signal?.addEventListener('abort', this.abort, { once: true });
    connection.running.add(this);
    this.moved();
  }

  moved() {
    clearTimeout(this.timer);
    if (!this.quietSeconds) return;
    const seconds = this.quietSeconds();
    this.timer = setTimeout(() => {
      this.silence = seconds;
      this.call.cancel();
    }, seconds * 1000);
  }

  pause() {
    clearTimeout(this.timer);
  }

  /** @param {unknown} error */
  explain(error) {
    const { closed, target } = this.connection;
    if (this.signal?.aborted) return this.signal.reason;
    if (closed) return new Cancelled('the client was closed', { code: 'CANCELLED', cause: error });
    if (!this.silence) return fromGrpc(error, target);
    return new Unavailable(`the daemon at ${target} was silent for ${this.silence} s: the stream was given up`, {
      code: 'UNAVAILABLE',
      cause: error,
    });
  }

  stop() {
    clearTimeout(this.timer);
    this.connection.running.delete(this);
    this.signal?.removeEventListener('abort', this.abort);
    this.call.cancel();
  }
}
