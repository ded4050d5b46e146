// The beginning of a translation, as its reader wants it.

import { freshId, make } from "./dom.js";

const QUIET_MS = 300;

export class PrefixField {
  readonly element: HTMLElement;
  private readonly input: HTMLInputElement;
  private readonly clearer = make("button", { type: "button", class: "plain", hidden: "" }, "Clear");
  private timer: ReturnType<typeof setTimeout> | null = null;

  /** onEdit: the beginning is another one, and nobody has typed for a moment. */
  constructor(name: string, language: string, private readonly onEdit: () => void) {
    const id = freshId("prefix");
    this.input = make("input", {
      id,
      type: "text",
      lang: language,
      autocomplete: "off",
      spellcheck: "false",
      maxlength: "2000",
      placeholder: "type one, or press a token",
    });
    this.clearer.setAttribute("aria-label", `Clear the beginning of ${name}`);
    this.element = make("div", { class: "prefix" }, make("label", { for: id }, "Beginning"), this.input, this.clearer);
    this.input.addEventListener("input", () => this.edited());
    this.clearer.addEventListener("click", () => this.set(""));
  }

  get value(): string {
    return this.input.value.trim();
  }

  /** As if it had been typed; the field takes the focus, at its end. */
  set(text: string): void {
    this.input.value = text;
    this.input.focus();
    this.edited();
  }

  private edited(): void {
    this.clearer.hidden = this.input.value === "";
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = setTimeout(() => this.onEdit(), QUIET_MS);
  }
}
