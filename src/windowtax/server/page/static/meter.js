// How full the window is: what the conversation takes, by the last bill, and what the next question adds.

import { json } from "./api.js";
import { byId } from "./dom.js";
import { count, percent } from "./format.js";

const REST_MS = 350;

export class Meter {
  constructor(files) {
    this.files = files;
    this.window = 0;
    this.used = 0;
    this.typed = 0;
    this.asked = 0;
    byId("question").addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.count(), REST_MS);
    });
  }

  // The tokens of what is typed, by the server's tokenizer.
  async count() {
    const prompt = byId("question").value, number = this.asked += 1;
    try {
      const typed = prompt ? (await json("/tokenize", { body: { prompt, add_special_tokens: false } })).count : 0;
      if (number === this.asked) this.typed = typed;
    } catch {
      return; // what is wrong is told when the question is asked
    }
    this.show();
  }

  // used: tokens of the conversation, as far as they are in the window.
  take(used) {
    this.used = used;
    this.show();
  }

  // Counts a conversation of which no bill came.
  async measure(messages) {
    try {
      this.take((await json("/tokenize", { body: { messages, add_generation_prompt: false } })).count);
    } catch {
      return; // the next bill has it
    }
  }

  show() {
    const draft = this.typed + this.files.numTokens, total = this.used + draft;
    byId("window").hidden = !this.window;
    if (!this.window) return;
    const bar = byId("window").querySelector(".bar"), share = (tokens) => `${Math.min(100, (100 * tokens) / this.window)}%`;
    bar.querySelector(".used").style.width = share(this.used);
    bar.querySelector(".draft").style.width = share(Math.min(draft, this.window - this.used));
    bar.setAttribute("aria-valuemax", this.window);
    bar.setAttribute("aria-valuenow", Math.min(total, this.window));
    bar.classList.toggle("over", total >= this.window);
    const next = draft ? `, about ${count(draft)} more with this question` : "";
    byId("window").querySelector("small").textContent =
      `${count(this.used)} of the window's ${count(this.window)} tokens (${percent(this.used / this.window)})${next}`
      + (total >= this.window ? ": too many, nothing would be cut in silence" : "");
  }
}
