// Files that the next question is about: chosen or dropped here, read by the server as `windowtax ask` reads them.

import { json } from "./api.js";
import { byId, element } from "./dom.js";
import { count } from "./format.js";

export class Files {
  // changed: called whenever there is another set of files.
  constructor(changed) {
    this.changed = changed;
    this.entries = [];
    const pick = byId("pick");
    pick.addEventListener("change", () => {
      this.add(pick.files);
      pick.value = "";
    });
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      if (event.dataTransfer.files.length) this.add(event.dataTransfer.files);
    });
  }

  // Those that were read; waits for those that are still on the way. Raises where one could not be read.
  async read() {
    await Promise.all(this.entries.map((entry) => entry.reading));
    const failed = this.entries.find((entry) => entry.failed);
    if (failed) throw new Error(`${failed.failed} Take it out to go on without it.`);
    return this.entries.map((entry) => entry.document);
  }

  get numTokens() {
    return this.entries.reduce((sum, entry) => sum + (entry.document?.num_tokens ?? 0), 0);
  }

  clear() {
    this.entries = [];
    this.show();
  }

  put(documents) {
    this.entries = documents.map((document) => ({ name: document.name, document }));
    this.show();
  }

  add(files) {
    for (const file of files) {
      const entry = { name: file.name };
      entry.reading = json(`/v1/page/document?name=${encodeURIComponent(file.name)}`, { body: file })
        .then((document) => { entry.document = document; }, (error) => { entry.failed = error.message; })
        .finally(() => this.show());
      this.entries.push(entry);
    }
    this.show();
  }

  show() {
    byId("files").replaceChildren(...this.entries.map((entry) => this.chip(entry)));
    this.changed();
  }

  chip(entry) {
    const { document, failed, name } = entry;
    const remark = failed ?? (document ? `${count(document.num_tokens)} tokens${document.note && `, ${document.note}`}` : "is read …");
    const out = element("button", { type: "button", "aria-label": `Take ${name} out` }, "×");
    out.addEventListener("click", () => {
      this.entries.splice(this.entries.indexOf(entry), 1);
      this.show();
      byId("question").focus();
    });
    return element(failed ? "li.chip.failed" : "li.chip", element("b", name), " ", element("small", remark), out);
  }
}
