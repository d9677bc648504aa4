/** One channel to the daemon, with its credentials, its retry policy, and errors in this package's classes. */
export class Connection {
    /**
     * @param {string} target
     * @param {ClientOptions} given
     */
    constructor(target: string, { namespace, token, tls, insecure, timeoutSeconds, stallSeconds, patienceSeconds }: ClientOptions);
    address: import("./address.js").Address;
    /** @type {Set<Guard>} */
    running: Set<Guard>;
    closed: boolean;
    /** Whether the daemon was ever reached. */
    contact: boolean;
    target: string;
    loopback: boolean;
    namespace: string;
    token: string | undefined;
    timeoutSeconds: number;
    stallSeconds: number;
    patienceSeconds: number | undefined;
    channel: Channel;
    /** @type {Record<string, any>} */
    services: Record<string, any>;
    /** @returns {Metadata} */
    metadata(): Metadata;
    /**
     * A call with one request and one answer. What the daemon had no room for is asked anew, within the call's timeout, when the daemon says.
     *
     * @param {string} service
     * @param {string} method
     * @param {Record<string, unknown>} request
     * @param {CallOptions} [call]
     * @returns {Promise<any>}
     */
    unary(service: string, method: string, request: Record<string, unknown>, { signal, timeoutSeconds }?: CallOptions): Promise<any>;
    /**
     * @param {string} service
     * @param {string} method
     * @param {Record<string, unknown>} request
     * @param {{ deadline: number, signal?: AbortSignal, timeoutSeconds: number }} call
     * @returns {Promise<any>}
     */
    ask(service: string, method: string, request: Record<string, unknown>, { deadline, signal, timeoutSeconds }: {
        deadline: number;
        signal?: AbortSignal;
        timeoutSeconds: number;
    }): Promise<any>;
    /** Refuses what is begun after the client was closed. What ran then is cancelled. */
    refuseClosed(): void;
    /** @param {AbortSignal} [signal] */
    check(signal?: AbortSignal): void;
    /**
     * Waits for the daemon, as long as the client's patience lasts; then says why it cannot be reached.
     *
     * @param {AbortSignal} [signal]
     * @param {number} [mostSeconds]
     * @returns {Promise<void>}
     */
    reach(signal?: AbortSignal, mostSeconds?: number): Promise<void>;
    /**
     * @param {connectivityState} state
     * @param {number} end when it is not waited for any longer
     * @param {AbortSignal} [signal]
     * @returns {Promise<void>} when the channel has another state, or it is too late
     */
    stateAfter(state: connectivityState, end: number, signal?: AbortSignal): Promise<void>;
    /**
     * @param {number} seconds for how long it was waited for
     * @returns {Promise<Unavailable>}
     */
    unreachable(seconds: number): Promise<Unavailable>;
    /**
     * A call with one answer to many requests. The next request is not made before the one before it has found room.
     *
     * @param {string} service
     * @param {string} method its name as JavaScript writes it
     * @param {AsyncIterable<Record<string, unknown>>} messages
     * @param {StreamOptions} [options]
     * @returns {Promise<{ answer: any, messages: number, wireBytes: number }>} the answer, and how much was sent for it
     */
    upload(service: string, method: string, messages: AsyncIterable<Record<string, unknown>>, { signal, quietSeconds }?: StreamOptions): Promise<{
        answer: any;
        messages: number;
        wireBytes: number;
    }>;
    /**
     * A call with many answers to one request.
     *
     * @param {string} service
     * @param {string} method
     * @param {Record<string, unknown>} request
     * @param {StreamOptions} [options]
     * @returns {AsyncGenerator<any, void, void>}
     */
    download(service: string, method: string, request: Record<string, unknown>, { signal, quietSeconds }?: StreamOptions): AsyncGenerator<any, void, void>;
    /** Closes the channel; calls that still run are ended. */
    close(): void;
}
export type TlsOptions = import("./address.js").TlsOptions;
export type ClientOptions = {
    /**
     * empty for the caller's own
     */
    namespace?: string | undefined;
    /**
     * says who the caller is
     */
    token?: string | undefined;
    /**
     * true for the system's authorities; an `https://` target means that too
     */
    tls?: boolean | import("./address.js").TlsOptions | undefined;
    /**
     * send the token in the clear to other hosts too
     */
    insecure?: boolean | undefined;
    /**
     * bounds every single call: 10 if not given, as the published policy says
     */
    timeoutSeconds?: number | undefined;
    /**
     * for how long a save or load may stand still: 60 if not given
     */
    stallSeconds?: number | undefined;
    /**
     * for how long a call, within its timeout, waits for a daemon that cannot be reached. If not given, 2 before the first contact, when
     * a wrong address is more likely than a daemon that is about to start, and 30 after it, for a restart
     */
    patienceSeconds?: number | undefined;
};
/**
 * `signal` ends the call; `timeoutSeconds` bounds it in place of the client's
 */
export type CallOptions = {
    signal?: AbortSignal;
    timeoutSeconds?: number;
};
/**
 * `quietSeconds`: for how long at most nothing may move
 */
export type StreamOptions = {
    signal?: AbortSignal;
    quietSeconds?: () => number;
};
import { Guard } from './guard.js';
import { Channel } from '@grpc/grpc-js';
import { Metadata } from '@grpc/grpc-js';
import { connectivityState } from '@grpc/grpc-js';
import { Unavailable } from './errors.js';
