// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

/** What this client calls the calls that the daemon speaks of. */
const verbs = /** @type {Record<string, string>} */ ({
  CreateSession: 'sessions.create',
  GetSession: 'sessions.get',
  BatchGetSessions: 'sessions.batchGet',
  UpdateSession: 'sessions.update',
  DeleteSession: 'sessions.delete',
  UndeleteSession: 'sessions.undelete',
  ListSessions: 'sessions.list',
  GetActiveSession: 'sessions.active',
  TouchSession: 'sessions.touch',
  TransitionSession: 'sessions.transition',
  ResolveSession: 'sessions.resolve',
  GetStorageState: 'sessions.storageState.get',
  PutStorageState: 'sessions.storageState.put',
  SaveProfile: 'save',
  GetSaveStatus: 'saveStatus',
  LoadProfile: 'load',
  ListSnapshots: 'snapshots',
  GetSnapshot: 'snapshot',
  RestoreSnapshot: 'restore',
  PinSnapshot: 'pin',
  DeleteSnapshot: 'deleteSnapshot',
  UndeleteSnapshot: 'undeleteSnapshot',
  DiffSnapshots: 'diff',
  WatchInvalidations: 'watch',
  GetServerInfo: 'serverInfo',
});

/**
 * @param {string} text of the daemon
 * @returns {string} the same in this client's words
 */
export function inOwnWords(text) {
  return text.replace(/\b[A-Z][a-z]+[A-Z][A-Za-z]+\b/g, (name) => (Object.hasOwn(verbs, name) ? verbs[name] : name));
}
