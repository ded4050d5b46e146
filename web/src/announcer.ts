// Says settled text to screen readers: in pieces of a second, not token by token, and each piece once.

import { make } from "./dom.js";

const EVERY_MS = 1_000;

export class Announcer {
  readonly element: HTMLElement;
  private waiting = "";
  private timer: ReturnType<typeof setTimeout> | null = null;

  constructor(label: string, language: string) {
    this.element = make("p", {
      class: "heard",
      role: "log",
      "aria-live": "polite",
      "aria-atomic": "false",
      "aria-relevant": "additions",
      "aria-label": label,
      lang: language,
    });
  }

  say(text: string): void {
    this.waiting += text;
    this.timer ??= setTimeout(() => this.flush(), EVERY_MS);
  }

  /** What waits is said now. */
  flush(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    if (this.waiting) this.element.append(make("span", {}, this.waiting));
    this.waiting = "";
  }

  clear(): void {
    this.waiting = "";
    this.flush();
    this.element.replaceChildren();
  }
}
