/**
 * The contract's name of an enum value. One that does not exist must be refused here: on the wire it would count as not given.
 *
 * @param {'SessionState' | 'TtlMode' | 'ChangeKind'} type
 * @param {string} value as callers write it
 * @returns {string}
 */
export function enumValue(type: "SessionState" | "TtlMode" | "ChangeKind", value: string): string;
/** One channel to the daemon, with its credentials, its retry policy, and errors in this package's classes. */
export class Connection {
    /**
     * @param {string} target
     * @param {ClientOptions} given
     */
    constructor(target: string, { namespace, token, tls, insecure, timeoutSeconds, stallSeconds }: ClientOptions);
    /** @type {Set<Guard>} */
    running: Set<Guard>;
    closed: boolean;
    target: string;
    loopback: boolean;
    namespace: string;
    token: string | undefined;
    timeoutSeconds: number | undefined;
    stallSeconds: number;
    /** @type {Record<string, any>} */
    services: Record<string, any>;
    /** @returns {Metadata} */
    metadata(): Metadata;
    /**
     * A call with one request and one answer.
     *
     * @param {string} service
     * @param {string} method
     * @param {Record<string, unknown>} request
     * @param {CallOptions} [call]
     * @returns {Promise<any>}
     */
    unary(service: string, method: string, request: Record<string, unknown>, { signal, timeoutSeconds }?: CallOptions): Promise<any>;
    /** @param {AbortSignal} [signal] */
    check(signal?: AbortSignal): void;
    /**
     * Waits until the daemon can be reached, so that a stream does not wait for ever for one that is not there.
     *
     * @param {AbortSignal} [signal]
     * @returns {Promise<void>}
     */
    ready(signal?: AbortSignal): Promise<void>;
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
/**
 * How to authenticate the daemon, and this client to it.
 */
export type TlsOptions = {
    /**
     * PEM certificates to trust instead of the system's
     */
    ca?: string | Uint8Array<ArrayBufferLike> | undefined;
    /**
     * PEM certificate chain of this client, for mutual TLS
     */
    cert?: string | Uint8Array<ArrayBufferLike> | undefined;
    /**
     * PEM private key of this client
     */
    key?: string | Uint8Array<ArrayBufferLike> | undefined;
    /**
     * the name in the daemon's certificate, if it is not that of the target
     */
    serverName?: string | undefined;
};
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
     * true for the system's authorities
     */
    tls?: boolean | TlsOptions | undefined;
    /**
     * send the token in the clear to other hosts too
     */
    insecure?: boolean | undefined;
    /**
     * bounds every single call; if not given, as the published policy says
     */
    timeoutSeconds?: number | undefined;
    /**
     * for how long a save or load may stand still: 60 if not given
     */
    stallSeconds?: number | undefined;
};
/**
 * `signal` ends the call; `timeoutSeconds` is its deadline, if sooner than the policy's
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
/** Ends a call that stands still, that its caller gives up, or whose client is closed. */
declare class Guard {
    /**
     * @param {Connection} connection
     * @param {{ cancel(): void }} call
     * @param {AbortSignal} [signal]
     * @param {() => number} [quietSeconds]
     */
    constructor(connection: Connection, call: {
        cancel(): void;
    }, signal?: AbortSignal, quietSeconds?: () => number);
    connection: Connection;
    call: {
        cancel(): void;
    };
    signal: AbortSignal | undefined;
    quietSeconds: (() => number) | undefined;
    silence: number;
    abort: () => void;
    moved(): void;
    timer: NodeJS.Timeout | undefined;
    pause(): void;
    /** @param {unknown} error */
    explain(error: unknown): any;
    stop(): void;
}
import { Metadata } from '@grpc/grpc-js';
export {};
