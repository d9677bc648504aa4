/** Ends a call that stands still, that its caller gives up, or whose client is closed. */
export class Guard {
    /**
     * @param {import('./connection.js').Connection} connection
     * @param {{ cancel(): void }} call
     * @param {AbortSignal} [signal]
     * @param {() => number} [quietSeconds] for how long at most nothing may move
     */
    constructor(connection: import("./connection.js").Connection, call: {
        cancel(): void;
    }, signal?: AbortSignal, quietSeconds?: () => number);
    connection: import("./connection.js").Connection;
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
