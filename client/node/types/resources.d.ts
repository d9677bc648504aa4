/**
 * The capture rules, as in `capture.json`.
 *
 * @returns {any}
 */
export function captureRules(): any;
/**
 * The published retry policy, as this client uses it: it gives every change a request id, so all calls with one answer may be repeated alike. Their timeout is taken out,
 * so that a caller may choose a longer one.
 *
 * @returns {{ json: string, timeoutSeconds: number }}
 */
export function serviceConfig(): {
    json: string;
    timeoutSeconds: number;
};
/** The directory that holds `cloakroom/v1`. */
export const protoDirectory: string;
/** The directory that holds the part of `google/rpc` that errors use. */
export const errorProtoDirectory: string;
/** This package's version. */
export const version: string;
