// What a call that failed means for whoever looks at the page. Statuses are those of translation.proto.

import { Code, ConnectError } from "@connectrpc/connect";

const REQUEST_ID = "x-request-id";
const PUSHBACK = "grpc-retry-pushback-ms";
const CUT_OFF = new Set([Code.Unavailable, Code.Unknown, Code.Internal, Code.Canceled]);

/** Why a call is tried again. */
export type Reason = "busy" | "loading" | "lost";

export class Failure {
  /** reason: null where trying again is of no use. pushbackMs: when the server wants to be asked again. */
  private constructor(
    readonly message: string,
    readonly reason: Reason | null,
    readonly pushbackMs: number | null,
  ) {}

  /** Whatever was thrown by a call. */
  static of(error: unknown): Failure {
    const status = ConnectError.from(error);
    const pushback = status.metadata.get(PUSHBACK);
    const pushbackMs = pushback !== null && /^\d+$/.test(pushback) ? Number(pushback) : null;
    const isAnswered = status.metadata.has(REQUEST_ID);
    if (!isAnswered && CUT_OFF.has(status.code)) return new Failure("No server answers.", "lost", pushbackMs);
    if (pushbackMs !== null && (status.code === Code.ResourceExhausted || status.code === Code.Unavailable)) {
      return new Failure(sentence(status.rawMessage), "busy", pushbackMs);
    }
    if (status.code === Code.Unavailable) return new Failure(sentence(status.rawMessage), "loading", null);
    if (status.code === Code.DeadlineExceeded) return new Failure("The server did not finish in time.", null, null);
    return new Failure(sentence(status.rawMessage), null, null);
  }

  /** A stream that ended without its completion. */
  static ofBrokenStream(): Failure {
    return new Failure("The stream ended before it was complete.", "lost", null);
  }
}

function sentence(text: string): string {
  const said = text.trim() || "the server failed";
  return said.charAt(0).toUpperCase() + said.slice(1) + (/[.!?]$/.test(said) ? "" : ".");
}
