// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file The page of scenarios that all clients share. */

import fs from 'node:fs';

/** @returns {[title: string, names: string[]][]} its sections, and the scenarios in each */
export function parts() {
  const page = fs.readFileSync(new URL('../../scenarios.md', import.meta.url), 'utf8');
  const sections = page.split(/^## /m).slice(1);
  return sections.map((text) => [text.slice(0, text.indexOf('\n')), [...text.matchAll(/^- `([a-z0-9-]+)`:/gm)].map(([, name]) => name)]);
}
