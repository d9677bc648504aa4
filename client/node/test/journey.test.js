// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file The README's quickstart, run as it stands there but for addresses, and a second worker that goes on from it. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { Daemon } from '../support/daemon.js';
import { launch, site } from '../support/site.js';
import { temporary } from '../support/trees.js';

const here = fileURLToPath(new URL('..', import.meta.url));

/**
 * Runs a program as a project of its own would, in a process of its own.
 *
 * @param {string} directory
 * @param {string} source
 * @returns {Promise<string>} what it printed
 */
async function run(directory, source) {
  fs.mkdirSync(`${directory}/node_modules`, { recursive: true });
  for (const [name, path] of [
    ['cloakroom-client', here],
    ['playwright-core', `${here}/node_modules/playwright-core`],
  ]) {
    fs.symlinkSync(path, `${directory}/node_modules/${name}`);
  }
  fs.writeFileSync(`${directory}/program.mjs`, source);
  const { stdout } = await promisify(execFile)(process.execPath, ['program.mjs'], { cwd: directory, timeout: 60_000 });
  return stdout;
}

/**
 * @param {string} source
 * @param {[string, string][]} changes each must be in the source
 */
function adapt(source, ...changes) {
  for (const [from, to] of changes) {
    assert.ok(source.includes(from), `the quickstart no longer says ${from}`);
    source = source.replaceAll(from, to);
  }
  return source;
}

test('the quickstart works, and another worker is logged in after it', async (t) => {
  const daemon = new Daemon();
  t.after(() => daemon.remove());
  await daemon.start();
  const directory = temporary(t);
  const url = await site(t);
  const options = JSON.stringify(launch);
  const [, quickstart] = /## Quickstart[^]*?```js\n([^]*?)```/.exec(fs.readFileSync(`${here}/README.md`, 'utf8')) ?? [];
  const first = adapt(
    quickstart,
    ["'127.0.0.1:7700'", `'${daemon.target}'`],
    ["'playwright'", "'playwright-core'"],
    ["chromium, './profile')", `chromium, './profile', ${options})`],
    ["page.goto('https://example.com/');", `page.goto('${url}'); await page.evaluate('login("ann")');`],
  );
  assert.match(await run(`${directory}/first`, first), /^[0-9a-f]{32} \d+\n$/);

  const second = `
    import { Client } from 'cloakroom-client';
    import { openContext, saveContext } from 'cloakroom-client/playwright';
    import { chromium } from 'playwright-core';
    const client = new Client('${daemon.target}');
    const { id } = await client.sessions.active({ businessId: 'acme' });
    const context = await openContext(client, id, chromium, './elsewhere', ${options});
    const page = await context.newPage();
    await page.goto('${url}');
    const state = await page.evaluate('state()');
    const { snapshot, wireBytes } = await saveContext(client, id, context, './elsewhere');
    console.log(JSON.stringify({ state, sequence: snapshot.sequence, portability: snapshot.portability, wireBytes }));
    client.close();`;
  const { state, sequence, portability, wireBytes } = JSON.parse(await run(`${directory}/second`, second));
  assert.deepEqual(state, { cookies: { persistent: 'ann', session: 'ann' }, local: 'ann', indexed: 'ann' });
  assert.equal(sequence, 2);
  assert.ok(wireBytes < 100_000, `${wireBytes} bytes after a run that did nothing`);
  assert.deepEqual([portability.brand, portability.passwordStore, portability.quiesced], ['chromium', 'basic', true]);
  assert.match(portability.browserVersion, /^\d+\.\d+/);
});
