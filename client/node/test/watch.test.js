// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { backoff } from '../src/backoff.js';
import { Invalid } from '../src/errors.js';
import { peer, refusal } from '../support/peer.js';

const opened = (/** @type {string} */ token, nanos = 0) => ({
  event: 'opened',
  opened: { revision: 1, bookmarkInterval: { seconds: nanos ? 0 : 5, nanos } },
  resumeToken: Buffer.from(token),
});
const bookmark = (/** @type {string} */ token) => ({ event: 'bookmark', bookmark: { revision: 2 }, resumeToken: Buffer.from(token) });
const batch = (/** @type {string} */ token, /** @type {any[]} */ ...changes) => ({
  event: 'batch',
  batch: { changes },
  resumeToken: Buffer.from(token),
});
const created = (/** @type {string} */ sessionId) => ({ kind: 'CHANGE_KIND_SESSION_CREATED', revision: 7, sessionId });

/**
 * A server whose nth watch is answered by the nth script.
 *
 * @param {{ after(fn: () => void): void }} t
 * @param {((call: any) => void)[]} scripts the last one is repeated
 */
async function scripted(t, ...scripts) {
  /** @type {any[]} */
  const requests = [];
  const watchInvalidations = (/** @type {any} */ call) => {
    const request = call.request;
    requests.push({
      start: request.start,
      token: request.resumeToken?.toString(),
      after: request.afterRevision,
      selectors: request.selectors,
      at: Date.now(),
    });
    scripts[Math.min(requests.length, scripts.length) - 1](call);
  };
  const { client } = await peer(t, { InvalidationService: { watchInvalidations } });
  return { client, requests };
}

test('a token counts only when the next event was asked for', async (t) => {
  const { client, requests } = await scripted(t, (call) => {
    for (const message of [opened('one'), batch('two', created('s')), batch('three', created('s'))]) call.write(message);
  });
  const watch = client.watch();
  for await (const event of watch) {
    if (event.kind === 'opened') assert.equal(watch.resumeToken, undefined);
    if (event.kind === 'changes') {
      assert.equal(watch.resumeToken?.toString(), 'one');
      assert.equal(event.resumeToken.toString(), 'two');
      break;
    }
  }
  assert.equal(watch.resumeToken?.toString(), 'one');
  for await (const event of watch) {
    assert.equal(event.kind, 'opened');
    break;
  }
  assert.deepEqual(
    requests.map(({ start, token }) => [start, token]),
    [
      [undefined, undefined],
      ['resumeToken', 'one'],
    ],
  );
});

test('a broken connection is resumed after the last event that was applied', async (t) => {
  const { client, requests } = await scripted(
    t,
    (call) => {
      call.write(opened('one'));
      call.write(batch('two', created('a')));
      setTimeout(() => call.emit('error', refusal('UNAVAILABLE', 'SHUTTING_DOWN')), 50);
    },
    (call) => {
      call.write(opened('three'));
      call.write(batch('four', created('b')));
    },
  );
  const heard = [];
  for await (const event of client.watch({ afterRevision: 41 })) {
    if (event.kind === 'changes') heard.push(...event.changes.map(({ kind, sessionId, revision }) => `${kind} ${sessionId} ${revision}`));
    if (heard.length === 2) break;
  }
  assert.deepEqual(heard, ['SESSION_CREATED a 7', 'SESSION_CREATED b 7']);
  assert.deepEqual(
    requests.map(({ start, token, after }) => [start, token ?? after]),
    [
      ['afterRevision', '41'],
      ['resumeToken', 'two'],
    ],
  );
});

test('what a watch goes on from counts until more than its opening was heard', async (t) => {
  const reset = {
    event: 'reset',
    reset: { reason: 'REASON_HISTORY_CHANGED', revision: 9, spread: { seconds: 0, nanos: 0 } },
    resumeToken: Buffer.from('anew'),
  };
  const breaks = (/** @type {any} */ call) => {
    call.write(opened('after the reset'));
    setTimeout(() => call.emit('error', refusal('UNAVAILABLE', 'SHUTTING_DOWN')), 50);
  };
  for (const [start, first] of /** @type {[any, string][]} */ ([
    [{ resumeToken: Buffer.from('of before') }, 'of before'],
    [{ afterRevision: 41 }, '41'],
  ])) {
    const { client, requests } = await scripted(
      t,
      breaks,
      (call) => [opened('after the reset'), reset].forEach((message) => call.write(message)),
      (call) => call.write(opened('x')),
    );
    const watch = client.watch(start);
    const heard = [];
    for await (const { kind, resumeToken } of watch) {
      heard.push(`${kind} ${resumeToken}`);
      if (kind === 'reset') break;
    }
    const token = start.resumeToken ?? 'after the reset';
    assert.deepEqual(heard, [`opened ${token}`, `opened ${token}`, 'reset anew']);
    assert.deepEqual(
      requests.map(({ token: given, after }) => given ?? after),
      [first, first],
    );
    assert.equal(watch.resumeToken?.toString(), start.resumeToken?.toString(), 'the reset was not yet applied');
  }
});

test('three silent intervals end a stream', async (t) => {
  const { client, requests } = await scripted(t, (call) => call.write(opened(`token ${Date.now()}`, 100_000_000)));
  let count = 0;
  for await (const event of client.watch()) {
    assert.equal(event.kind, 'opened');
    if (++count === 3) break;
  }
  for (const at of [1, 2]) assert.ok(requests[at].at - requests[at - 1].at >= 290, 'not before three intervals of 100 ms have passed');
});

test('the time that the caller takes is not silence', async (t) => {
  const { client, requests } = await scripted(t, (call) => {
    call.write(opened('one', 300_000_000));
    const timer = setInterval(() => call.write(bookmark('two')), 300);
    call.on('cancelled', () => clearInterval(timer));
  });
  let count = 0;
  for await (const event of client.watch()) {
    if (event.kind === 'opened') await sleep(2000);
    if (++count === 5) break;
  }
  assert.equal(requests.length, 1);
});

test('a draining daemon is left alone for as long as it asks', async (t) => {
  const { client, requests } = await scripted(
    t,
    (call) => {
      call.write(opened('one'));
      call.write({ event: 'draining', draining: { retryAfter: { seconds: 0, nanos: 400_000_000 } }, resumeToken: Buffer.from('two') });
    },
    (call) => call.write(opened('three')),
  );
  const kinds = [];
  for await (const event of client.watch()) {
    kinds.push(event.kind);
    if (kinds.length === 2) break;
  }
  assert.deepEqual(kinds, ['opened', 'opened']);
  assert.equal(requests[1].token, 'two');
  assert.ok(requests[1].at - requests[0].at >= 400);
});

test('a reset reaches the caller with its reason and spread', async (t) => {
  const { client } = await scripted(t, (call) => {
    call.write(opened('one'));
    call.write({
      event: 'reset',
      reset: { reason: 'REASON_HISTORY_CHANGED', revision: 9, spread: { seconds: 1, nanos: 500_000_000 } },
      resumeToken: Buffer.from('two'),
    });
  });
  for await (const event of client.watch()) {
    if (event.kind === 'opened') continue;
    assert.deepEqual(event, { kind: 'reset', reason: 'HISTORY_CHANGED', revision: 9, spreadSeconds: 1.5, resumeToken: Buffer.from('two') });
    break;
  }
});

test('what a newer daemon says is a reason to read anew', async (t) => {
  const { client } = await scripted(t, (call) => {
    call.write(opened('one'));
    call.write(batch('two', created('s'), { kind: 99, revision: 12, sessionId: 's' }));
    call.write({ resumeToken: Buffer.from('three') });
  });
  const resets = [];
  for await (const event of client.watch()) {
    if (event.kind === 'opened') continue;
    resets.push(event);
    if (resets.length === 2) break;
  }
  assert.deepEqual(
    resets.map((event) => event.kind === 'reset' && [event.reason, event.revision, event.spreadSeconds, event.resumeToken.toString()]),
    [
      ['UNKNOWN_CHANGE', 12, 0, 'two'],
      ['UNKNOWN_CHANGE', 0, 0, 'three'],
    ],
  );
});

test('what is wrong with the call itself is not tried again', async (t) => {
  const { client, requests } = await scripted(t, (call) => call.emit('error', refusal('INVALID_ARGUMENT', 'INVALID_RESUME_TOKEN')));
  await assert.rejects(
    client
      .watch({ resumeToken: Buffer.from('junk') })
      [Symbol.asyncIterator]()
      .next(),
    (error) => error instanceof Invalid && error.reason === 'INVALID_RESUME_TOKEN',
  );
  assert.equal(requests.length, 1);
});

test('a signal ends a watch, and so does closing its client', async (t) => {
  const { client } = await scripted(t, (call) => call.write(opened('one')));
  const stop = new AbortController();
  const kinds = [];
  for await (const { kind } of client.watch({ signal: stop.signal })) {
    kinds.push(kind);
    setTimeout(() => stop.abort(), 20);
  }
  for await (const { kind } of client.watch()) {
    kinds.push(kind);
    setTimeout(() => client.close(), 20);
  }
  assert.deepEqual(kinds, ['opened', 'opened']);
});

test('selectors travel', async (t) => {
  const { client, requests } = await scripted(t, (call) => call.write(opened('one')));
  for await (const _ of client.watch({ selectors: [{ businessId: 'b', kinds: ['PROFILE_SAVED'] }, { email: 'e@example.com' }] })) break;
  assert.deepEqual(requests[0].selectors, [
    { sessionId: '', businessId: 'b', email: '', kinds: ['CHANGE_KIND_PROFILE_SAVED'] },
    { sessionId: '', businessId: '', email: 'e@example.com', kinds: [] },
  ]);
});

test('a kind that does not exist is refused, and does not widen the watch', async (t) => {
  const { client } = await scripted(t, (call) => call.write(opened('one')));
  assert.throws(() => client.watch({ selectors: [{ kinds: [/** @type {any} */ ('PROFILE_EATEN')] }] }), /PROFILE_EATEN.*PROFILE_SAVED/);
});

test('pauses grow, are spread over all of their length, and never fall below what was asked for', () => {
  const most = (/** @type {number} */ attempt) => backoff(attempt, 0, () => 1);
  assert.deepEqual([1, 2, 3, 6, 60].map(most), [200, 400, 800, 5000, 5000]);
  assert.equal(
    backoff(5, 0, () => 0),
    0,
  );
  assert.equal(
    backoff(1, 3, () => 0),
    3000,
  );
});
