// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { temporary } from '../support/trees.js';

const here = fileURLToPath(new URL('..', import.meta.url));
const root = fileURLToPath(new URL('../../..', import.meta.url));

/**
 * A checkout as a user has it: what is under version control, and nothing installed.
 *
 * @param {string} directory
 */
function checkout(directory) {
  const files = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard', 'proto', 'client/capture.json', 'client/node'], {
    cwd: root,
    encoding: 'utf8',
  });
  for (const file of files.split('\0').filter(Boolean)) {
    fs.mkdirSync(path.dirname(`${directory}/${file}`), { recursive: true });
    fs.cpSync(`${root}/${file}`, `${directory}/${file}`);
  }
}

/**
 * @param {string} cwd
 * @param {string[]} args
 * @returns {string}
 */
function npm(cwd, ...args) {
  // A test that npm runs has the outer npm's settings in its environment.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name)));
  return execFileSync('npm', [...args, '--prefer-offline', '--no-audit', '--no-fund'], {
    cwd,
    env,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/**
 * Uses the package as a program would: from an import of its name, down to a call that needs the contract, the retry policy and the capture rules.
 *
 * @param {string} app
 */
function use(app) {
  fs.writeFileSync(
    `${app}/use.mjs`,
    `import { Client, Unavailable } from 'cloakroom-client';
     import { PORTABLE_FLAGS } from 'cloakroom-client/playwright';
     const client = new Client('127.0.0.1:1');
     const error = await client.sessions.get('s', { timeoutSeconds: 0.2 }).catch((error) => error);
     await client.save('s', '.', { policy: 'none' }).catch((error) => console.log(error.reason));
     console.log(error instanceof Unavailable, PORTABLE_FLAGS.length);
     client.close();`,
  );
  assert.equal(execFileSync(process.execPath, ['use.mjs'], { cwd: app, encoding: 'utf8' }), 'CAPTURE_RULE\ntrue 3\n');
}

/**
 * @param {string} directory made here
 * @returns {string}
 */
function project(directory) {
  fs.mkdirSync(directory);
  fs.writeFileSync(`${directory}/package.json`, '{ "name": "app", "private": true, "type": "module" }');
  return directory;
}

test('linked from a checkout elsewhere', (t) => {
  const directory = temporary(t);
  checkout(`${directory}/checkout`);
  const app = project(`${directory}/app`);
  npm(app, 'install', '../checkout/client/node');
  assert.ok(fs.lstatSync(`${app}/node_modules/cloakroom-client`).isSymbolicLink());
  use(app);
  // The checkout's own contract counts, not the copy that was made for packing.
  fs.rmSync(`${directory}/checkout/client/node/shared`, { recursive: true });
  use(app);
});

test('linked from the checkout that it is used in', (t) => {
  const directory = temporary(t);
  checkout(`${directory}/checkout`);
  npm(`${directory}/checkout`, 'install', './client/node');
  use(`${directory}/checkout`);
});

test('copied from a checkout', (t) => {
  const directory = temporary(t);
  checkout(`${directory}/checkout`);
  const app = project(`${directory}/app`);
  npm(app, 'install', '--install-links', '../checkout/client/node');
  fs.rmSync(`${directory}/checkout`, { recursive: true });
  use(app);
});

test('packed, with types that a strict program compiles against', (t) => {
  const directory = temporary(t);
  checkout(`${directory}/checkout`);
  const packed = npm(`${directory}/checkout/client/node`, 'pack', '--pack-destination', directory).trim().split('\n').at(-1);
  fs.rmSync(`${directory}/checkout`, { recursive: true });
  const app = project(`${directory}/app`);
  npm(app, 'install', `../${packed}`);
  use(app);
  const installed = `${app}/node_modules/cloakroom-client`;
  for (const file of [
    'README.md',
    'shared/capture.json',
    'shared/service_config.json',
    'shared/proto/cloakroom/v1/profile.proto',
    'types/index.d.ts',
  ]) {
    assert.ok(fs.existsSync(`${installed}/${file}`), file);
  }
  assert.equal(fs.existsSync(`${installed}/test`), false);
  fs.writeFileSync(
    `${app}/use.ts`,
    `import { Client, ParentNotHead, type Mount, type Saved, type Selector, type Session, type Snapshot, type Warning, type WatchEvent } from 'cloakroom-client';
     import { openContext, saveContext } from 'cloakroom-client/playwright';
     const client = new Client('127.0.0.1:7700', { namespace: 'n', tls: { ca: 'pem' }, patienceSeconds: 5 });
     const session: Session = await client.sessions.create({ businessId: 'b', ttlSeconds: 3600 });
     const expires: Date | undefined = session.expireTime;
     for await (const one of client.sessions.list({ states: ['ACTIVE'] })) console.log(one.id.length, expires);
     const { snapshot }: { snapshot: Snapshot } = await client.save(session.id, 'profile', { policy: 'lean', progress: ({ done, total }) => done / total });
     for await (const event of client.watch({ selectors: [{ businessId: 'b' }] })) {
       const seen: WatchEvent = event;
       if (seen.kind === 'changes') console.log(seen.changes[0].snapshotId === snapshot.id);
       if (event.kind === 'reset') console.log(event.spreadSeconds.toFixed(1));
     }
     class Page { title() { return 'x'; } }
     declare const chromium: { name(): string; launchPersistentContext(directory: string, options?: { headless?: boolean }): Promise<{
       pages(): Page[]; addCookies(cookies: ReadonlyArray<{ name: string; value: string }>): Promise<void>;
       storageState(options?: { indexedDB?: boolean }): Promise<{ cookies: { name: string; value: string; expires: number }[]; origins: {}[] }>;
       close(): Promise<void>; browser(): { version(): string } | null }> };
     const context = await openContext(client, session.id, chromium, 'profile', { headless: true });
     const title: string = context.pages()[0].title();
     try { const { warnings }: Saved = await saveContext(client, session.id, context, 'profile'); const codes = warnings.map(({ code }: Warning) => code); console.log(codes); } catch (error) { if (error instanceof ParentNotHead) console.log(error.metadata.head, title); }
     {
       await using mount: Mount = await client.mount(session.id, { root: 'mounts', minRevision: snapshot.revision });
       const mounted = await mount.openContext(chromium, { headless: true });
       console.log(mounted.pages()[0].title(), mount.snapshot?.id, (await mount.saveContext(mounted, { policy: 'lean' })).snapshot.id);
       // @ts-expect-error not an option of the browser
       await mount.openContext(chromium, { headles: true });
     }
     console.log((await client.pruneMounts({ olderThanSeconds: 60 })).bytes);
     // @ts-expect-error a state that does not exist
     await client.sessions.transition(session.id, 'SLEEPING');
     // @ts-expect-error a kind that does not exist
     const selector: Selector = { kinds: ['PROFILE_EATEN'] };
     console.log(selector);
     // @ts-expect-error a policy that does not exist
     await client.save(session.id, 'profile', { policy: 'some' });`,
  );
  const strict = ['--noEmit', '--strict', '--target', 'es2023', '--lib', 'es2023,esnext.disposable', '--module', 'nodenext', 'use.ts'];
  // The compiler that this package is written with, and the newest.
  for (const modules of [`${here}/node_modules`, process.env.CLOAKROOM_TEST_NODE_PATH ?? `${root}/tests/node_modules`]) {
    const compiled = execFileSync(process.execPath, [`${modules}/typescript/bin/tsc`, ...strict], { cwd: app, encoding: 'utf8' });
    assert.equal(compiled, '');
  }
});

test('the types that are shipped are those of the sources', (t) => {
  const directory = temporary(t);
  execFileSync(process.execPath, [`${here}/node_modules/typescript/bin/tsc`, '-p', `${here}/tsconfig.types.json`, '--outDir', directory]);
  const names = fs.readdirSync(directory).sort();
  assert.deepEqual(fs.readdirSync(`${here}/types`).sort(), names);
  for (const name of names)
    assert.equal(
      fs.readFileSync(`${here}/types/${name}`, 'utf8'),
      fs.readFileSync(`${directory}/${name}`, 'utf8'),
      `${name} is stale: run "npm run types"`,
    );
});

test('the sources and tests pass the type checker', () => {
  assert.equal(execFileSync(process.execPath, [`${here}/node_modules/typescript/bin/tsc`, '-p', here], { encoding: 'utf8' }), '');
});

test('the profile client stays within 300 lines, and the package within two dependencies', () => {
  assert.ok(fs.readFileSync(`${here}/src/profiles.js`, 'utf8').split('\n').length <= 300);
  const { dependencies } = JSON.parse(fs.readFileSync(`${here}/package.json`, 'utf8'));
  assert.deepEqual(Object.keys(dependencies), ['@grpc/grpc-js', '@grpc/proto-loader']);
  assert.doesNotMatch(fs.readFileSync(`${here}/package-lock.json`, 'utf8'), /"resolved": "http/);
});
