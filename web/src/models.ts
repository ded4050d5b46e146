// Which models translate side by side.

import { make } from "./dom.js";
import type { Model } from "./pb/translation_pb.js";

/** A browser holds six connections to a server of HTTP/1.1; a stream takes one. */
const MOST = 4;
const FIRST_CHOICE = ["en-de-transformer", "en-de-general"];
const languages = new Intl.DisplayNames("en", { type: "language", fallback: "code" });

export class ModelChoice {
  readonly element = make("fieldset", { class: "models" });
  private readonly fault = make("p", { class: "fault", role: "alert" });
  private readonly boxes = new Map<HTMLInputElement, Model>();

  constructor(private readonly onChange: (models: Model[]) => void) {
    this.element.addEventListener("change", () => this.changed());
  }

  get chosen(): Model[] {
    return [...this.boxes].filter(([box]) => box.checked).map(([, model]) => model);
  }

  get isEmpty(): boolean {
    return this.boxes.size === 0;
  }

  /** Each model in its newest version, by languages; those chosen before stay so. */
  show(models: readonly Model[]): void {
    const newest = new Map(models.map((model) => [model.name, model]));
    const before = new Set(this.chosen.map(({ name }) => name));
    const wanted = before.size > 0 ? before : firstChoice([...newest.keys()]);
    this.boxes.clear();
    const pairs = new Map<string, HTMLElement[]>();
    for (const model of newest.values()) {
      const box = make("input", { type: "checkbox", name: "model", value: model.name });
      box.checked = wanted.has(model.name);
      this.boxes.set(box, model);
      const pair = `${languageName(model.sourceLanguage)} \u2192 ${languageName(model.targetLanguage)}`;
      const label = make("label", { class: "chip" }, box, make("span", {}, model.name));
      label.title = model.attention ?? "no attention";
      pairs.set(pair, [...(pairs.get(pair) ?? []), label]);
    }
    const groups = [...pairs].sort(([, some], [, others]) => others.length - some.length).map(([pair, chips]) => group(pair, chips));
    this.element.replaceChildren(make("legend", {}, "Models, two to four"), ...groups, this.fault);
    this.changed();
  }

  /** Whether enough are chosen; the form says so where not. */
  require(): boolean {
    const least = Math.min(2, this.boxes.size);
    const isEnough = this.chosen.length >= least;
    this.fault.textContent = isEnough ? "" : "Choose two models at least.";
    if (!isEnough) [...this.boxes.keys()].find((box) => !box.checked)?.focus();
    return isEnough;
  }

  private changed(): void {
    const { chosen } = this;
    for (const box of this.boxes.keys()) box.disabled = chosen.length >= MOST && !box.checked;
    if (chosen.length >= 2) this.fault.textContent = "";
    this.onChange(chosen);
  }
}

function languageName(code: string): string {
  try {
    return languages.of(code) ?? code;
  } catch {
    return code;
  }
}

function group(pair: string, chips: HTMLElement[]): HTMLElement {
  const name = make("span", { class: "quiet" }, pair);
  return make("div", { class: "pair", role: "group", "aria-label": pair }, name, make("div", { class: "chips" }, ...chips));
}

function firstChoice(names: string[]): Set<string> {
  const known = FIRST_CHOICE.filter((name) => names.includes(name));
  return new Set(known.length === FIRST_CHOICE.length ? known : names.slice(0, 2));
}
