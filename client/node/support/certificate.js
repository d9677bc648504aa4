// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';

/**
 * A certificate that vouches for itself.
 *
 * @param {string} directory
 * @param {string} name the host that it is for
 * @returns {{ cert: Buffer, key: Buffer }}
 */
export function certificate(directory, name) {
  const files = ['-keyout', `${directory}/key`, '-out', `${directory}/cert`];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  execFileSync('openssl', ['req', '-x509', ...kind, '-subj', `/CN=${name}`, '-addext', `subjectAltName=DNS:${name}`, ...files], { stdio: 'ignore' });
  return { cert: fs.readFileSync(`${directory}/cert`), key: fs.readFileSync(`${directory}/key`) };
}
