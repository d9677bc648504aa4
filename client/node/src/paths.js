// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** @file The contract's rules for paths and links, so that nothing outside a profile is ever written or read. */

/**
 * @param {string} path of an entry
 * @returns {string} what is wrong with it; empty if nothing is
 */
export function faultInPath(path) {
  const components = path.split('/');
  if (path === '') return 'it is empty';
  if (/[\0\\]/.test(path)) return 'it has a NUL or a backslash';
  if (path.startsWith('/')) return 'it is absolute';
  if (components.some((name) => name === '' || name === '.' || name === '..')) return 'a component is empty, `.` or `..`';
  if (Buffer.byteLength(path) > 1024) return 'it is longer than 1,024 bytes';
  if (components.length > 64) return 'it has more than 64 components';
  if (components.some((name) => Buffer.byteLength(name) > 255)) return 'a component is longer than 255 bytes';
  return '';
}

/**
 * First climbing and then descending, no chain of links leads out of the profile.
 *
 * @param {string} path where the link is
 * @param {string} target where it points
 * @returns {string} what is wrong with it; empty if nothing is
 */
export function faultInTarget(path, target) {
  const names = target.split('/').filter((name) => name !== '' && name !== '.');
  const climbs = names.filter((name) => name === '..').length;
  if (target === '' || target.startsWith('/') || /[\0\\]/.test(target)) return 'it is empty or absolute, or has a NUL or a backslash';
  if (names.slice(0, climbs).some((name) => name !== '..')) return 'it has `..` after a name';
  if (climbs > path.split('/').length - 1) return 'it points out of the profile';
  return '';
}

/**
 * @param {Buffer} bytes what the system calls something
 * @returns {string} what is wrong with it; empty if nothing is
 */
export function faultInName(bytes) {
  return Buffer.from(String(bytes)).equals(bytes) ? '' : 'it is not UTF-8';
}
