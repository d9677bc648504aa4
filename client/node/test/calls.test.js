// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';

import { ServerCredentials } from '@grpc/grpc-js';

import {
  Cancelled,
  Client,
  Conflict,
  EtagMismatch,
  Exhausted,
  Internal,
  Invalid,
  LocalError,
  LeaseFenced,
  NotFound,
  ParentNotHead,
  SessionDeleted,
  Unavailable,
} from '../src/index.js';
import { openContext, saveContext } from '../src/playwright.js';
import { certificate } from '../support/certificate.js';
import { failure } from '../support/failure.js';
import { peer, refusal } from '../support/peer.js';
import { temporary } from '../support/trees.js';

const session = {
  id: 's',
  state: 'SESSION_STATE_ACTIVE',
  ttl: { seconds: 90, nanos: 500_000_000 },
  ttlMode: 'TTL_MODE_ABSOLUTE',
  createTime: { seconds: 1_700_000_000, nanos: 123_456_789 },
};

test("a session has the language's own types", async (t) => {
  const getSession = (/** @type {any} */ _, /** @type {any} */ answer) =>
    answer(null, { session: { ...session, labels: { a: 'b' }, fence: '1795171813095414' }, revision: '1795171813095415' });
  const { client } = await peer(t, { SessionService: { getSession } });
  const got = await client.sessions.get('s');
  assert.deepEqual(got, {
    id: 's',
    namespace: '',
    businessId: '',
    email: '',
    state: 'ACTIVE',
    stateReason: '',
    labels: { a: 'b' },
    ttlSeconds: 90.5,
    ttlMode: 'ABSOLUTE',
    createTime: new Date(1_700_000_000_123),
    updateTime: undefined,
    lastUseTime: undefined,
    expireTime: undefined,
    etag: '',
    headSnapshotId: '',
    storageStateRevision: 0,
    storageStateSaved: false,
    fence: 1795171813095414,
    revision: 1795171813095415,
  });
});

test('an update names just the fields that were given', async (t) => {
  /** @type {any[]} */
  const requests = [];
  const updateSession = (/** @type {any} */ { request }, /** @type {any} */ answer) =>
    answer(null, { session, revision: String(requests.push(request)) });
  const { client } = await peer(t, { SessionService: { updateSession } });
  await client.sessions.update('s', { businessId: 'b', ttlSeconds: 61.25, ttlMode: 'SLIDING', email: undefined }, { etag: 'e', leaseToken: 5 });
  await client.sessions.update('s', { labels: {}, email: '' });
  assert.deepEqual(requests[0].updateMask, { paths: ['business_id', 'ttl', 'ttl_mode'] });
  assert.deepEqual(requests[0].session.ttl, { seconds: '61', nanos: 250_000_000 });
  assert.deepEqual(
    [requests[0].session.id, requests[0].session.businessId, requests[0].session.ttlMode, requests[0].etag, requests[0].leaseToken],
    ['s', 'b', 'TTL_MODE_SLIDING', 'e', '5'],
  );
  assert.deepEqual(requests[1].updateMask, { paths: ['labels', 'email'] });
  await assert.rejects(client.sessions.update('s', {}), Invalid);
  await assert.rejects(
    client.sessions.update('s', { ttlMode: /** @type {any} */ ('FOREVER') }),
    /"FOREVER" is no TtlMode: choose one of SLIDING, ABSOLUTE/,
  );
  await assert.rejects(client.sessions.transition('s', /** @type {any} */ ('UNSPECIFIED')), Invalid);
});

test('the published policy tries again what was unavailable, under one request id', async (t) => {
  /** @type {string[]} */
  const ids = [];
  const createSession = (/** @type {any} */ { request }, /** @type {any} */ answer) => {
    if (ids.push(request.requestId) < 3) answer(refusal('UNAVAILABLE', 'METADATA_UNAVAILABLE'));
    else answer(null, { session, revision: '1' });
  };
  const { client } = await peer(t, { SessionService: { createSession } });
  await client.sessions.create({ businessId: 'b' });
  assert.equal(ids.length, 3);
  assert.equal(new Set(ids).size, 1);
  assert.match(ids[0], /^[0-9a-f-]{36}$/);
});

test('errors are of the class that says what to do', async (t) => {
  let next = refusal('NOT_FOUND', 'SESSION_NOT_FOUND');
  const getSession = (/** @type {any} */ _, /** @type {any} */ answer) => answer(next);
  const { client } = await peer(t, { SessionService: { getSession } });
  const provoke = async (/** @type {any} */ error) => {
    next = error;
    return failure(client.sessions.get('s'));
  };
  for (const [code, reason, type] of /** @type {[any, string, any][]} */ ([
    ['NOT_FOUND', 'SESSION_NOT_FOUND', NotFound],
    ['NOT_FOUND', 'SESSION_DELETED', SessionDeleted],
    ['ABORTED', 'CONTENTION', Conflict],
    ['ABORTED', 'ETAG_MISMATCH', EtagMismatch],
    ['ABORTED', 'LEASE_FENCED', LeaseFenced],
    ['ABORTED', 'PARENT_NOT_HEAD', ParentNotHead],
    ['RESOURCE_EXHAUSTED', 'OVERLOADED', Exhausted],
    ['INTERNAL', 'INTERNAL', Internal],
  ])) {
    const error = await provoke(refusal(code, reason));
    assert.ok(error instanceof type, `${reason} gave ${error.name}`);
    assert.deepEqual([error.code, error.reason, error.name], [code, reason, error.constructor.name]);
    assert.equal(error.retryable, ['CONTENTION', 'OVERLOADED'].includes(reason));
  }
});

test('an error says everything that the daemon said', async (t) => {
  const more = /** @type {[string, object][]} */ ([
    ['google.rpc.BadRequest', { fieldViolations: [{ field: 'labels[0].key', description: 'must be in lower case' }] }],
    ['google.rpc.RetryInfo', { retryDelay: { seconds: 2, nanos: 500_000_000 } }],
    ['google.rpc.Help', { links: [{ description: 'use small letters', url: 'https://example.com' }] }],
    ['google.rpc.ResourceInfo', { resourceType: 'session' }],
  ]);
  const createSession = (/** @type {any} */ _, /** @type {any} */ answer) =>
    answer(refusal('INVALID_ARGUMENT', 'INVALID_FIELD', { message: 'a field is wrong', metadata: { a: 'b' }, more }));
  const { client } = await peer(t, { SessionService: { createSession } });
  const error = await failure(client.sessions.create({ businessId: 'b' }));
  assert.ok(error instanceof Invalid);
  assert.deepEqual(error.violations, [{ subject: 'labels[0].key', description: 'must be in lower case' }]);
  assert.deepEqual(
    [error.metadata, error.retryDelaySeconds, error.help],
    [{ a: 'b' }, 2.5, [{ description: 'use small letters', url: 'https://example.com' }]],
  );
  assert.equal(error.message, 'a field is wrong; labels[0].key: must be in lower case; use small letters');
});

test('details that do not decode do not hide the error', async (t) => {
  const broken = refusal('NOT_FOUND', 'SESSION_NOT_FOUND', { message: 'no such session' });
  broken.metadata.set('grpc-status-details-bin', Buffer.from([0xff, 0xff, 0xff]));
  const getSession = (/** @type {any} */ _, /** @type {any} */ answer) => answer(broken);
  const { client } = await peer(t, { SessionService: { getSession } });
  const error = await failure(client.sessions.get('s'));
  assert.ok(error instanceof NotFound);
  assert.deepEqual([error.message, error.reason], ['no such session', '']);
});

test('calls end with their signal, their deadline and their client', async (t) => {
  const { client } = await peer(t, { SessionService: { getSession: () => {} } });
  await assert.rejects(client.sessions.get('s', { timeoutSeconds: 0.1 }), Unavailable);
  await assert.rejects(client.sessions.get('s', { signal: AbortSignal.timeout(50) }), { name: 'TimeoutError' });
  await assert.rejects(client.sessions.get('s', { signal: AbortSignal.abort() }), { name: 'AbortError' });
  setTimeout(() => client.close(), 50);
  await assert.rejects(client.sessions.get('s'), Cancelled);
});

test('after its end a client says that it was closed, and does nothing', async (t) => {
  const home = temporary(t);
  fs.mkdirSync(`${home}/p`);
  fs.writeFileSync(`${home}/p/f`, 'x');
  const { client } = await peer(t, { SessionService: { getSession: () => {} } });
  client.close();
  let ended = false;
  const context = { addCookies: async () => {}, storageState: async () => ({}), close: async () => void (ended = true), browser: () => null };
  const browserType = { name: () => 'firefox', launchPersistentContext: async () => context };
  for (const call of [
    () => client.sessions.get('s'),
    () => client.sessions.list().next(),
    () => client.snapshots('s').next(),
    () => client.serverInfo(),
    () => client.saveStatus('s', 'u'),
    () => client.save('s', `${home}/p`),
    () => client.load('s', `${home}/q`),
    () => client.mount('s', { root: `${home}/root` }),
    async () => client.watch(),
    () => openContext(client, 's', browserType, `${home}/q`),
    () => saveContext(client, 's', context, `${home}/p`),
  ]) {
    const error = await failure(Promise.resolve().then(/** @type {() => any} */ (call)));
    assert.ok(error instanceof LocalError && error.reason === 'CLOSED', error.stack);
    assert.equal(error.message, 'the client was closed: make a new one');
  }
  assert.deepEqual([fs.readdirSync(home), fs.readdirSync(`${home}/p`), ended], [['p'], ['f'], false]);
});

test('a token goes out as such, and never in the clear to another host', async (t) => {
  /** @type {any[]} */
  const seen = [];
  const getSession = (/** @type {any} */ { metadata, request }, /** @type {any} */ answer) => {
    seen.push([metadata.get('authorization'), request.namespace]);
    answer(null, { session, revision: '1' });
  };
  const { client } = await peer(t, { SessionService: { getSession } }, { client: { token: 'secret', namespace: 'team' } });
  await client.sessions.get('s');
  assert.deepEqual(seen, [[['Bearer secret'], 'team']]);
  assert.throws(
    () => new Client('cloakroom.example:7700', { token: 'secret' }),
    (error) => error instanceof Invalid && !error.message.includes('secret'),
  );
  for (const target of ['localhost:1', 'dns:///localhost:1', '[::1]:1', 'unix:/tmp/x']) new Client(target, { token: 'secret' }).close();
});

test('TLS, with a client certificate', async (t) => {
  const { cert, key } = certificate(temporary(t), 'daemon.test');
  const credentials = ServerCredentials.createSsl(cert, [{ private_key: key, cert_chain: cert }], true);
  const getSession = (/** @type {any} */ _, /** @type {any} */ answer) => answer(null, { session, revision: '1' });
  const tls = { ca: cert, cert, key, serverName: 'daemon.test' };
  const { client, target } = await peer(t, { SessionService: { getSession } }, { credentials, client: { tls, token: 'secret' } });
  assert.equal((await client.sessions.get('s')).id, 's');
  const stranger = new Client(target, { tls: { ca: cert, serverName: 'other.test' } });
  t.after(() => stranger.close());
  await assert.rejects(stranger.sessions.get('s', { timeoutSeconds: 2 }), Unavailable);
  assert.throws(() => new Client(target, { tls: { cert } }), Invalid);
});
