// One translation as its stream brings it, whatever happens on the way: a refused call is tried again when the server
// says, and a stream that was cut off goes on after the tokens that are here.

import { create } from "@bufbuild/protobuf";
import { pause } from "./dom.js";
import { Failure, type Reason } from "./failures.js";
import {
  ResumptionSchema,
  StreamTranslateRequestSchema,
  type StreamTranslateRequest,
  type StreamTranslateResponse,
} from "./pb/translation_pb.js";
import type { TranslationClient } from "./server.js";

const MAX_ATTEMPTS = 4;
const CALL_MS = 60_000;
const BACKOFF_MS = [400, 1_000, 2_500];

export type TranslationEvent =
  | { kind: "message"; message: StreamTranslateResponse }
  /** Another attempt follows; isAgain: it brings the translation from its beginning. */
  | { kind: "waiting"; reason: Reason; message: string; milliseconds: number; isAgain: boolean };

/** Until the completion, or the signal. Throws a Failure that no other attempt can mend. */
export async function* translate(
  client: TranslationClient,
  request: StreamTranslateRequest,
  signal: AbortSignal,
): AsyncGenerator<TranslationEvent> {
  const canResume = (request.options?.beamSize ?? 0) <= 1;
  const received = create(ResumptionSchema);
  const id = crypto.getRandomValues(new Uint32Array(4)).reduce((text, part) => text + part.toString(16).padStart(8, "0"), "");
  let version = request.version;
  for (let attempt = 1; ; attempt += 1) {
    const resume = canResume && received.tokenIds.length > 0 ? { resume: received, version } : {};
    const asked = create(StreamTranslateRequestSchema, { ...request, ...resume });
    const headers = { "x-request-id": `${id}-${attempt}`, "x-stepstream-attempt": String(attempt) };
    let failure: Failure;
    try {
      for await (const message of client.streamTranslate(asked, { signal, headers, timeoutMs: CALL_MS })) {
        if (message.version) version = message.version;
        if (message.step && !message.completion) {
          received.tokenIds.push(message.step.tokenId);
          received.logProbabilities.push(message.step.logProbability);
        }
        yield { kind: "message", message };
        if (message.completion) return;
      }
      failure = Failure.ofBrokenStream();
    } catch (error) {
      failure = Failure.of(error);
    }
    if (signal.aborted) return;
    if (failure.reason === null || attempt === MAX_ATTEMPTS) throw failure;
    const milliseconds = failure.pushbackMs ?? BACKOFF_MS[attempt - 1] ?? 0;
    if (!canResume) received.tokenIds.length = received.logProbabilities.length = 0;
    yield { kind: "waiting", reason: failure.reason, message: failure.message, milliseconds, isAgain: !canResume };
    await pause(milliseconds, signal);
    if (signal.aborted) return;
  }
}

/** The same events, no two messages closer than some milliseconds: for the eye. */
export async function* paced(
  events: AsyncGenerator<TranslationEvent>,
  milliseconds: number,
  signal: AbortSignal,
): AsyncGenerator<TranslationEvent> {
  for await (const event of events) {
    if (signal.aborted) return;
    yield event;
    if (event.kind === "message" && !event.message.completion && milliseconds > 0) await pause(milliseconds, signal);
  }
}
