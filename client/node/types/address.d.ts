/**
 * @param {string} target as callers write it: gRPC's own forms, `host:port`, `http://host:port`, or `https://host:port` for TLS, with which alone the port may be left out
 * @param {boolean | TlsOptions | undefined} tls
 * @returns {Address}
 */
export function parseAddress(target: string, tls: boolean | TlsOptions | undefined): Address;
/**
 * @param {string} target as gRPC takes it
 * @returns {boolean} whether it is this host
 */
export function isLoopback(target: string): boolean;
/**
 * @param {TlsOptions | undefined} tls
 * @returns {import('@grpc/grpc-js').ChannelCredentials}
 */
export function channelCredentials(tls: TlsOptions | undefined): import("@grpc/grpc-js").ChannelCredentials;
/**
 * Says why a daemon cannot be reached, as far as a connection of one's own shows it: a channel keeps that to itself.
 *
 * @param {Address} address
 * @returns {Promise<Finding>}
 */
export function diagnose({ target, tls }: Address): Promise<Finding>;
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
/**
 * a target as gRPC takes it; without `tls`: in plain text
 */
export type Address = {
    target: string;
    tls: TlsOptions | undefined;
};
export type Finding = [cause: string, advice: string];
