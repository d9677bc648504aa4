// Copyright 2026 The Cloakroom Authors. Licensed under the Apache License, Version 2.0.

export { Client } from './client.js';
export { Mount } from './mount.js';
export { Watch } from './watch.js';
export * from './errors.js';

/** @typedef {import('./capture.js').CapturePolicy} CapturePolicy */
/** @typedef {import('./client.js').ServerInfo} ServerInfo */
/** @typedef {import('./client.js').StoreInfo} StoreInfo */
/** @typedef {import('./connection.js').ClientOptions} ClientOptions */
/** @typedef {import('./connection.js').TlsOptions} TlsOptions */
/** @typedef {import('./history.js').CookieDatabaseDifference} CookieDatabaseDifference */
/** @typedef {import('./history.js').CookieDifference} CookieDifference */
/** @typedef {import('./history.js').DifferenceKind} DifferenceKind */
/** @typedef {import('./history.js').EntryDifference} EntryDifference */
/** @typedef {import('./history.js').ListedEntry} ListedEntry */
/** @typedef {import('./history.js').Marked} Marked */
/** @typedef {import('./history.js').Restored} Restored */
/** @typedef {import('./history.js').SnapshotDiff} SnapshotDiff */
/** @typedef {import('./messages.js').Change} Change */
/** @typedef {import('./messages.js').ChangeKind} ChangeKind */
/** @typedef {import('./messages.js').Portability} Portability */
/** @typedef {import('./messages.js').Progress} Progress */
/** @typedef {import('./messages.js').Session} Session */
/** @typedef {import('./messages.js').SessionState} SessionState */
/** @typedef {import('./messages.js').Snapshot} Snapshot */
/** @typedef {import('./messages.js').TtlMode} TtlMode */
/** @typedef {import('./messages.js').Loaded} Loaded */
/** @typedef {import('./messages.js').LoadOptions} LoadOptions */
/** @typedef {import('./messages.js').Saved} Saved */
/** @typedef {import('./messages.js').SaveOptions} SaveOptions */
/** @typedef {import('./messages.js').Warning} Warning */
/** @typedef {import('./mount.js').MountOptions} MountOptions */
/** @typedef {import('./mount.js').PruneOptions} PruneOptions */
/** @typedef {import('./mount.js').Pruned} Pruned */
/** @typedef {import('./sessions.js').StoredState} StoredState */
/** @typedef {import('./watch.js').Selector} Selector */
/** @typedef {import('./watch.js').WatchEvent} WatchEvent */
/** @typedef {import('./watch.js').WatchOptions} WatchOptions */
