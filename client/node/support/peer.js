// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file A server of the contract whose handlers are the test's own: for what a sound daemon does not do on demand, such as falling silent or losing an answer. */

import { Metadata, Server, ServerCredentials, loadPackageDefinition, status } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

import { Client } from '../src/index.js';
import { errorProtoDirectory, protoDirectory } from '../src/resources.js';

const definition = loadSync(
  ['session', 'invalidation', 'admin', 'profile'].map((name) => `cloakroom/v1/${name}.proto`),
  { keepCase: false, longs: String, enums: String, defaults: true, oneofs: true, includeDirs: [protoDirectory] },
);
const api = /** @type {any} */ (loadPackageDefinition(definition)).cloakroom.v1;
const details = loadSync(['google/rpc/status.proto', 'google/rpc/error_details.proto'], { includeDirs: [errorProtoDirectory] });

/**
 * @param {string} type
 * @param {object} value
 * @returns {Buffer}
 */
function encode(type, value) {
  return /** @type {import('@grpc/proto-loader').MessageTypeDefinition<any, any>} */ (details[type]).serialize(value);
}

/**
 * An error as the daemon sends it.
 *
 * @param {keyof typeof status} code
 * @param {string} reason
 * @param {{ message?: string, metadata?: Record<string, string>, more?: [string, object][] }} [extra]
 */
export function refusal(code, reason, { message = 'no', metadata = {}, more = [] } = {}) {
  const all = /** @type {[string, object][]} */ ([['google.rpc.ErrorInfo', { reason, domain: 'cloakroom', metadata }], ...more]);
  const trailer = new Metadata();
  const bytes = encode('google.rpc.Status', {
    code: status[code],
    message,
    details: all.map(([type, value]) => ({ type_url: `type.googleapis.com/${type}`, value: encode(type, value) })),
  });
  trailer.set('grpc-status-details-bin', bytes);
  return { code: status[code], details: message, metadata: trailer };
}

/**
 * @param {{ after(fn: () => void): void }} t
 * @param {Record<string, Record<string, Function>>} services handlers by service and method
 * @param {{ credentials?: ServerCredentials, client?: Record<string, any> }} [options]
 * @returns {Promise<{ client: Client, target: string, server: Server }>}
 */
export async function peer(t, services, { credentials = ServerCredentials.createInsecure(), client: given = {} } = {}) {
  const server = new Server();
  for (const [name, handlers] of Object.entries(services)) server.addService(api[name].service, /** @type {any} */ (handlers));
  const port = await new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  const target = `127.0.0.1:${port}`;
  const client = new Client(target, given);
  t.after(() => {
    client.close();
    server.forceShutdown();
  });
  return { client, target, server };
}
