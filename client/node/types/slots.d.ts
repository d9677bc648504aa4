/**
 * Removes the slots of all sessions that nobody holds and nobody has used for a while.
 *
 * @param {string | undefined} root
 * @param {number} olderThanSeconds
 * @param {AbortSignal} [signal]
 * @returns {Promise<{ removed: number, bytes: number }>} how many slots, and the sum of their files' sizes
 */
export function pruneSlots(root: string | undefined, olderThanSeconds: number, signal?: AbortSignal): Promise<{
    removed: number;
    bytes: number;
}>;
/** A directory that this process holds alone, until it releases it. */
export class Slot {
    /**
     * @param {string | undefined} root
     * @param {string} namespace
     * @param {string} sessionId
     * @returns {Slot} the one used last that nobody holds, else a new one
     */
    static take(root: string | undefined, namespace: string, sessionId: string): Slot;
    /** @param {string} directory */
    constructor(directory: string);
    directory: string;
    /** Where the profile is, or will be. */
    profile: string;
    /** Removes a storage state that a former owner left, which was killed before it could do that itself. */
    tidy(): void;
    /** Leaves nothing but an empty profile. */
    clear(): void;
    /** Lets others have it. Of the session's free slots only those used last stay. */
    release(): void;
}
/**
 * a slot, its claim's name, and since when it has that, in nanoseconds since 1970
 */
export type Found = {
    directory: string;
    claim: string;
    since: bigint;
};
