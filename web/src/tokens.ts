// The target as a line of tokens, each a button: pointing at one or moving to it with the arrow keys shows its step,
// pressing it makes the text up to it the beginning of a new translation.

import { make } from "./dom.js";
import type { Step } from "./pb/translation_pb.js";
import { isEnd, percent, pieceLabel } from "./pieces.js";

const DOUBTFUL = 0.5;

export class TokenLine {
  readonly element: HTMLElement;
  private readonly settled = make("span", { class: "settled", role: "toolbar" });
  private readonly tentative = make("span", { class: "tentative" });
  private readonly buttons: HTMLButtonElement[] = [];
  private current = 0;

  constructor(
    label: string,
    language: string,
    private readonly onShow: (index: number) => void,
    private readonly onPress: (index: number) => void,
  ) {
    this.settled.setAttribute("aria-label", `${label}: settled tokens`);
    this.tentative.title = "tentative: the search may still replace it";
    this.element = make("p", { class: "target", lang: language, dir: "auto" }, this.settled, this.tentative);
    this.settled.addEventListener("keydown", (event) => this.move(event));
  }

  add(step: Step, isGiven: boolean): void {
    const index = this.buttons.length;
    const probability = Math.exp(step.logProbability);
    const button = make("button", {
      type: "button",
      class: "token",
      tabindex: index === this.current ? "0" : "-1",
      "aria-label": `${pieceLabel(step.piece)}, ${isGiven ? "yours, " : ""}${percent(probability)}`,
    });
    if (isEnd(step.piece)) button.classList.add("end");
    if (isGiven) button.classList.add("given");
    else if (probability < DOUBTFUL) button.classList.add("doubtful");
    const text = step.textDelta.trimStart();
    button.append(isEnd(step.piece) ? "\u25a0" : text || "\u200b");
    button.addEventListener("pointerenter", () => this.onShow(index));
    button.addEventListener("focus", () => {
      this.makeCurrent(index);
      this.onShow(index);
    });
    button.addEventListener("click", () => this.onPress(index));
    this.buttons.push(button);
    this.wordOf(step).append(button);
  }

  showTentative(text: string): void {
    this.tentative.textContent = text;
  }

  mark(index: number): void {
    this.buttons.forEach((button, place) => button.classList.toggle("shown", place === index));
  }

  clear(): void {
    this.settled.replaceChildren();
    this.tentative.replaceChildren();
    this.buttons.length = 0;
    this.current = 0;
  }

  /** Lines break between words, never between the tokens of one. */
  private wordOf(step: Step): Element {
    const last = this.settled.lastElementChild;
    if (last !== null && !/^\s/.test(step.textDelta)) return last;
    const word = make("span", { class: "word" });
    this.settled.append(...(last === null ? [] : [" "]), word);
    return word;
  }

  private move(event: KeyboardEvent): void {
    const last = this.buttons.length - 1;
    const places: Record<string, number> = {
      ArrowLeft: Math.max(0, this.current - 1),
      ArrowRight: Math.min(last, this.current + 1),
      Home: 0,
      End: last,
    };
    const place = places[event.key];
    if (place === undefined) return;
    event.preventDefault();
    this.buttons[place]?.focus();
  }

  private makeCurrent(index: number): void {
    this.buttons[this.current]?.setAttribute("tabindex", "-1");
    this.buttons[index]?.setAttribute("tabindex", "0");
    this.current = index;
  }
}
