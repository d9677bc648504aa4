// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file A disk that is full, or a process that is killed, at a given step of what the client does to the file system. */

import fs from 'node:fs';

/** What changes the file system, and of that what needs room. */
const ROOMY = /** @type {const} */ ([
  'mkdirSync',
  'mkdtempSync',
  'openSync',
  'writeSync',
  'writeFileSync',
  'linkSync',
  'copyFileSync',
  'symlinkSync',
]);
const STEPS = /** @type {const} */ ([...ROOMY, 'renameSync', 'chmodSync', 'utimesSync', 'rmSync']);

/** @returns {Error} as Node makes it of a full disk */
export function full() {
  return Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC', errno: -28 });
}

/**
 * Counts the steps of this process from here on, and lets something happen before some of them.
 *
 * @param {(step: number, needsRoom: boolean) => void} happens before each step, from 1; may throw
 * @returns {() => void} puts everything back as it was
 */
export function interfere(happens) {
  const system = /** @type {any} */ (fs);
  const originals = STEPS.map((name) => /** @type {const} */ ([name, system[name]]));
  let step = 0;
  for (const [name, original] of originals) {
    system[name] = (/** @type {any[]} */ ...args) => {
      const reads = name === 'openSync' && !(Number(args[1]) & fs.constants.O_CREAT);
      if (!reads)
        happens(
          ++step,
          ROOMY.some((one) => one === name),
        );
      return original(...args);
    };
  }
  return () => {
    for (const [name, original] of originals) system[name] = original;
  };
}

// As a program: `faults.js TARGET SESSION DIRECTORY STEP` loads a session in the place of a directory and is killed before a step. It prints `done` if there are fewer.
if (process.argv[1] === import.meta.filename) {
  const { Client } = await import('../src/index.js');
  const [target, session, directory, last] = process.argv.slice(2);
  const client = new Client(target);
  await client.serverInfo();
  const restore = interfere((step) => {
    if (step === Number(last)) process.kill(process.pid, 'SIGKILL');
  });
  await client.load(session, directory, { replace: true });
  restore();
  client.close();
  console.log('done');
}
