/**
 * @param {string} text of the daemon
 * @returns {string} the same in this client's words
 */
export function inOwnWords(text: string): string;
