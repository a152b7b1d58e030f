// The conversation: asking, listening, stopping, going on.

import { events, json } from "./api.js";
import { byId, toEnd } from "./dom.js";
import { Files } from "./files.js";
import { Meter } from "./meter.js";
import { Turn } from "./turn.js";

const PATH = "/v1/chat/completions";

export class Chat {
  constructor() {
    this.messages = [];
    this.running = null;
    this.files = new Files(() => this.meter?.show());
    this.meter = new Meter(this.files);
    this.question = byId("question");
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask();
    });
    byId("stop").addEventListener("click", () => this.stop());
    byId("anew").addEventListener("click", () => this.begin());
    this.question.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.ask();
    });
    this.question.addEventListener("input", () => this.fit());
  }

  // window: tokens that prompt and answer may be together.
  open(window) {
    this.meter.window = window;
    this.meter.show();
  }

  begin() {
    this.stop();
    this.messages = [];
    byId("turns").replaceChildren();
    byId("welcome").hidden = false;
    byId("anew").hidden = true;
    this.meter.take(0);
    this.question.focus();
  }

  stop() {
    this.running?.abort();
  }

  async ask() {
    const question = this.question.value.trim();
    if (this.running || !question) return;
    this.running = new AbortController();
    this.busy(true);
    try {
      await this.converse(question);
    } finally {
      this.running = null;
      this.busy(false);
      this.meter.count();
    }
  }

  async converse(question) {
    const began = performance.now(), signal = this.running.signal, messages = this.messages;
    let documents = [], content = question, turn = null;
    const used = this.meter.used;
    try {
      documents = await this.files.read();
      turn = this.turn(question, documents);
      if (documents.length) content = (await json("/v1/page/message", { body: { documents, question }, signal })).content;
      const heard = await this.listen(turn, [...messages, { role: "user", content }], signal);
      turn.end(heard.usage, heard.reason);
      this.keep(messages, content, turn.said);
      if (messages === this.messages) this.meter.take(heard.usage.total_tokens);
    } catch (error) {
      turn ??= this.turn(question, documents);
      if (error.name === "AbortError") turn.stopped(began);
      else turn.fail(error);
      // Half an answer can be talked about; a question without any goes back into the form.
      if (turn.said) {
        this.keep(messages, content, turn.said);
        this.meter.measure(messages);
      } else if (messages === this.messages) {
        this.meter.take(used);
        this.takeBack(question, documents);
      }
    }
  }

  // Shows the question and empties the form.
  turn(question, documents) {
    byId("welcome").hidden = true;
    byId("anew").hidden = false;
    this.question.value = "";
    this.fit();
    this.meter.count();
    if (documents.length) this.files.clear();
    return new Turn(question, documents);
  }

  async listen(turn, messages, signal) {
    const heard = { usage: null, reason: null };
    for await (const event of events(PATH, this.body(messages), signal)) {
      if (event.prompt_progress) {
        turn.progress(event.prompt_progress);
        this.meter.take(event.prompt_progress.processed);
      }
      const choice = event.choices[0];
      if (choice?.delta.reasoning_content) turn.think(choice.delta.reasoning_content);
      if (choice?.delta.content) turn.push(choice.delta.content);
      heard.reason = choice?.finish_reason ?? heard.reason;
      heard.usage = event.usage ?? heard.usage;
    }
    return heard;
  }

  body(messages) {
    const body = { model: "default", messages, temperature: Number(byId("temperature").value) };
    const most = Number(byId("max-tokens").value);
    if (most) body.max_tokens = most;
    return { ...body, stream: true, stream_options: { include_usage: true }, return_progress: true, explain_cache: true };
  }

  // messages: of the conversation that was going on; another one may have been begun since.
  keep(messages, question, answer) {
    messages.push({ role: "user", content: question }, { role: "assistant", content: answer });
  }

  // What was never answered goes back into the form, so that it can be mended and asked again.
  takeBack(question, documents) {
    if (this.question.value) return;
    this.question.value = question;
    this.fit();
    if (documents.length) this.files.put(documents);
    toEnd();
  }

  busy(is) {
    byId("send").hidden = is;
    byId("stop").hidden = !is;
    byId("turns").setAttribute("aria-busy", is);
  }

  fit() {
    this.question.style.height = "auto";
    this.question.style.height = `${Math.min(this.question.scrollHeight, innerHeight / 3)}px`;
  }
}
