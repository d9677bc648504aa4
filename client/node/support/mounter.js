// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/**
 * @file A worker with a mount: `mounter.js TARGET SESSION ROOT [NAME=TEXT…]` mounts, writes these files, prints what it has as JSON, and keeps it until its standard input
 * ends. Then it lets go without a save.
 */

import fs from 'node:fs';

import { Client } from '../src/index.js';

const [target, session, root, ...files] = process.argv.slice(2);
const client = new Client(target);
const mount = await client.mount(session, { root });
for (const [name, text] of files.map((file) => file.split('='))) fs.writeFileSync(`${mount.directory}/${name}`, text);
console.log(JSON.stringify({ directory: mount.directory, snapshotId: mount.snapshot?.id }));
for await (const _ of process.stdin);
await mount.release();
client.close();
