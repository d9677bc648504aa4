// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

import { once } from 'node:events';

import { Channel, status as Code, Metadata, credentials as grpcCredentials, loadPackageDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

import { Cancelled, Invalid, Unavailable, fromGrpc } from './errors.js';
import { protoDirectory, serviceConfig, version } from './resources.js';

/**
 * How to authenticate the daemon, and this client to it.
 *
 * @typedef {object} TlsOptions
 * @property {string | Uint8Array} [ca] PEM certificates to trust instead of the system's
 * @property {string | Uint8Array} [cert] PEM certificate chain of this client, for mutual TLS
 * @property {string | Uint8Array} [key] PEM private key of this client
 * @property {string} [serverName] the name in the daemon's certificate, if it is not that of the target
 */

/**
 * @typedef {object} ClientOptions
 * @property {string} [namespace] empty for the caller's own
 * @property {string} [token] says who the caller is
 * @property {boolean | TlsOptions} [tls] true for the system's authorities
 * @property {boolean} [insecure] send the token in the clear to other hosts too
 * @property {number} [timeoutSeconds] bounds every single call; if not given, as the published policy says
 * @property {number} [stallSeconds] for how long a save or load may stand still: 60 if not given
 */
/** @typedef {{ signal?: AbortSignal, timeoutSeconds?: number }} CallOptions `signal` ends the call; `timeoutSeconds` is its deadline, if sooner than the policy's */
/** @typedef {{ signal?: AbortSignal, quietSeconds?: () => number }} StreamOptions `quietSeconds`: for how long at most nothing may move */

const options = { keepCase: false, enums: String, defaults: true, oneofs: true, includeDirs: [protoDirectory] };
const names = ['session', 'invalidation', 'admin'].map((name) => `cloakroom/v1/${name}.proto`);
// Modification times in nanoseconds do not fit a number; revisions and counts, which are all that the others have, do.
const definition = {
  ...loadSync(names, { ...options, longs: Number }),
  ...loadSync('cloakroom/v1/profile.proto', { ...options, longs: String }),
};
const api = /** @type {any} */ (loadPackageDefinition(definition)).cloakroom.v1;

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

// A stock channel's window lets downloads crawl as soon as there is a round trip to wait for.
const flowControlWindow = 16 * 1024 * 1024;

/** For how long a stream waits for a daemon that cannot be reached. */
const connectSeconds = 10;

/**
 * @param {string} target
 * @returns {boolean}
 */
function isLoopback(target) {
  return /^(unix:|(dns:\/*|ipv[46]:)?(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?$)/.test(target);
}

/**
 * @param {true | TlsOptions} tls
 */
function secure(tls) {
  const { ca, cert, key } = tls === true ? /** @type {TlsOptions} */ ({}) : tls;
  if (!cert !== !key) throw Invalid.here('tls.cert and tls.key belong together: give both or none');
  const buffer = (/** @type {string | Uint8Array | undefined} */ pem) => (pem === undefined ? null : Buffer.from(pem));
  return grpcCredentials.createSsl(buffer(ca), buffer(key), buffer(cert));
}

/** Ends a call that stands still, that its caller gives up, or whose client is closed. */
class Guard {
  /**
   * @param {Connection} connection
   * @param {{ cancel(): void }} call
   * @param {AbortSignal} [signal]
   * @param {() => number} [quietSeconds]
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

/** One channel to the daemon, with its credentials, its retry policy, and errors in this package's classes. */
export class Connection {
  /**
   * @param {string} target
   * @param {ClientOptions} given
   */
  constructor(target, { namespace = '', token, tls = false, insecure = false, timeoutSeconds, stallSeconds = 60 }) {
    if (typeof target !== 'string' || !target) {
      throw Invalid.here(`the target is ${JSON.stringify(target)}: give an address such as 127.0.0.1:7700`);
    }
    if (token && !tls && !insecure && !isLoopback(target)) {
      throw Invalid.here(`a token for ${target} would travel in the clear: give tls, or say insecure`);
    }
    /** @type {Set<Guard>} */
    this.running = new Set();
    this.closed = false;
    this.target = target;
    this.loopback = isLoopback(target);
    this.namespace = namespace;
    this.token = token;
    this.timeoutSeconds = timeoutSeconds;
    this.stallSeconds = stallSeconds;
    const serverName = typeof tls === 'object' ? tls.serverName : undefined;
    const channel = {
      'grpc.service_config': serviceConfig(),
      'grpc.service_config_disable_resolution': 1,
      'grpc.primary_user_agent': `cloakroom-client-node/${version}`,
      'grpc-node.flow_control_window': flowControlWindow,
      'grpc.keepalive_time_ms': 20_000,
      'grpc.keepalive_timeout_ms': 10_000,
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 2_000,
      ...(serverName && { 'grpc.ssl_target_name_override': serverName, 'grpc.default_authority': serverName }),
    };
    const credentials = tls ? secure(tls) : grpcCredentials.createInsecure();
    const channelOverride = new Channel(target, credentials, channel);
    /** @type {Record<string, any>} */
    this.services = Object.fromEntries(
      ['SessionService', 'ProfileService', 'InvalidationService', 'AdminService'].map((name) => [
        name,
        new api[name](target, credentials, { channelOverride }),
      ]),
    );
  }

  /** @returns {Metadata} */
  metadata() {
    // The published policy says `waitForReady`, which grpc-js takes from the call only.
    const metadata = new Metadata({ waitForReady: true });
    if (this.token) metadata.set('authorization', `Bearer ${this.token}`);
    return metadata;
  }

  /**
   * A call with one request and one answer.
   *
   * @param {string} service
   * @param {string} method
   * @param {Record<string, unknown>} request
   * @param {CallOptions} [call]
   * @returns {Promise<any>}
   */
  async unary(service, method, request, { signal, timeoutSeconds = this.timeoutSeconds } = {}) {
    this.check(signal);
    const extra = timeoutSeconds === undefined ? {} : { deadline: Date.now() + timeoutSeconds * 1000 };
    /** @type {Guard | undefined} */
    let guard;
    try {
      return await new Promise((resolve, reject) => {
        const settle = (/** @type {any} */ error, /** @type {any} */ answer) => (error ? reject(error) : resolve(answer));
        guard = new Guard(this, this.services[service][method]({ namespace: this.namespace, ...request }, this.metadata(), extra, settle), signal);
      });
    } catch (error) {
      throw guard?.explain(error) ?? error;
    } finally {
      guard?.stop();
    }
  }

  /** @param {AbortSignal} [signal] */
  check(signal) {
    signal?.throwIfAborted();
    if (this.closed) throw new Cancelled('the client was closed', { code: 'CANCELLED' });
  }

  /**
   * Waits until the daemon can be reached, so that a stream does not wait for ever for one that is not there.
   *
   * @param {AbortSignal} [signal]
   * @returns {Promise<void>}
   */
  async ready(signal) {
    this.check(signal);
    const { ProfileService: any } = this.services;
    await new Promise((resolve, reject) => {
      any.waitForReady(Date.now() + connectSeconds * 1000, (/** @type {Error | undefined} */ error) => (error ? reject(error) : resolve(undefined)));
    }).catch((cause) => {
      throw fromGrpc({ code: Code.UNAVAILABLE, details: cause.message, cause }, this.target);
    });
    this.check(signal);
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
    await this.ready(signal);
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
    await this.ready(signal);
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
