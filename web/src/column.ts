// One model's column: it translates, shows what comes, and lets the translation's beginning be edited.

import { Announcer } from "./announcer.js";
import { AttentionTable } from "./attention.js";
import { paced, translate, type TranslationEvent } from "./attempts.js";
import { Candidates } from "./candidates.js";
import { make } from "./dom.js";
import { Failure } from "./failures.js";
import { Hypotheses } from "./hypotheses.js";
import type { Model, StreamTranslateResponse } from "./pb/translation_pb.js";
import { PrefixField } from "./prefix.js";
import { makeRequest, type Task } from "./request.js";
import type { TranslationClient } from "./server.js";
import { Status } from "./status.js";
import { TokenLine } from "./tokens.js";
import { Translation } from "./translation.js";

/** onChange: it begins or ends. onLost: no server answers any more. */
export class Column {
  readonly element: HTMLElement;
  private readonly tokens: TokenLine;
  private readonly candidates: Candidates;
  private readonly attention: AttentionTable;
  private readonly announcer: Announcer;
  private readonly hypotheses: Hypotheses;
  private readonly prefix: PrefixField;
  private readonly status = new Status(() => this.again());
  private translation = new Translation();
  private task: Task | null = null;
  private running: AbortController | null = null;
  private isFollowing = true;

  constructor(
    private readonly client: TranslationClient,
    private readonly model: Model,
    private readonly onChange: () => void,
    private readonly onLost: () => void,
  ) {
    const { name, sourceLanguage: source, targetLanguage: target } = model;
    const show = (index: number): void => this.show(index);
    const showWithRow = (index: number): void => {
      this.show(index);
      this.attention.reveal(index);
    };
    this.tokens = new TokenLine(name, target, showWithRow, (index) => this.prefix.set(this.translation.textUntil(index)));
    this.candidates = new Candidates(target);
    this.attention = new AttentionTable(name, { source, target }, show);
    this.announcer = new Announcer(name, target);
    this.hypotheses = new Hypotheses(target);
    this.prefix = new PrefixField(name, target, () => this.again());
    const about = [model.family, `${source} \u2192 ${target}`, model.precision, `version ${model.version}`];
    const header = make("header", {}, make("h3", {}, name), make("p", { class: "quiet" }, about.join(" \u00b7 ")));
    if (model.attention) header.append(make("p", { class: "quiet" }, model.attention));
    this.element = make(
      "article",
      { class: "column", "aria-label": name },
      header,
      this.tokens.element,
      this.announcer.element,
      this.status.element,
      this.prefix.element,
      this.candidates.element,
      this.hypotheses.element,
      this.attention.element,
    );
  }

  get isRunning(): boolean {
    return this.running !== null;
  }

  /** Translate, in place of what may be under way. */
  start(task: Task): void {
    this.task = task;
    this.again();
  }

  stop(): void {
    if (this.running === null) return;
    this.running.abort();
    this.running = null;
    this.announcer.flush();
    this.status.stopped();
    this.onChange();
  }

  private again(): void {
    if (this.task === null) return;
    this.running?.abort();
    const running = new AbortController();
    this.running = running;
    this.clear();
    this.status.asked();
    this.onChange();
    void this.follow(this.task, running);
  }

  private async follow(task: Task, running: AbortController): Promise<void> {
    const request = makeRequest(task, this.model, this.prefix.value);
    const events = paced(translate(this.client, request, running.signal), task.paceMs, running.signal);
    try {
      for await (const event of events) {
        if (running.signal.aborted) return;
        this.take(event);
      }
    } catch (error) {
      if (running.signal.aborted) return;
      this.status.failed(error instanceof Failure ? error.message : String(error));
      if (error instanceof Failure && error.reason === "lost") this.onLost();
    }
    if (this.running !== running) return;
    this.running = null;
    this.announcer.flush();
    this.onChange();
  }

  private take(event: TranslationEvent): void {
    if (event.kind === "message") return this.takeMessage(event.message);
    if (event.isAgain) this.clear();
    this.status.waiting(event.reason, event.message, event.milliseconds, this.translation.steps.length);
  }

  private takeMessage(message: StreamTranslateResponse): void {
    this.translation.take(message);
    if (message.source) this.attention.showSource(message.source.pieces);
    if (message.step) {
      const index = this.translation.steps.length - 1;
      this.tokens.add(message.step, this.isGiven(index));
      this.attention.add(message.step, this.translation);
      this.announcer.say(message.step.textDelta);
      if (this.isFollowing) {
        this.mark(index);
        this.attention.reveal(index);
      }
    }
    this.tokens.showTentative(this.translation.tentative);
    if (message.completion) {
      this.hypotheses.show(message.completion.hypotheses);
      this.status.completed(message.completion);
    } else {
      this.status.translating(this.translation.steps.length);
    }
  }

  private isGiven(index: number): boolean {
    return this.translation.textUntil(index).length <= this.prefix.value.length;
  }

  /** Somebody points at a step: it stays shown while others come. */
  private show(index: number): void {
    this.isFollowing = false;
    this.mark(index);
  }

  private mark(index: number): void {
    const step = this.translation.steps[index];
    if (step === undefined) return;
    this.tokens.mark(index);
    this.attention.mark(index);
    this.candidates.show(step, this.isGiven(index));
  }

  private clear(): void {
    this.translation = new Translation();
    this.isFollowing = true;
    for (const part of [this.tokens, this.announcer, this.hypotheses]) part.clear();
    this.candidates.clear(this.task?.search === "beam");
    this.attention.clear(this.model.attention !== undefined);
  }
}
