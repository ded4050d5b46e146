// How busy the server is: read every second while the page is looked at.

import { make } from "./dom.js";
import { readLoad, type Load } from "./server.js";

const EVERY_MS = 1_000;
const TIMEOUT_MS = 4_000;
const NUM_POINTS = 60;
const [WIDTH, HEIGHT] = [96, 24];
const SVG = "http://www.w3.org/2000/svg";

export class LoadView {
  private readonly slots = make("dd");
  private readonly meter = make("meter", { min: "0", max: "1", "aria-hidden": "true" });
  private readonly queue = make("dd");
  private readonly tokens = make("dd");
  private readonly line = document.createElementNS(SVG, "polyline");
  private readonly list: HTMLElement;
  private readonly nothing = make("p", { class: "quiet", hidden: "" }, "Load not known: no server tells it");
  private readonly rates: number[] = [];

  constructor(element: HTMLElement) {
    const picture = document.createElementNS(SVG, "svg");
    picture.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    picture.setAttribute("aria-hidden", "true");
    picture.append(this.line);
    this.list = make(
      "dl",
      {},
      make("div", {}, make("dt", {}, "Active slots"), this.slots, this.meter),
      make("div", {}, make("dt", {}, "Queue"), this.queue),
      make("div", {}, make("dt", {}, "Tokens/s"), this.tokens, picture),
    );
    this.nothing.title = "No server answers at the --metrics-address of stepstream web";
    element.append(this.list, this.nothing);
  }

  start(): void {
    const tick = async (): Promise<void> => {
      if (!document.hidden) this.show(await readLoad(AbortSignal.timeout(TIMEOUT_MS)));
      setTimeout(() => void tick(), EVERY_MS);
    };
    void tick();
  }

  private show(load: Load | null): void {
    this.list.hidden = load === null;
    this.nothing.hidden = load !== null;
    if (load === null) return;
    this.slots.textContent = `${load.slots_in_use} of ${load.slots}`;
    this.meter.max = Math.max(1, load.slots);
    this.meter.value = load.slots_in_use;
    this.queue.textContent = String(load.queue_depth);
    const rate = Math.round(load.tokens_per_s ?? 0);
    this.tokens.textContent = rate.toLocaleString("en");
    this.rates.push(rate);
    if (this.rates.length > NUM_POINTS) this.rates.shift();
    this.draw();
  }

  private draw(): void {
    const most = Math.max(1, ...this.rates);
    const points = this.rates.map((rate, place) => {
      const x = WIDTH - (this.rates.length - 1 - place) * (WIDTH / (NUM_POINTS - 1));
      return `${x.toFixed(1)},${(HEIGHT - 1 - (rate / most) * (HEIGHT - 2)).toFixed(1)}`;
    });
    this.line.setAttribute("points", points.join(" "));
  }
}
