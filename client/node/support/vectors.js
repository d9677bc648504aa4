// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

/**
 * @param {string} name a file of `client/vectors`
 * @returns {any}
 */
export function vectors(name) {
  return JSON.parse(readFileSync(new URL(`../../vectors/${name}`, import.meta.url), 'utf8'));
}

/**
 * The bytes that a list of pieces describes.
 *
 * @param {any[]} pieces
 * @returns {Buffer}
 */
export function content(pieces) {
  return Buffer.concat(
    pieces.map((piece) => {
      if (piece.text !== undefined) return Buffer.from(piece.text);
      if (piece.zeros !== undefined) return Buffer.alloc(piece.zeros);
      const blocks = Array.from({ length: Math.ceil(piece.size / 32) }, (_, at) => createHash('sha256').update(`${piece.seed}:${at}`).digest());
      return Buffer.concat(blocks).subarray(0, piece.size);
    }),
  );
}
