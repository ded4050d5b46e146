// What the page asks of a model.

import { create } from "@bufbuild/protobuf";
import { StreamTranslateRequestSchema, type Model, type StreamTranslateRequest } from "./pb/translation_pb.js";

const NUM_CANDIDATES = 5;
const BEAM_SIZE = 4;

export type Search = "greedy" | "beam" | "sampling";

/** paceMs: least milliseconds between two tokens on the page, 0 for as they come. */
export interface Task {
  text: string;
  search: Search;
  paceMs: number;
}

/** prefix: what the target begins with. A seed is drawn here, so that a stream which is cut off can go on. */
export function makeRequest(task: Task, model: Model, prefix: string): StreamTranslateRequest {
  const how = {
    greedy: { numCandidates: NUM_CANDIDATES },
    beam: { beamSize: BEAM_SIZE, numHypotheses: BEAM_SIZE },
    sampling: {
      numCandidates: NUM_CANDIDATES,
      sampling: { topP: 0.95 },
      seed: BigInt(crypto.getRandomValues(new Uint32Array(1))[0] ?? 0),
    },
  }[task.search];
  return create(StreamTranslateRequestSchema, {
    model: model.name,
    version: model.version,
    text: task.text,
    options: { ...how, targetPrefix: prefix },
    includeAttention: model.attention !== undefined,
  });
}
