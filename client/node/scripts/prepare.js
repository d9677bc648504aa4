// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/**
 * @file What npm runs before it packs or links this package. It copies what all clients share into the package, and, when npm only links to a checkout, installs
 * what this package depends on: npm leaves that to whoever owns the linked directory.
 */

import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('..', import.meta.url));
const checkout = fileURLToPath(new URL('../../..', import.meta.url));
const shared = `${here}shared`;

/** @returns {boolean} whether what this package depends on can be found from here */
function complete() {
  const { resolve } = createRequire(import.meta.url);
  try {
    return Boolean(resolve('@grpc/grpc-js') && resolve('@grpc/proto-loader'));
  } catch {
    return false;
  }
}

if (existsSync(`${checkout}client/capture.json`)) {
  rmSync(shared, { recursive: true, force: true });
  mkdirSync(shared);
  cpSync(`${checkout}proto/cloakroom`, `${shared}/proto/cloakroom`, { recursive: true });
  cpSync(`${checkout}proto/service_config.json`, `${shared}/service_config.json`);
  cpSync(`${checkout}client/capture.json`, `${shared}/capture.json`);
}

const { npm_command: command = '', npm_config_install_links: copied } = process.env;
if (['install', 'ci', 'link', 'rebuild'].includes(command) && copied !== 'true' && !complete()) {
  // The outer npm's settings, such as where it installs to, are not for this one.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^npm_(config_(local_prefix|global|global_prefix|prefix)|command|package_|lifecycle_)/i.test(name),
    ),
  );
  const { status } = spawnSync('npm', ['ci', '--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: here, env, stdio: 'inherit' });
  if (status !== 0) {
    console.error(
      `cloakroom-client: its dependencies could not be installed; run "npm ci" in ${here}, or install it with "npm install --install-links ${here}"`,
    );
    process.exitCode = 1;
  }
}
