// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file The README's programs, each run as it stands there in a new directory, against a real daemon and a real browser. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Client } from '../src/index.js';
import { Daemon } from '../support/daemon.js';
import { launch, site } from '../support/site.js';
import { temporary } from '../support/trees.js';

const here = fileURLToPath(new URL('..', import.meta.url));
const page = fs.readFileSync(`${here}/README.md`, 'utf8');
const programs = [...page.matchAll(/```js\n([^]*?)```/g)].map(([, program]) => program);

/**
 * A new directory with a program, and with what the README installs: this client, and a Playwright that starts the browser of this machine.
 *
 * @param {string} directory made here
 * @param {string} program
 */
function install(directory, program) {
  fs.mkdirSync(`${directory}/node_modules/playwright`, { recursive: true });
  fs.symlinkSync(here, `${directory}/node_modules/cloakroom-client`);
  fs.symlinkSync(`${here}/node_modules/playwright-core`, `${directory}/node_modules/playwright-core`);
  fs.writeFileSync(`${directory}/node_modules/playwright/package.json`, '{ "name": "playwright", "type": "module", "exports": "./index.js" }');
  fs.writeFileSync(
    `${directory}/node_modules/playwright/index.js`,
    `import playwright from 'playwright-core';
     const ours = ${JSON.stringify(launch)};
     const type = playwright.chromium;
     const launchPersistentContext = (directory, options) =>
       type.launchPersistentContext(directory, { ...options, ...ours, args: [...ours.args, ...(options.args ?? [])] });
     export const chromium = { name: () => type.name(), launchPersistentContext };`,
  );
  fs.writeFileSync(`${directory}/program.mjs`, program);
}

/**
 * @param {string} directory
 * @param {string} target
 * @param {string[]} args
 */
function start(directory, target, ...args) {
  const env = { ...process.env, CLOAKROOM_TARGET: target, CLOAKROOM_MOUNTS: `${path.dirname(directory)}/mounts` };
  const program = spawn(process.execPath, ['program.mjs', ...args], { cwd: directory, env, stdio: ['ignore', 'pipe', 'pipe'], timeout: 60_000 });
  /** @type {string[]} */
  const lines = [];
  createInterface({ input: program.stdout }).on('line', (line) => lines.push(line));
  let said = '';
  program.stderr.on('data', (data) => (said += data));
  const ended = once(program, 'close').then(([code]) => ({ code, said }));
  return { program, lines, ended };
}

/**
 * @param {string} directory made here
 * @param {string} source
 * @param {string} target
 * @param {string[]} args
 * @returns {Promise<string[]>} the lines that it printed
 */
async function run(directory, source, target, ...args) {
  install(directory, source);
  const { lines, ended } = start(directory, target, ...args);
  const { code, said } = await ended;
  assert.equal(said, '', 'it has nothing to complain about');
  assert.equal(code, 0);
  return lines;
}

test('the programs of the README', { timeout: 180_000 }, async (t) => {
  const daemon = new Daemon();
  t.after(() => daemon.remove());
  await daemon.start();
  const client = new Client(daemon.target);
  t.after(() => client.close());
  const directory = temporary(t);
  const url = await site(t);
  assert.equal(programs.length, 4);
  const [logIn, goOn, again, follow] = programs;

  const [saved] = await run(`${directory}/first`, logIn, daemon.target, `${url}greeting?name=ann`);
  const [, id] = /^saved snapshot [0-9a-f]{32} of session (\S+): \d+ bytes$/.exec(saved) ?? assert.fail(saved);
  const [seen] = await run(`${directory}/second`, goOn, daemon.target, `${url}greeting`);
  assert.match(seen, new RegExp(`^session ${id} sees "(persistent=ann; session=ann|session=ann; persistent=ann)"$`));
  const { sequence, portability } = await client.snapshot(id);
  assert.deepEqual([sequence, portability.brand, portability.passwordStore, portability.quiesced], [2, 'chromium', 'basic', true]);
  assert.match(portability.browserVersion, /^\d+\.\d+/);
  const next = await client.save(id, `${directory}/second/elsewhere`, { storageState: { cookies: [], origins: [] } });
  assert.deepEqual(next.warnings, []);
  assert.ok(next.wireBytes < 100_000, `${next.wireBytes} bytes after a run that did nothing`);

  const places = [];
  for (const round of ['first', 'second']) {
    const [told] = await run(`${directory}/again-${round}`, again, daemon.target, `${url}greeting`);
    const [, place] = /^session \S+ sees "persistent=ann" from (.*)$/.exec(told) ?? assert.fail(told);
    places.push(place);
  }
  assert.equal(places[0], places[1]);
  assert.ok(places[0].startsWith(`${directory}/mounts/mounts/-/${id}/`), places[0]);
  assert.equal((await client.snapshot(id)).sequence, 5);

  install(`${directory}/third`, follow);
  for (const round of ['1', '2']) {
    const { program, lines, ended } = start(`${directory}/third`, daemon.target);
    const heard = async () => {
      // Another label each time: an update that changes nothing makes no event.
      for (let at = 0; lines.length === 0 && program.exitCode === null; at++) {
        if (round === '1') await client.sessions.update(id, { labels: { at: String(at) } });
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    };
    await heard();
    while (program.exitCode === null && !fs.existsSync(`${directory}/third/watch.token`)) await new Promise((resolve) => setTimeout(resolve, 20));
    program.kill();
    assert.equal((await ended).said, '');
    if (round === '1') assert.equal(lines[0], `SESSION_UPDATED ${id}`);
    else assert.ok(lines.includes(`SESSION_TRANSITIONED ${id}`), 'what happened in between is told');
    if (round === '1') await client.sessions.transition(id, 'NEEDS_LOGIN', { reason: 'meanwhile' });
  }
});

test('the watch of the README starts over with a store that was made anew', { timeout: 60_000 }, async (t) => {
  const directory = temporary(t);
  install(directory, programs[3]);
  for (const first of [true, false]) {
    const daemon = new Daemon();
    t.after(() => daemon.remove());
    await daemon.start();
    const client = new Client(daemon.target);
    t.after(() => client.close());
    const { id } = await client.sessions.create({ businessId: 'acme' });
    const before = first ? undefined : fs.readFileSync(`${directory}/watch.token`);
    const { program, lines, ended } = start(directory, daemon.target);
    for (let at = 0; lines.length === 0 && program.exitCode === null; at++) {
      await client.sessions.update(id, { labels: { at: String(at) } });
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    while (program.exitCode === null && (!fs.existsSync(`${directory}/watch.token`) || before?.equals(fs.readFileSync(`${directory}/watch.token`))))
      await new Promise((resolve) => setTimeout(resolve, 20));
    program.kill();
    assert.equal((await ended).said, '');
    assert.equal(lines[0], `SESSION_UPDATED ${id}`);
  }
});

test('every command line of the README is there', () => {
  const { scripts } = JSON.parse(fs.readFileSync(`${here}/package.json`, 'utf8'));
  const named = [...page.matchAll(/^npm run (\S+)/gm)].map(([, name]) => name);
  assert.ok(named.length > 1);
  for (const name of named) assert.ok(scripts[name], name);
});
