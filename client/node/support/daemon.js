// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file A real `cloakroomd` for tests. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after } from 'node:test';

import { Client } from '../src/index.js';

const READY_MS = 30_000;

/** A daemon on a data directory of its own, which survives being killed. */
export class Daemon {
  constructor() {
    this.directory = fs.mkdtempSync(path.join(os.tmpdir(), 'cloakroomd-'));
    /** @type {import('node:child_process').ChildProcess | undefined} */
    this.process = undefined;
    this.target = '127.0.0.1:0';
    this.http = '';
    this.log = '';
  }

  /** Starts it, a second time on the port that it had. */
  async start() {
    const binary = process.env.CLOAKROOM_TEST_DAEMON;
    if (!binary) throw new Error('CLOAKROOM_TEST_DAEMON is not set: it names the cloakroomd to test against');
    const args = ['--data-dir', this.directory, '--listen', this.target, '--http-listen', '127.0.0.1:0'];
    const running = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.process = running;
    running.stderr.on('data', (data) => (this.log += data));
    /** @type {string} */
    const line = await new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`cloakroomd was not ready in time: ${this.log}`)), READY_MS);
      running.on('error', reject);
      running.on('exit', (code, signal) => reject(new Error(`cloakroomd ended with ${code ?? signal}: ${this.log}`)));
      createInterface({ input: running.stdout }).on('line', (said) => {
        if (!said.startsWith('cloakroomd ready ')) return;
        clearTimeout(late);
        resolve(said);
      });
    });
    [, this.target, this.http] = /grpc=(\S+) http=(\S+)/.exec(line) ?? assertNever(line);
    return this;
  }

  /** @param {NodeJS.Signals} [signal] */
  async stop(signal = 'SIGTERM') {
    const running = this.process;
    if (!running || running.exitCode !== null || running.signalCode !== null) return;
    running.kill(signal);
    await once(running, 'exit');
  }

  /** Ends it, and removes what it kept. */
  async remove() {
    await this.stop('SIGKILL');
    fs.rmSync(this.directory, { recursive: true, force: true });
  }
}

/**
 * @param {string} line
 * @returns {never}
 */
function assertNever(line) {
  throw new Error(`cloakroomd's first line has no addresses: ${line}`);
}

/** @returns {Promise<string>} an address on which nothing listens */
export async function nowhere() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = /** @type {net.AddressInfo} */ (server.address());
  server.close();
  await once(server, 'close');
  return `127.0.0.1:${port}`;
}

/**
 * A client, and what is where its daemon should be: something that hears whether a connection is made, and says nothing.
 *
 * @param {{ after(fn: () => void): void }} t
 * @returns {Promise<{ lonely: Client, heard: () => number }>} `heard`: how many connections there were
 */
export async function unheard(t) {
  let connections = 0;
  const server = net.createServer((socket) => {
    connections++;
    socket.destroy();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = /** @type {net.AddressInfo} */ (server.address());
  const lonely = new Client(`127.0.0.1:${port}`, { patienceSeconds: 0.5, timeoutSeconds: 2 });
  t.after(() => {
    lonely.close();
    server.close();
  });
  return { lonely, heard: () => connections };
}

/**
 * A daemon that serves all tests of a file, and a client of it; both end with the file's last test.
 *
 * @returns {Promise<{ daemon: Daemon, client: Client }>}
 */
export async function served() {
  const daemon = new Daemon();
  try {
    await daemon.start();
  } catch (error) {
    await daemon.remove();
    throw error;
  }
  const client = new Client(daemon.target);
  after(async () => {
    client.close();
    await daemon.remove();
  });
  return { daemon, client };
}
