// A worker in another language: loads a session's profile into a directory of its own, opens the site, says what it finds there, and saves what changed.

import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';

// Playwright stands beside the tests, not beside this client's users.
const require = createRequire(`${process.env.CLOAKROOM_TEST_NODE_PATH}/`);
const { chromium } = require('playwright-core');
const { Client, helpers } = await load();

async function load() {
  const root = new URL('../../client/node/src/', import.meta.url);
  return { Client: (await import(new URL('index.js', root))).Client, helpers: await import(new URL('playwright.js', root)) };
}

/** What keeps Chromium quiet on a machine without a network, and lets root start it. */
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

const string = { type: 'string' };
const { values: options } = parseArgs({ options: { target: string, session: string, site: string, profile: string, chromium: string } });

const client = new Client(options.target);
const context = await helpers.openContext(client, options.session, chromium, options.profile, {
  executablePath: options.chromium,
  headless: true,
  args: FLAGS,
});
const page = context.pages()[0] ?? (await context.newPage());
await page.goto(options.site);
const state = JSON.parse(await page.innerText('#state[data-ready]'));
const saved = await helpers.saveContext(client, options.session, context, options.profile);
client.close();
console.log(JSON.stringify({ state, snapshot: saved.snapshot.id, parent: saved.snapshot.parentSnapshotId, revision: saved.revision }));
