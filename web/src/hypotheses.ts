// The translations that a beam search ends with, best first.

import { make } from "./dom.js";
import type { Hypothesis } from "./pb/translation_pb.js";

export class Hypotheses {
  readonly element: HTMLElement;
  private readonly list: HTMLOListElement;

  constructor(language: string) {
    this.list = make("ol", { lang: language });
    this.element = make("section", { class: "hypotheses", hidden: "" }, make("h4", {}, "All hypotheses"), this.list);
  }

  /** One alone is the translation that is shown already. */
  show(hypotheses: readonly Hypothesis[]): void {
    this.element.hidden = hypotheses.length < 2;
    this.list.replaceChildren(
      ...hypotheses.map(({ text, score }) =>
        make("li", {}, text, " ", make("span", { class: "number", lang: "en" }, `score ${score.toFixed(2)}`)),
      ),
    );
  }

  clear(): void {
    this.show([]);
  }
}
