// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file Where the daemon is and how it is spoken to there; and, if it cannot be reached, why. */

import net from 'node:net';
import * as tlsSockets from 'node:tls';

import { credentials } from '@grpc/grpc-js';

import { Invalid } from './errors.js';

/**
 * How to authenticate the daemon, and this client to it.
 *
 * @typedef {object} TlsOptions
 * @property {string | Uint8Array} [ca] PEM certificates to trust instead of the system's
 * @property {string | Uint8Array} [cert] PEM certificate chain of this client, for mutual TLS
 * @property {string | Uint8Array} [key] PEM private key of this client
 * @property {string} [serverName] the name in the daemon's certificate, if it is not that of the target
 */
/** @typedef {{ target: string, tls: TlsOptions | undefined }} Address a target as gRPC takes it; without `tls`: in plain text */

const EXAMPLES = 'give one such as 127.0.0.1:7700, https://cloakroom.example:7700 or dns:///cloakroom.example:7700';
/** gRPC's own forms. What follows the colon is not a port: a host may have such a name. */
const GRPC = /^(dns|ipv4|ipv6|unix|unix-abstract|vsock|xds):(?!\d+\/?$)/;
const URL_LIKE = /^(?<scheme>(https?:\/\/)?)(?<host>[^/?#@\s:[\]]+|\[[\da-f:.%]+\])(:(?<port>\d{1,5}))?\/?$/i;
const HTTPS = 443;
/** For how long a question to what is at an address may stay without an answer. */
const PROBE_MS = 700;
/** How every HTTP/2 connection begins, with empty settings. */
const PREFACE = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])]);

/**
 * @param {string} target as callers write it: gRPC's own forms, `host:port`, `http://host:port`, or `https://host:port` for TLS, with which alone the port may be left out
 * @param {boolean | TlsOptions | undefined} tls
 * @returns {Address}
 */
export function parseAddress(target, tls) {
  if (typeof target !== 'string') throw Invalid.here(`the target is no string, and comes before the options: ${EXAMPLES}`);
  if (target.includes('@') && !/^\s*unix/.test(target)) throw Invalid.here(`the target has a user in it, which is not shown here: ${EXAMPLES}`);
  const chosen = tls === true ? {} : tls || undefined;
  const given = target.trim();
  if (GRPC.test(given)) return { target: given, tls: chosen };
  const { scheme = '', host = '', port: said } = URL_LIKE.exec(given)?.groups ?? {};
  const secure = scheme.toLowerCase() === 'https://';
  const port = Number(said ?? (secure ? HTTPS : 0));
  if (!host || port < 1 || port > 65_535) throw Invalid.here(`the target ${JSON.stringify(target)} is no address with a port: ${EXAMPLES}`);
  if (scheme && !secure && chosen) throw Invalid.here(`${given} says plain text, and tls says TLS: write https://${host}:${port}`);
  if (secure && tls === false) throw Invalid.here(`${given} says TLS, and tls says plain text: write http://${host}:${port}`);
  return { target: `${host}:${port}`, tls: secure ? (chosen ?? {}) : chosen };
}

/**
 * @param {string} target as gRPC takes it
 * @returns {boolean} whether it is this host
 */
export function isLoopback(target) {
  return /^(unix:|(dns:\/*|ipv[46]:)?(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?$)/.test(target);
}

/**
 * @param {TlsOptions | undefined} tls
 * @returns {import('@grpc/grpc-js').ChannelCredentials}
 */
export function channelCredentials(tls) {
  if (!tls) return credentials.createInsecure();
  const { ca, cert, key } = tls;
  if (!cert !== !key) throw Invalid.here('tls.cert and tls.key belong together: give both or none');
  const buffer = (/** @type {string | Uint8Array | undefined} */ pem) => (pem === undefined ? null : Buffer.from(pem));
  return credentials.createSsl(buffer(ca), buffer(key), buffer(cert));
}

/**
 * @param {string} target as gRPC takes it
 * @returns {{ path: string } | { host: string, port: number } | undefined} undefined if gRPC knows more of it than this client
 */
function endpoint(target) {
  const [, path] = /^unix:(?:\/\/(?=\/))?(.+)$/.exec(target) ?? [];
  if (path) return { path };
  const [, six, name, port = '443'] = /^(?:dns:(?:\/\/[^/]*)?\/?|ipv[46]:)?(?:\[([^\]]+)\]|([^:/,]+))(?::(\d+))?$/.exec(target) ?? [];
  return six || name ? { host: six ?? name, port: Number(port) } : undefined;
}

/** @typedef {[cause: string, advice: string]} Finding */

const RUNNING = 'check that cloakroomd runs and that this is the gRPC address that it prints when it starts';
const PORTS = "cloakroomd's gRPC port is 7700 by default, and 7701 is its HTTP port for health and metrics";
const NETWORK = 'check the address, and the network between';
const CLOSES = 'what listens there closes the connection';
const WANTS_TLS = 'if the daemon has TLS, give tls or write https://; if not, check the port';
/** @type {[RegExp, string, string][]} */
const CAUSES = [
  [/ECONNREFUSED/, 'connection refused', RUNNING],
  [/ENOTFOUND|EAI_AGAIN/, 'the host name is not known', 'check the address'],
  [/EHOSTUNREACH|ENETUNREACH/, 'there is no route to the host', NETWORK],
  [/ETIMEDOUT/, 'nobody answers', NETWORK],
  [/ECONNRESET|EPIPE/, CLOSES, WANTS_TLS],
  [/ENOENT/, 'there is no such socket', RUNNING],
  [/EACCES|EPERM/, 'access to the socket is not allowed', 'run as a user who may write to it'],
  [
    /WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|UNSUPPORTED_PROTOCOL|EPROTO/,
    'what listens there does not speak TLS',
    'leave tls and https:// out, or check the port',
  ],
  [/CERT_HAS_EXPIRED|CERT_NOT_YET_VALID/, "the daemon's certificate is not valid today", 'renew it, or check the clocks'],
  [/ALTNAME_INVALID/, "the daemon's certificate is for another name", 'connect by a name that it has, or give that as tls.serverName'],
  [/SELF_SIGNED|UNABLE_TO_(VERIFY|GET)|CERT_UNTRUSTED/, "the daemon's certificate is not trusted", 'give its authority as tls.ca'],
  [
    /CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE|BAD_CERTIFICATE|UNKNOWN_CA/,
    'the daemon does not accept this client without a certificate that it knows',
    'give tls.cert and tls.key',
  ],
];

/**
 * Asks what is at an address, as HTTP/2 begins, and looks at its first bytes.
 *
 * @param {{ path: string } | { host: string, port: number }} at
 * @param {TlsOptions | undefined} tls
 * @returns {Promise<Buffer>} empty if it closed the connection without an answer; rejected with the system's error otherwise
 */
async function firstBytes(at, tls) {
  const host = 'host' in at && !net.isIP(at.host) ? at.host : undefined;
  const { ca, cert, key, serverName: servername = host } = tls ?? {};
  const pem = (/** @type {string | Uint8Array | undefined} */ given) => given && Buffer.from(given);
  const socket = tls
    ? tlsSockets.connect({ ...at, ca: pem(ca), cert: pem(cert), key: pem(key), servername, ALPNProtocols: ['h2'] })
    : net.connect(at);
  try {
    return await new Promise((resolve, reject) => {
      socket.setTimeout(PROBE_MS, () => reject(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })));
      socket.on('error', reject).on('data', resolve);
      socket.on('close', () => resolve(Buffer.alloc(0)));
      socket.write(PREFACE);
    });
  } finally {
    socket.destroy();
  }
}

/**
 * Says why a daemon cannot be reached, as far as a connection of one's own shows it: a channel keeps that to itself.
 *
 * @param {Address} address
 * @returns {Promise<Finding>}
 */
export async function diagnose({ target, tls }) {
  const at = endpoint(target);
  if (!at) return ['there is no connection', RUNNING];
  try {
    const bytes = await firstBytes(at, tls);
    if (bytes.toString('latin1', 0, 5) === 'HTTP/') return ['what answers there is an HTTP server, and not gRPC', PORTS];
    if (bytes[3] === 4 && bytes.readUIntBE(0, 3) < 256) return ['it was not ready in time, and answers only now', 'try again'];
    if (bytes.length === 0 || (bytes[0] === 0x15 && bytes[1] === 3)) return [CLOSES, tls ? PORTS : WANTS_TLS];
    return ['what answers there does not speak gRPC', PORTS];
  } catch (error) {
    const { code = '', message } = /** @type {NodeJS.ErrnoException} */ (error);
    const [, cause, advice] = CAUSES.find(([pattern]) => pattern.test(code)) ?? ['', code || message, RUNNING];
    return [cause, advice];
  }
}
