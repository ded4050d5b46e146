// What is to be translated, by which models and how: the form at the top.

import { make } from "./dom.js";
import { ModelChoice } from "./models.js";
import type { Model } from "./pb/translation_pb.js";
import type { Search, Task } from "./request.js";

const MAX_BYTES = 32_768;
const SLOWLY_MS = 300;
const FIRST_TEXT = "Two dogs play in the snow.";

export class Composer {
  private readonly text = make("textarea", {
    id: "text",
    rows: "3",
    dir: "auto",
    autocomplete: "off",
    spellcheck: "true",
    enterkeyhint: "go",
    "aria-describedby": "text-fault",
  });
  private readonly fault = make("p", { id: "text-fault", class: "fault", role: "alert" });
  private readonly notice = make("p", { class: "quiet", role: "status" });
  private readonly search = select("search", [
    ["greedy", "Greedy"],
    ["beam", "Beam of 4"],
    ["sampling", "Sampling"],
  ]);
  private readonly pace = select("pace", [
    ["0", "As they come"],
    [String(SLOWLY_MS), "Slowly"],
  ]);
  private readonly go = make("button", { type: "submit", class: "main" }, "Translate");
  private readonly halt = make("button", { type: "button", hidden: "" }, "Stop");
  private readonly choice: ModelChoice;
  private isAwaitingModels = false;

  /** onModels: others are chosen. onStart and onStop: somebody asks for it. */
  constructor(
    form: HTMLFormElement,
    private readonly handlers: { onModels: (models: Model[]) => void; onStart: (task: Task) => void; onStop: () => void },
  ) {
    this.choice = new ModelChoice(handlers.onModels);
    this.text.value = FIRST_TEXT;
    form.append(
      make("div", { class: "field" }, make("label", { for: "text" }, "Sentence"), this.text, this.fault, this.notice),
      this.choice.element,
      make(
        "div",
        { class: "controls" },
        make("label", {}, "Search", this.search),
        make("label", {}, "Show tokens", this.pace),
        make("span", { class: "buttons" }, this.halt, this.go),
      ),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.submit();
    });
    this.text.addEventListener("input", () => {
      this.say("");
      this.awaitModels(false);
    });
    this.halt.addEventListener("click", handlers.onStop);
  }

  /** Starts what was asked for before there was a model. */
  showModels(models: readonly Model[]): void {
    this.choice.show(models);
    if (this.isAwaitingModels) this.submit();
  }

  showRunning(isRunning: boolean): void {
    const hadFocus = document.activeElement === this.halt;
    this.halt.hidden = !isRunning;
    if (hadFocus && !isRunning) this.go.focus();
  }

  private submit(): void {
    const task = this.task();
    this.awaitModels(task !== null && this.choice.isEmpty);
    if (task !== null && !this.isAwaitingModels) this.handlers.onStart(task);
  }

  private awaitModels(isAwaiting: boolean): void {
    this.isAwaitingModels = isAwaiting;
    this.notice.textContent = isAwaiting ? "The translation starts as soon as the server shows its models." : "";
  }

  /** Null where there is nothing to ask for; the form then says why. */
  private task(): Task | null {
    const text = this.text.value.trim();
    const numBytes = new TextEncoder().encode(text).length;
    if (text === "") return this.refuse("Type a sentence first.");
    if (numBytes > MAX_BYTES) {
      return this.refuse(`This text has ${numBytes.toLocaleString("en")} bytes; a server takes ${MAX_BYTES.toLocaleString("en")} at most.`);
    }
    if (!this.choice.require()) return null;
    this.say("");
    return { text, search: this.search.value as Search, paceMs: Number(this.pace.value) };
  }

  private refuse(fault: string): null {
    this.say(fault);
    this.text.focus();
    return null;
  }

  private say(fault: string): void {
    this.fault.textContent = fault;
    this.text.setAttribute("aria-invalid", String(fault !== ""));
  }
}

function select(name: string, choices: [value: string, label: string][]): HTMLSelectElement {
  return make("select", { name }, ...choices.map(([value, label]) => make("option", { value }, label)));
}
