/**
 * @param {string} claim
 * @returns {boolean} whether nobody has it, or who has it is a dead process of this host
 */
export function isVacant(claim: string): boolean;
/**
 * @param {string} from
 * @param {string} to
 * @returns {boolean} false if there was nothing to rename
 */
export function move(from: string, to: string): boolean;
/** @param {string} file whose time becomes now, if it is still there */
export function stamp(file: string): void;
/**
 * @param {string} directory of a slot
 * @returns {string[]} the names of its claims: one, or none while it is made
 */
export function claimsOf(directory: string): string[];
/** The name of a claim that nobody has. */
export const FREE: "claim.free";
/** What this process calls its claims. */
export const OWN: string;
