/**
 * The contract's name of an enum value. One that does not exist must be refused here: on the wire it would count as not given.
 *
 * @param {'SessionState' | 'TtlMode' | 'ChangeKind'} type
 * @param {string} value as callers write it
 * @returns {string}
 */
export function enumValue(type: "SessionState" | "TtlMode" | "ChangeKind", value: string): string;
/** The services of `cloakroom.v1` by name, as constructors of their clients. */
export const api: any;
