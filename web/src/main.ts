// The page: finds the models, and puts the form, the columns and the load together.

import { Column } from "./column.js";
import { Composer } from "./composer.js";
import { byId, pause } from "./dom.js";
import { Failure } from "./failures.js";
import { LoadView } from "./load.js";
import type { Model } from "./pb/translation_pb.js";
import { connect, type TranslationClient } from "./server.js";

const LIST_MS = 10_000;
const AGAIN_MS = 2_000;

class Page {
  private readonly banner = byId("banner", HTMLElement);
  private readonly place = byId("columns", HTMLElement);
  private readonly invitation = byId("invitation", HTMLElement);
  private readonly columns = new Map<string, Column>();
  private readonly composer: Composer;
  private isSearching = false;

  constructor(private readonly client: TranslationClient) {
    this.composer = new Composer(byId("composer", HTMLFormElement), {
      onModels: (models) => this.arrange(models),
      onStart: (task) => this.columns.forEach((column) => column.start(task)),
      onStop: () => this.columns.forEach((column) => column.stop()),
    });
  }

  /** Ask for the models until there are some. */
  async findModels(): Promise<void> {
    if (this.isSearching) return;
    this.isSearching = true;
    let problem: string | null;
    while ((problem = await this.listModels()) !== null) {
      this.banner.hidden = false;
      if (this.banner.textContent !== problem) this.banner.textContent = problem;
      await pause(AGAIN_MS);
    }
    this.isSearching = false;
    this.banner.hidden = true;
    this.banner.replaceChildren();
  }

  private async listModels(): Promise<string | null> {
    try {
      const { models } = await this.client.listModels({}, { timeoutMs: LIST_MS });
      if (models.length === 0) return "The server has no model yet. The page goes on as soon as one is loaded.";
      this.composer.showModels(models);
      return null;
    } catch (error) {
      const { reason, message } = Failure.of(error);
      return reason === "lost" ? "The server cannot be reached. The page asks again every two seconds." : message;
    }
  }

  /** A column for each model that is chosen; one that stays keeps what it shows. */
  private arrange(models: readonly Model[]): void {
    const chosen = new Map(models.map((model) => [`${model.name}/${model.version}`, model]));
    for (const [key, column] of this.columns) {
      if (chosen.has(key)) continue;
      column.stop();
      this.columns.delete(key);
    }
    for (const [key, model] of chosen) {
      if (!this.columns.has(key)) this.columns.set(key, this.column(model));
    }
    this.place.replaceChildren(...[...chosen.keys()].flatMap((key) => this.columns.get(key)?.element ?? []));
    this.invitation.hidden = this.columns.size > 0;
  }

  private column(model: Model): Column {
    return new Column(
      this.client,
      model,
      () => this.changed(),
      () => void this.findModels(),
    );
  }

  private changed(): void {
    this.composer.showRunning([...this.columns.values()].some((column) => column.isRunning));
  }
}

new LoadView(byId("load", HTMLElement)).start();
await new Page(await connect()).findModels();
