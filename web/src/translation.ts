// A translation as its messages make it. It shows nothing.

import type { Candidate, Completion, Step, StreamTranslateResponse } from "./pb/translation_pb.js";

export class Translation {
  /** Pieces of the source; empty where the model has no attention. */
  source: readonly string[] = [];
  readonly steps: Step[] = [];
  /** What a beam search would go on with; it follows the steps' text and may be replaced. */
  tentative = "";
  completion: Completion | null = null;

  take(message: StreamTranslateResponse): void {
    if (message.source) this.source = message.source.pieces;
    if (message.step) {
      this.steps.push(message.step);
      this.tentative = withoutBeginning(this.tentative, message.step.textDelta);
    }
    if (message.tentative) this.tentative = message.tentative.text;
    if (message.completion) this.completion = message.completion;
  }

  /** What is settled. */
  get text(): string {
    return this.steps.map((step) => step.textDelta).join("");
  }

  /** The text up to a step, itself included. */
  textUntil(index: number): string {
    return this.steps.slice(0, index + 1).map((step) => step.textDelta).join("");
  }

  /** Source position that a step attends to most, and its weight; null where there is no attention. */
  mostAttended(step: Step): { position: number; weight: number } | null {
    if (step.attention.length === 0) return null;
    const weight = Math.max(...step.attention);
    return { position: step.attention.indexOf(weight), weight };
  }
}

/** What of a tentative text is left once its beginning is settled; nothing where another one was. */
function withoutBeginning(text: string, beginning: string): string {
  return text.startsWith(beginning) ? text.slice(beginning.length) : "";
}

/** The candidates of a step, best first, its own token among them even where it was not one of the best. */
export function candidatesWithToken(step: Step): Pick<Candidate, "tokenId" | "piece" | "logProbability">[] {
  if (step.candidates.some((candidate) => candidate.tokenId === step.tokenId)) return step.candidates;
  return [...step.candidates, step];
}
