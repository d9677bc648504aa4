/**
 * The capture rules, as in `capture.json`.
 *
 * @returns {any}
 */
export function captureRules(): any;
/**
 * The published retry policy.
 *
 * @returns {string} JSON
 */
export function serviceConfig(): string;
/** The directory that holds `cloakroom/v1`. */
export const protoDirectory: string;
/** The directory that holds the part of `google/rpc` that errors use. */
export const errorProtoDirectory: string;
/** This package's version. */
export const version: string;
