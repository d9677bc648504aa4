// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file The first contact with a daemon, and what a client says when there is none. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { ServerCredentials } from '@grpc/grpc-js';

import { isLoopback, parseAddress } from '../src/address.js';
import { Cancelled, Client, Internal, Invalid, Unavailable } from '../src/index.js';
import { certificate } from '../support/certificate.js';
import { Daemon, nowhere } from '../support/daemon.js';
import { failure } from '../support/failure.js';
import { peer } from '../support/peer.js';
import { temporary } from '../support/trees.js';

const session = { id: 's', state: 'SESSION_STATE_ACTIVE' };
const getSession = (/** @type {any} */ _, /** @type {any} */ answer) => answer(null, { session, revision: '1' });

/**
 * @param {import('node:test').TestContext} t
 * @param {string} target
 * @param {import('../src/index.js').ClientOptions} [options]
 */
function connect(t, target, options) {
  const client = new Client(target, options);
  t.after(() => client.close());
  return client;
}

/**
 * @param {Promise<unknown>} call that must find nobody
 * @returns {Promise<{ error: any, seconds: number }>}
 */
async function unreached(call) {
  const begin = Date.now();
  const error = await failure(call);
  assert.ok(error instanceof Unavailable, `${error.name}: ${error.message}`);
  assert.deepEqual([error.reason, error.retryable], ['UNREACHABLE', true]);
  return { error, seconds: (Date.now() - begin) / 1000 };
}

/**
 * @param {import('node:test').TestContext} t
 * @param {net.Server} server
 * @returns {Promise<string>}
 */
async function listening(t, server) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  /** @type {Set<net.Socket>} */
  const sockets = new Set();
  server.on('connection', (socket) => sockets.add(socket));
  t.after(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return `127.0.0.1:${/** @type {net.AddressInfo} */ (server.address()).port}`;
}

test('where nothing listens, every kind of call says so within three seconds', async (t) => {
  const target = await nowhere();
  const directory = temporary(t);
  fs.writeFileSync(`${directory}/f`, '');
  const client = connect(t, target);
  const calls = [
    client.sessions.get('s'),
    client.load('s', `${directory}/p`),
    client.save('s', directory),
    client.watch()[Symbol.asyncIterator]().next(),
    client
      .watch({ resumeToken: Buffer.from('of another day') })
      [Symbol.asyncIterator]()
      .next(),
  ];
  for (const { error, seconds } of await Promise.all(calls.map(unreached))) {
    assert.match(error.message, new RegExp(`no connection to cloakroomd at ${target} within 2 s: connection refused; check that cloakroomd runs`));
    assert.ok(seconds > 1.5 && seconds < 3, `${seconds} s`);
  }
});

test("patience and timeout are the caller's to choose", async (t) => {
  const target = await nowhere();
  const hasty = connect(t, target, { patienceSeconds: 0.2 });
  assert.ok((await unreached(hasty.sessions.get('s'))).seconds < 1.2);
  const brief = connect(t, target, { timeoutSeconds: 0.3 });
  const { error, seconds } = await unreached(brief.sessions.get('s'));
  assert.match(error.message, /within 0\.3 s/);
  assert.ok(seconds < 1.3, `${seconds} s`);
  const impatient = connect(t, target, { patienceSeconds: 0 });
  assert.ok((await unreached(impatient.sessions.get('s'))).seconds < 1.2);
  const { target: there } = await peer(t, { SessionService: { getSession } });
  assert.equal((await connect(t, there, { patienceSeconds: 0 }).sessions.get('s')).id, 's');
  assert.throws(() => new Client(target, { patienceSeconds: -1 }), Invalid);
});

test('waiting ends with the signal and with the client', async (t) => {
  const target = await nowhere();
  const client = connect(t, target, { patienceSeconds: 30 });
  await assert.rejects(client.sessions.get('s', { signal: AbortSignal.timeout(100) }), { name: 'TimeoutError' });
  setTimeout(() => client.close(), 100);
  await assert.rejects(client.load('s', '/nowhere'), Cancelled);
});

test('a daemon that starts within the patience is waited for', async (t) => {
  const daemon = new Daemon();
  t.after(() => daemon.remove());
  daemon.target = await nowhere();
  const client = connect(t, daemon.target, { patienceSeconds: 30 });
  const asking = client.serverInfo();
  await sleep(500);
  await daemon.start();
  assert.equal((await asking).namespace, 'default');
});

test('a daemon that was reached once may be away for some seconds', async (t) => {
  const daemon = new Daemon();
  t.after(() => daemon.remove());
  await daemon.start();
  const client = connect(t, daemon.target);
  const { id } = await client.sessions.create({ businessId: 'b' });
  await daemon.stop('SIGKILL');
  const directory = temporary(t);
  fs.writeFileSync(`${directory}/f`, '');
  const calls = Promise.all([client.sessions.get(id), client.sessions.update(id, { labels: { a: 'b' } }), client.save(id, directory)]);
  calls.catch(() => {});
  await sleep(4000);
  await daemon.start();
  const [got, updated] = await calls;
  assert.deepEqual([got.id, updated.labels], [id, { a: 'b' }]);
});

test('the HTTP port in place of the gRPC port is told apart', async (t) => {
  const daemon = new Daemon();
  t.after(() => daemon.remove());
  await daemon.start();
  const client = connect(t, daemon.http);
  const calls = [() => client.sessions.get('s'), () => client.load('s', `${temporary(t)}/p`), () => client.watch()[Symbol.asyncIterator]().next()];
  for (const call of calls) {
    const error = await failure(call());
    assert.ok(error instanceof Internal, error.message);
    assert.equal(error.reason, 'NOT_CLOAKROOM');
    assert.ok(error.message.includes(`${daemon.http} is an HTTP server, and not gRPC`) && error.message.includes('7700'), error.message);
  }
});

test('so are other servers that are not the daemon', async (t) => {
  const options = { patienceSeconds: 0.3 };
  const old = await listening(
    t,
    http.createServer((_, response) => response.end('hello')),
  );
  assert.match((await unreached(connect(t, old, options).sessions.get('s'))).error.message, /an HTTP server, and not gRPC; .*7700/);
  const mute = await listening(
    t,
    net.createServer((socket) => socket.on('error', () => {}).resume()),
  );
  assert.match((await unreached(connect(t, mute, options).sessions.get('s'))).error.message, /nobody answers/);
  const other = await listening(
    t,
    net.createServer((socket) => socket.on('error', () => {}).end('220 mail.example ESMTP\r\n')),
  );
  assert.match((await unreached(connect(t, other, options).sessions.get('s'))).error.message, /does not speak gRPC/);
  const rude = await listening(
    t,
    net.createServer((socket) => socket.resetAndDestroy()),
  );
  assert.match((await unreached(connect(t, rude, options).sessions.get('s'))).error.message, /closes the connection; if the daemon has TLS/);
  assert.match(
    (await unreached(connect(t, 'unix:/nowhere/socket', options).sessions.get('s'))).error.message,
    /no connection to cloakroomd at unix:\/nowhere\/socket .*no such socket/,
  );
});

test('TLS where there is none, none where there is, and certificates that do not fit', async (t) => {
  const { cert, key } = certificate(temporary(t), 'localhost');
  const credentials = ServerCredentials.createSsl(cert, [{ private_key: key, cert_chain: cert }], true);
  const { target } = await peer(t, { SessionService: { getSession } }, { credentials, client: { tls: { ca: cert } } });
  const { target: plain } = await peer(t, { SessionService: { getSession } });
  const named = target.replace('127.0.0.1', 'localhost');
  const patienceSeconds = 0.5;
  const said = async (/** @type {string} */ to, /** @type {any} */ tls) =>
    (await unreached(connect(t, to, { patienceSeconds, tls }).sessions.get('s'))).error.message;
  assert.match(await said(plain.replace('127.0.0.1', 'https://localhost'), undefined), /does not speak TLS; leave tls and https:\/\/ out/);
  assert.match(await said(target, undefined), /closes the connection; if the daemon has TLS, give tls or write https:\/\//);
  assert.match(await said(`https://${named}`, undefined), /certificate is not trusted; give its authority as tls\.ca/);
  assert.match(await said(named, { ca: cert, cert, key, serverName: 'other.test' }), /certificate is for another name; .*tls\.serverName/);
  const fine = connect(t, `https://${named}`, { tls: { ca: cert, cert, key } });
  assert.equal((await fine.sessions.get('s')).id, 's');
});

test('a proxy is not asked for the daemon on this host', async (t) => {
  const { http_proxy: former } = process.env;
  process.env.http_proxy = `http://${await nowhere()}`;
  t.after(() => {
    if (former === undefined) delete process.env.http_proxy;
    else process.env.http_proxy = former;
  });
  const { client } = await peer(t, { SessionService: { getSession } });
  assert.equal((await client.sessions.get('s')).id, 's');
});

test('targets are taken as the command line takes them', () => {
  const fine = /** @type {[string, any, any][]} */ ([
    ['127.0.0.1:7700', undefined, { target: '127.0.0.1:7700', tls: undefined }],
    ['127.0.0.1:7700', true, { target: '127.0.0.1:7700', tls: {} }],
    ['http://127.0.0.1:7700', undefined, { target: '127.0.0.1:7700', tls: undefined }],
    ['HTTP://[::1]:7700/', false, { target: '[::1]:7700', tls: undefined }],
    ['https://a.example:7700', undefined, { target: 'a.example:7700', tls: {} }],
    ['https://a.example', { ca: 'x' }, { target: 'a.example:443', tls: { ca: 'x' } }],
    ['https://[::1]', undefined, { target: '[::1]:443', tls: {} }],
    [' http://localhost:7700/\n', undefined, { target: 'localhost:7700', tls: undefined }],
    ['dns:7700', undefined, { target: 'dns:7700', tls: undefined }],
    ['ipv4:10.0.0.1:7700,10.0.0.2:7700', undefined, { target: 'ipv4:10.0.0.1:7700,10.0.0.2:7700', tls: undefined }],
    ['dns:///a.example:1', undefined, { target: 'dns:///a.example:1', tls: undefined }],
    ['unix:/tmp/x', undefined, { target: 'unix:/tmp/x', tls: undefined }],
  ]);
  for (const [target, tls, address] of fine) assert.deepEqual(parseAddress(target, tls), address, target);
  const bad = [
    '',
    ' ',
    'a b:1',
    'a',
    '127.0.0.1',
    'a:0',
    'a:70000',
    '::1:7700',
    'http://',
    'http://a',
    'http://a/b',
    'https://a?b',
    'ftp://a:1',
    null,
  ];
  for (const target of bad) assert.throws(() => new Client(/** @type {any} */ (target)), Invalid, String(target));
  assert.throws(
    () => new Client('http://user:secret@a.example:1'),
    (error) => error instanceof Invalid && !error.message.includes('secret'),
  );
  assert.throws(() => new Client('http://a.example:1', { tls: true }), /write https:\/\/a\.example:1/);
  assert.throws(() => new Client('https://a.example:1', { tls: false }), Invalid);
  assert.throws(() => new Client('http://a.example:1', { token: 'secret' }), Invalid);
  assert.ok(isLoopback(parseAddress('http://localhost:1', undefined).target));
});
