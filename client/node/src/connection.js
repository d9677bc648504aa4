// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

import { Channel, status as Code, Metadata, connectivityState } from '@grpc/grpc-js';

import { channelCredentials, diagnose, isLoopback, parseAddress } from './address.js';
import { ATTEMPTS, backoff } from './backoff.js';
import { api } from './contract.js';
import { Cancelled, Invalid, LocalError, Unavailable, isOverload } from './errors.js';
import { Guard } from './guard.js';
import { serviceConfig, version } from './resources.js';

/** @typedef {import('./address.js').TlsOptions} TlsOptions */
/**
 * @typedef {object} ClientOptions
 * @property {string} [namespace] empty for the caller's own
 * @property {string} [token] says who the caller is
 * @property {boolean | TlsOptions} [tls] true for the system's authorities; an `https://` target means that too
 * @property {boolean} [insecure] send the token in the clear to other hosts too
 * @property {number} [timeoutSeconds] bounds every single call: 10 if not given, as the published policy says
 * @property {number} [stallSeconds] for how long a save or load may stand still: 60 if not given
 * @property {number} [patienceSeconds] for how long a call, within its timeout, waits for a daemon that cannot be reached. If not given, 2 before the first contact, when
 *   a wrong address is more likely than a daemon that is about to start, and 30 after it, for a restart
 */
/** @typedef {{ signal?: AbortSignal, timeoutSeconds?: number }} CallOptions `signal` ends the call; `timeoutSeconds` bounds it in place of the client's */
/** @typedef {{ signal?: AbortSignal, quietSeconds?: () => number }} StreamOptions `quietSeconds`: for how long at most nothing may move */

// A stock channel's window lets downloads crawl as soon as there is a round trip to wait for.
const flowControlWindow = 16 * 1024 * 1024;

/** Seconds of patience with a daemon that was never reached, and with one that was. */
const PATIENCE = { before: 2, after: 30 };
/** Seconds that a single attempt to connect may take in any case. */
const ATTEMPT = 1;

/** One channel to the daemon, with its credentials, its retry policy, and errors in this package's classes. */
export class Connection {
  /**
   * @param {string} target
   * @param {ClientOptions} given
   */
  constructor(target, { namespace = '', token, tls, insecure = false, timeoutSeconds, stallSeconds = 60, patienceSeconds }) {
    this.address = parseAddress(target, tls);
    if (token && !this.address.tls && !insecure && !isLoopback(this.address.target)) {
      throw Invalid.here(`a token for ${target} would travel in the clear: give tls, or say insecure`);
    }
    if (patienceSeconds !== undefined && !(patienceSeconds >= 0))
      throw Invalid.here(`patienceSeconds is ${patienceSeconds}: give a number of seconds`);
    const policy = serviceConfig();
    /** @type {Set<Guard>} */
    this.running = new Set();
    this.closed = false;
    /** Whether the daemon was ever reached. */
    this.contact = false;
    this.target = this.address.target;
    this.loopback = isLoopback(this.target);
    this.namespace = namespace;
    this.token = token;
    this.timeoutSeconds = timeoutSeconds ?? policy.timeoutSeconds;
    this.stallSeconds = stallSeconds;
    this.patienceSeconds = patienceSeconds;
    const serverName = this.address.tls?.serverName;
    const channel = {
      'grpc.service_config': policy.json,
      'grpc.service_config_disable_resolution': 1,
      'grpc.primary_user_agent': `cloakroom-client-node/${version}`,
      'grpc-node.flow_control_window': flowControlWindow,
      'grpc.keepalive_time_ms': 20_000,
      'grpc.keepalive_timeout_ms': 10_000,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 2_000,
      // A proxy would look for this host's daemon on its own.
      ...(this.loopback && { 'grpc.enable_http_proxy': 0 }),
      ...(serverName && { 'grpc.ssl_target_name_override': serverName, 'grpc.default_authority': serverName }),
    };
    const credentials = channelCredentials(this.address.tls);
    this.channel = new Channel(this.target, credentials, channel);
    /** @type {Record<string, any>} */
    this.services = Object.fromEntries(
      ['SessionService', 'ProfileService', 'InvalidationService', 'AdminService'].map((name) => [
        name,
        new api[name](this.target, credentials, { channelOverride: this.channel }),
      ]),
    );
  }

  /** @returns {Metadata} */
  metadata() {
    // A connection that breaks right after it was looked at is waited for, within the call's timeout.
    const metadata = new Metadata({ waitForReady: true });
    if (this.token) metadata.set('authorization', `Bearer ${this.token}`);
    return metadata;
  }

  /**
   * A call with one request and one answer. What the daemon had no room for is asked anew, within the call's timeout, when the daemon says.
   *
   * @param {string} service
   * @param {string} method
   * @param {Record<string, unknown>} request
   * @param {CallOptions} [call]
   * @returns {Promise<any>}
   */
  async unary(service, method, request, { signal, timeoutSeconds = this.timeoutSeconds } = {}) {
    this.refuseClosed();
    const deadline = Date.now() + timeoutSeconds * 1000;
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.ask(service, method, request, { deadline, signal, timeoutSeconds });
      } catch (error) {
        if (!isOverload(error) || attempt === ATTEMPTS) throw error;
        const wait = backoff(attempt, error.retryDelaySeconds);
        if (Date.now() + wait >= deadline) throw error;
        await sleep(wait, undefined, { signal });
      }
    }
  }

  /**
   * @param {string} service
   * @param {string} method
   * @param {Record<string, unknown>} request
   * @param {{ deadline: number, signal?: AbortSignal, timeoutSeconds: number }} call
   * @returns {Promise<any>}
   */
  async ask(service, method, request, { deadline, signal, timeoutSeconds }) {
    await this.reach(signal, (deadline - Date.now()) / 1000);
    /** @type {Guard | undefined} */
    let guard;
    try {
      return await new Promise((resolve, reject) => {
        const settle = (/** @type {any} */ error, /** @type {any} */ answer) => (error ? reject(error) : resolve(answer));
        const message = { namespace: this.namespace, ...request };
        guard = new Guard(this, this.services[service][method](message, this.metadata(), { deadline }, settle), signal);
      });
    } catch (/** @type {any} */ error) {
      // The deadline came while there was no connection.
      if (error.code === Code.DEADLINE_EXCEEDED && /LB pick/.test(error.details) && !signal?.aborted) throw await this.unreachable(timeoutSeconds);
      throw guard?.explain(error) ?? error;
    } finally {
      guard?.stop();
    }
  }

  /** Refuses what is begun after the client was closed. What ran then is cancelled. */
  refuseClosed() {
    if (this.closed) throw LocalError.closed();
  }

  /** @param {AbortSignal} [signal] */
  check(signal) {
    signal?.throwIfAborted();
    if (this.closed) throw new Cancelled('the client was closed', { code: 'CANCELLED' });
  }

  /**
   * Waits for the daemon, as long as the client's patience lasts; then says why it cannot be reached.
   *
   * @param {AbortSignal} [signal]
   * @param {number} [mostSeconds]
   * @returns {Promise<void>}
   */
  async reach(signal, mostSeconds = Infinity) {
    this.check(signal);
    const patience = Math.min(mostSeconds, this.patienceSeconds ?? (this.contact ? PATIENCE.after : PATIENCE.before));
    const begin = Date.now();
    const end = begin + patience * 1000;
    // Somebody without patience still gives an attempt that was not refused the time that it takes.
    const latest = Math.max(end, begin + Math.min(mostSeconds, ATTEMPT) * 1000);
    for (let state; (state = this.channel.getConnectivityState(true)) !== connectivityState.READY;) {
      const over = state === connectivityState.TRANSIENT_FAILURE ? end : latest;
      if (Date.now() >= over) throw await this.unreachable(patience);
      await this.stateAfter(state, over, signal);
      this.check(signal);
    }
    this.contact = true;
  }

  /**
   * @param {connectivityState} state
   * @param {number} end when it is not waited for any longer
   * @param {AbortSignal} [signal]
   * @returns {Promise<void>} when the channel has another state, or it is too late
   */
  async stateAfter(state, end, signal) {
    /** @type {() => void} */
    let done = () => {};
    await new Promise((resolve) => {
      done = () => resolve(undefined);
      signal?.addEventListener('abort', done, { once: true });
      this.channel.watchConnectivityState(state, end === Infinity ? end : new Date(end), done);
    });
    signal?.removeEventListener('abort', done);
  }

  /**
   * @param {number} seconds for how long it was waited for
   * @returns {Promise<Unavailable>}
   */
  async unreachable(seconds) {
    const [cause, advice] = await diagnose(this.address);
    const message = `no connection to cloakroomd at ${this.target} within ${Number(seconds.toPrecision(2))} s: ${cause}; ${advice}`;
    return new Unavailable(message, { code: 'UNAVAILABLE', reason: 'UNREACHABLE' });
  }

  /**
   * A call with one answer to many requests. The next request is not made before the one before it has found room.
   *
   * @param {string} service
   * @param {string} method its name as JavaScript writes it
   * @param {AsyncIterable<Record<string, unknown>>} messages
   * @param {StreamOptions} [options]
   * @returns {Promise<{ answer: any, messages: number, wireBytes: number }>} the answer, and how much was sent for it
   */
  async upload(service, method, messages, { signal, quietSeconds = () => this.stallSeconds } = {}) {
    await this.reach(signal);
    /** @type {any} */
    let call;
    let settled = false;
    const sent = { messages: 0, wireBytes: 0 };
    const { path, requestSerialize, responseDeserialize } = api[service].service[method[0].toUpperCase() + method.slice(1)];
    const serialize = (/** @type {any} */ message) => {
      const bytes = requestSerialize(message);
      sent.messages += 1;
      sent.wireBytes += bytes.length;
      return bytes;
    };
    const answer = new Promise((resolve, reject) => {
      const settle = (/** @type {any} */ error, /** @type {any} */ value) => (error ? reject(error) : resolve(value));
      call = this.services[service].makeClientStreamRequest(path, serialize, responseDeserialize, this.metadata(), settle);
    }).finally(() => (settled = true));
    answer.catch(() => {});
    call.on('error', () => {});
    const guard = new Guard(this, call, signal, quietSeconds);
    try {
      for await (const message of messages) {
        guard.moved();
        if (!settled && !call.write(message)) await Promise.race([once(call, 'drain'), answer]);
        // A save that was done before is answered without being read to its end.
        if (settled) break;
      }
      call.end();
      guard.moved();
      return { answer: await answer, ...sent };
    } catch (error) {
      throw guard.explain(error);
    } finally {
      guard.stop();
    }
  }

  /**
   * A call with many answers to one request.
   *
   * @param {string} service
   * @param {string} method
   * @param {Record<string, unknown>} request
   * @param {StreamOptions} [options]
   * @returns {AsyncGenerator<any, void, void>}
   */
  async *download(service, method, request, { signal, quietSeconds = () => this.stallSeconds } = {}) {
    await this.reach(signal);
    const call = this.services[service][method]({ namespace: this.namespace, ...request }, this.metadata());
    call.on('error', () => {});
    const guard = new Guard(this, call, signal, quietSeconds);
    try {
      for await (const message of call) {
        // Only the daemon's silence counts, not the time that the caller takes.
        guard.pause();
        yield message;
        guard.moved();
      }
    } catch (error) {
      throw guard.explain(error);
    } finally {
      guard.stop();
    }
  }

  /** Closes the channel; calls that still run are ended. */
  close() {
    this.closed = true;
    for (const guard of [...this.running]) guard.stop();
    for (const service of Object.values(this.services)) service.close();
  }
}
