// What one step could have taken: its candidates with their probabilities, as a list with bars.

import { make } from "./dom.js";
import type { Step } from "./pb/translation_pb.js";
import { percent, pieceLabel } from "./pieces.js";
import { candidatesWithToken } from "./translation.js";

export class Candidates {
  readonly element: HTMLElement;
  private readonly title = make("h4");
  private readonly list = make("ol", { class: "bars" });

  constructor(private readonly language: string) {
    this.element = make("section", { class: "candidates" }, this.title, this.list);
    this.clear(false);
  }

  show(step: Step, isGiven: boolean): void {
    const whose = isGiven ? "your token" : "token";
    const what = this.list.classList.contains("one") ? "Probability of" : "Candidates for";
    this.title.replaceChildren(`${what} ${whose} ${step.index + 1}`);
    this.list.replaceChildren(
      ...candidatesWithToken(step).map(({ tokenId, piece, logProbability }) => {
        const probability = Math.exp(logProbability);
        const bar = make("span", { class: "bar" });
        bar.style.setProperty("--share", String(probability));
        const item = make(
          "li",
          {},
          make("span", { class: "piece", lang: this.language }, pieceLabel(piece)),
          bar,
          make("span", { class: "number" }, percent(probability)),
        );
        if (tokenId === step.tokenId) item.setAttribute("aria-current", "true");
        return item;
      }),
    );
  }

  /** isOne: the search reports no token but the one that it takes. */
  clear(isOne: boolean): void {
    this.list.classList.toggle("one", isOne);
    this.title.replaceChildren("Candidates");
    this.list.replaceChildren();
  }
}
