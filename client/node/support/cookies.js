// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';

const MAKE = `
import json, sqlite3, sys
file, cookies = sys.argv[1], json.loads(sys.argv[2])
database = sqlite3.connect(file)
database.execute("CREATE TABLE cookies(host_key TEXT, name TEXT, value TEXT, encrypted_value BLOB, path TEXT, expires_utc INTEGER, last_access_utc INTEGER)")
for name, value in cookies.items():
    database.execute("INSERT INTO cookies VALUES('login.test', ?, '', ?, '/', 5, random())", (name, value.encode()))
database.commit()
database.close()
`;

/**
 * A cookie database as Chromium would leave it. This Node has no SQLite, and Python has.
 *
 * @param {string} directory where there is room for a moment
 * @param {Record<string, string>} cookies of one host, their values by name
 * @returns {Buffer}
 */
export function cookies(directory, cookies) {
  const file = `${directory}/made.sqlite`;
  execFileSync(process.env.CLOAKROOM_TEST_PYTHON ?? 'python3', ['-c', MAKE, file, JSON.stringify(cookies)]);
  const bytes = fs.readFileSync(file);
  fs.rmSync(file);
  return bytes;
}
