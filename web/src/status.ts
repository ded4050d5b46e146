// How a translation stands, in one line; what went wrong can be tried again.

import { make } from "./dom.js";
import type { Reason } from "./failures.js";
import { FinishReason, type Completion } from "./pb/translation_pb.js";

const TICK_MS = 100;
const WHY: Record<Reason, string> = {
  busy: "The server is busy",
  loading: "The model is being loaded",
  lost: "The server cannot be reached",
};

export class Status {
  readonly element: HTMLElement;
  private readonly line = make("span", { role: "status" });
  /** What changes all the time is for the eye alone. */
  private readonly detail = make("span", { "aria-hidden": "true" });
  private readonly retry = make("button", { type: "button", class: "plain", hidden: "" }, "Try again");
  private countdown: ReturnType<typeof setInterval> | null = null;

  constructor(onRetry: () => void) {
    this.element = make("p", { class: "status" }, this.line, " ", this.detail, this.retry);
    this.retry.addEventListener("click", onRetry);
  }

  asked(): void {
    this.say("asked", "Asked the server\u2026");
  }

  translating(numTokens: number): void {
    this.say("translating", "Translating\u2026", `${numTokens} tokens`);
  }

  completed(completion: Completion): void {
    const { numTargetTokens, logProbability, timings } = completion;
    const parts = [`${numTargetTokens} tokens`];
    if (timings) parts.push(`first ${timings.firstTokenMs.toFixed(1)} ms`, `all ${timings.totalMs.toFixed(1)} ms`);
    parts.push(`log-probability ${logProbability.toFixed(2)}`);
    if (completion.finishReason === FinishReason.MAX_LENGTH) parts.push("cut at the model's longest target");
    this.say("completed", numTargetTokens === 0 ? "There is nothing to translate." : parts.join(" \u00b7 "));
  }

  stopped(): void {
    this.say("stopped", "Stopped.");
  }

  failed(message: string): void {
    this.say("failed", message);
    this.retry.hidden = false;
  }

  /** Another attempt comes after some milliseconds; numTokens stay. */
  waiting(reason: Reason, message: string, milliseconds: number, numTokens: number): void {
    const goesOn = numTokens > 0 ? `it goes on after ${numTokens} tokens` : "it is asked again";
    const end = performance.now() + milliseconds;
    const tick = (): void => {
      const seconds = Math.max(0, end - performance.now()) / 1000;
      this.detail.replaceChildren(`in ${seconds.toFixed(1)} s`);
    };
    this.say("waiting", `${WHY[reason]}: ${goesOn}`);
    this.element.title = message;
    tick();
    this.countdown = setInterval(tick, TICK_MS);
  }

  private say(state: string, text: string, detail = ""): void {
    if (this.countdown !== null) clearInterval(this.countdown);
    this.countdown = null;
    this.element.dataset.state = state;
    this.element.title = "";
    this.retry.hidden = true;
    if (this.line.textContent !== text) this.line.replaceChildren(text);
    this.detail.replaceChildren(detail);
  }
}
