// What each target token attends to: a table that gains a row with each token, and the same in words.

import { freshId, make } from "./dom.js";
import type { Step } from "./pb/translation_pb.js";
import { percent, pieceLabel } from "./pieces.js";
import type { Translation } from "./translation.js";

export class AttentionTable {
  readonly element: HTMLElement;
  private readonly table: HTMLTableElement;
  private readonly scroller: HTMLElement;
  private readonly head = make("tr");
  private readonly body = make("tbody");
  private readonly words = make("ul");
  private readonly reading = make("p", { class: "reading", "aria-hidden": "true" });
  private shownIndex = 0;
  private readonly nothing: HTMLElement;
  private readonly shown: HTMLElement;

  constructor(
    label: string,
    private readonly languages: { source: string; target: string },
    private readonly onShow: (index: number) => void,
  ) {
    const caption = freshId("attention");
    this.table = make(
      "table",
      { class: "attention", "aria-labelledby": caption },
      make("thead", {}, this.head),
      this.body,
    );
    this.table.addEventListener("pointerover", (event) => this.point(event));
    this.table.addEventListener("pointerleave", () => this.reading.replaceChildren());
    const scroller = { class: "scroller", role: "region", tabindex: "0", "aria-label": `${label}: attention, scrollable` };
    this.scroller = make("div", scroller, this.table);
    this.nothing = make("p", { class: "quiet", hidden: "" }, "This model has no attention: it sees the sentence as one vector.");
    this.shown = make(
      "div",
      {},
      this.scroller,
      this.reading,
      make("details", { class: "words" }, make("summary", {}, "In words"), this.words),
    );
    const title = make("h4", { id: caption }, "Attention");
    title.append(make("span", { class: "quiet" }, " each row: what a token looks at"));
    this.element = make("section", { class: "attention-part" }, title, this.nothing, this.shown);
  }

  /** A new translation; hasAttention: of the model. */
  clear(hasAttention: boolean): void {
    this.nothing.hidden = hasAttention;
    this.shown.hidden = !hasAttention;
    for (const part of [this.head, this.body, this.words, this.reading]) part.replaceChildren();
  }

  showSource(pieces: readonly string[]): void {
    const cells = pieces.map((piece) =>
      make("th", { scope: "col", lang: this.languages.source }, make("span", {}, pieceLabel(piece))),
    );
    this.table.style.setProperty("--columns", String(cells.length));
    this.head.replaceChildren(make("td"), ...cells);
  }

  add(step: Step, translation: Translation): void {
    const most = translation.mostAttended(step);
    if (most === null) return;
    const name = pieceLabel(step.piece);
    const cells = step.attention.map((weight) => {
      const cell = make("td", {}, make("span", {}, percent(weight)));
      cell.style.setProperty("--weight", weight.toFixed(4));
      return cell;
    });
    this.body.append(make("tr", {}, make("th", { scope: "row", lang: this.languages.target }, name), ...cells));
    const source = translation.source[most.position];
    if (source === undefined) return;
    this.words.append(
      make(
        "li",
        {},
        make("span", { lang: this.languages.target }, name),
        " looks most at ",
        make("span", { lang: this.languages.source }, pieceLabel(source)),
        `, ${percent(most.weight)}`,
      ),
    );
  }

  mark(index: number): void {
    const { rows } = this.body;
    rows[this.shownIndex]?.classList.remove("shown");
    this.shownIndex = index;
    rows[index]?.classList.add("shown");
  }

  /** Make the row visible within the table's own window; the page stays where it is. */
  reveal(index: number): void {
    const row = this.body.rows[index];
    if (row === undefined) return;
    const top = row.offsetTop - this.head.offsetHeight;
    const bottom = row.offsetTop + row.offsetHeight - this.scroller.clientHeight;
    this.scroller.scrollTop = Math.min(Math.max(this.scroller.scrollTop, bottom), top);
  }

  private point(event: Event): void {
    const cell = event.target instanceof Element ? event.target.closest<HTMLTableCellElement>("tbody td, tbody th") : null;
    const row = cell?.parentElement;
    if (!cell || !(row instanceof HTMLTableRowElement)) return;
    this.onShow(row.sectionRowIndex);
    const source = this.head.cells[cell.cellIndex];
    if (cell.cellIndex === 0 || source === undefined) return;
    const [target, weight] = [row.cells[0]?.textContent ?? "", cell.textContent ?? ""];
    this.reading.replaceChildren(`${target} \u2192 ${source.textContent ?? ""}: ${weight}`);
  }
}
