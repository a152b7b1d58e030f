// One question and its answer on the screen: files, progress of the prompt, text, bill.

import { bill } from "./bill.js";
import { atEnd, byId, element, toEnd } from "./dom.js";
import { count, rate, seconds } from "./format.js";
import { Markdown } from "./markdown.js";

export class Turn {
  constructor(question, documents) {
    const chips = documents.map((one) => element("li.chip", element("b", one.name), " ", element("small", `${count(one.num_tokens)} tokens`)));
    this.state = element("p.state", { role: "status" }, "The request is on its way …");
    this.fill = element("i.used");
    this.cached = element("i.cached");
    this.bar = element("div.bar", { role: "progressbar", "aria-label": "Prompt", "aria-valuemin": "0" }, this.cached, this.fill);
    this.text = element("div.text");
    this.answer = element("div.answer", { "aria-busy": "true" }, this.state, this.bar, this.text);
    this.place = element("article.turn", element("div.question", chips.length > 0 && element("ul", ...chips), element("p", question)), this.answer);
    this.bar.hidden = true;
    this.markdown = new Markdown(this.text);
    this.said = "";
    this.drawing = 0;
    byId("turns").append(this.place);
    toEnd();
  }

  // progress: as `prompt_progress` of a chunk: total, cache, processed in tokens, time_ms.
  progress(progress) {
    const { total, cache, processed, time_ms: ms } = progress;
    this.bar.hidden = false;
    this.cached.style.width = `${(100 * cache) / total}%`;
    this.fill.style.width = `${(100 * (processed - cache)) / total}%`;
    this.bar.setAttribute("aria-valuemax", total);
    this.bar.setAttribute("aria-valuenow", processed);
    // The first news comes with the time in the queue; from there on the speed is the computing's own.
    const from = this.first ?? { processed: cache, time_ms: 0 }, tokens = processed - from.processed;
    const speed = ms > from.time_ms ? `, ${rate((1000 * tokens) / (ms - from.time_ms))} tokens/s` : "";
    this.first ??= progress;
    this.tell(`Reading the prompt: ${count(processed)} of ${count(total)} tokens, ${count(cache)} cached${speed}`);
  }

  // What the model thinks before it answers, folded away.
  think(text) {
    this.thoughts ??= this.fold();
    this.thoughts.append(text);
    this.tell("Thinking …");
  }

  fold() {
    const thoughts = element("div");
    this.text.before(element("details.thoughts", element("summary", "Thoughts"), thoughts));
    return thoughts;
  }

  push(text) {
    this.said += text;
    if (!this.state.hidden) {
      this.state.hidden = true;
      this.bar.hidden = true;
    }
    // Drawn once per frame, however many tokens arrive.
    this.drawing ||= requestAnimationFrame(() => {
      this.drawing = 0;
      this.draw();
    });
  }

  draw() {
    const stays = !atEnd(); // whoever has scrolled up to read is left there
    this.markdown.show(this.said);
    if (!stays) toEnd();
  }

  end(usage, reason) {
    const stays = !atEnd();
    this.settle();
    if (!this.said) this.tell("The answer is empty.");
    if (reason === "length") this.note("The answer ended at its token limit; ask to go on, or allow more.");
    if (usage) {
      document.querySelectorAll("details.bill[open]").forEach((one) => { one.open = false; });
      const made = bill(usage);
      made.open = true;
      this.answer.append(made);
    }
    if (!stays) toEnd();
  }

  stopped(began) {
    this.settle();
    const stays = !atEnd();
    this.note(`Stopped after ${seconds((performance.now() - began) / 1000)}. The server ended the request when the connection closed; its bill is in the ledger (windowtax bill).`);
    if (!stays) toEnd();
  }

  fail(error) {
    this.settle();
    const others = error.details?.alternatives ?? [];
    const list = others.map((one) => element("li", one.usd === undefined ? one.what : `${one.what}: $${one.usd.toPrecision(3)}`));
    this.answer.append(element("div.alert", { role: "alert" }, element("p", error.message), list.length > 0 && element("ul", ...list)));
    toEnd();
  }

  settle() {
    this.answer.setAttribute("aria-busy", "false");
    this.bar.hidden = this.state.hidden = true;
    this.draw();
  }

  note(text) {
    this.answer.append(element("p.note", text));
  }

  tell(text) {
    this.state.hidden = false;
    this.state.textContent = text;
  }
}
