// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file A site to log in to, with every kind of state that a login leaves in a browser. */

import { existsSync } from 'node:fs';
import http from 'node:http';

const page = `<!doctype html><title>site</title><script>
  const database = () => new Promise((resolve, reject) => {
    const opening = indexedDB.open('login', 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore('keys');
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
  const wait = (request) => new Promise((resolve, reject) => { request.onsuccess = () => resolve(request.result); request.onerror = () => reject(request.error); });
  async function login(name) {
    await fetch('/login?name=' + name, { method: 'POST' });
    localStorage.setItem('name', name);
    const db = await database();
    const change = db.transaction('keys', 'readwrite');
    change.objectStore('keys').put({ name, key: new Uint8Array([1, 2, 3]) }, 'login');
    await new Promise((resolve) => { change.oncomplete = resolve; });
    db.close();
  }
  async function state() {
    const cookies = await (await fetch('/cookies')).json();
    const db = await database();
    const record = await wait(db.transaction('keys').objectStore('keys').get('login'));
    db.close();
    return { cookies, local: localStorage.getItem('name'), indexed: record?.name ?? null };
  }
</script>`;

/**
 * @param {{ after(fn: () => void): void }} t
 * @returns {Promise<string>} where it is
 */
export async function site(t) {
  const server = http.createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://site');
    if (url.pathname === '/login') {
      const name = url.searchParams.get('name');
      response.setHeader('set-cookie', [`persistent=${name}; Max-Age=86400; HttpOnly; Path=/`, `session=${name}; HttpOnly; Path=/`]);
      response.end();
    } else if (url.pathname === '/greeting') {
      // A login without a form: it happens by coming here with a name. The title says who comes.
      const name = url.searchParams.get('name');
      if (name) response.setHeader('set-cookie', [`persistent=${name}; Max-Age=86400; HttpOnly; Path=/`, `session=${name}; HttpOnly; Path=/`]);
      response.setHeader('content-type', 'text/html');
      response.end(`<!doctype html><title>${name ? 'hello' : (request.headers.cookie ?? 'a stranger')}</title>`);
    } else if (url.pathname === '/cookies') {
      response.end(
        JSON.stringify(
          Object.fromEntries(
            (request.headers.cookie ?? '')
              .split('; ')
              .filter(Boolean)
              .map((pair) => pair.split('=')),
          ),
        ),
      );
    } else {
      response.setHeader('content-type', 'text/html');
      response.end(page);
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (server.address()).port}/`;
}

const found = [process.env.CLOAKROOM_TEST_CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(
  (path) => path && existsSync(path),
);

/** How tests start Chromium: the system's, or the one that CLOAKROOM_TEST_CHROMIUM names. */
export const launch = {
  executablePath: found,
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
};
