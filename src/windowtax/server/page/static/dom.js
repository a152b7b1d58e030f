// Elements from words. Text goes in as text, so nothing that a model or a file says becomes markup.

export const byId = (id) => document.getElementById(id);

// element("td.num", "12") or element("p", { title: "..." }, child, "text"); false and null children are left out.
export function element(name, ...parts) {
  const [tag, ...classes] = name.split(".");
  const made = document.createElement(tag);
  if (classes.length) made.className = classes.join(" ");
  for (const part of parts) {
    if (part === null || part === undefined || part === false) continue;
    if (part.constructor === Object) for (const [key, value] of Object.entries(part)) made.setAttribute(key, value);
    else made.append(part);
  }
  return made;
}

// A tile: what it is, its value, a remark.
export function tile(label, value, remark, more) {
  return element("div.tile", element("dt", label), element("dd", element("data", value), element("small", remark), more));
}

// Fills a table: names of its columns, rows, a last line for what is left out; `none` where there are no rows.
export function table(id, head, rows, more, none) {
  const place = byId(id);
  if (!rows.length) {
    place.replaceChildren(element("tbody", element("tr", element("td.remark", none))));
    return;
  }
  const names = head.map((name, index) => element(index ? "th.num" : "th", { scope: "col" }, name));
  if (more) rows.push(element("tr", element("td.remark", more)));
  place.replaceChildren(element("thead", element("tr", ...names)), element("tbody", ...rows));
}

const NEAR_PX = 80;

// Whether the page is scrolled to its end, or nearly.
export function atEnd() {
  const page = document.documentElement;
  return page.scrollHeight - page.clientHeight - page.scrollTop < NEAR_PX;
}

// To the end of the conversation, while it is what is looked at.
export function toEnd() {
  if (!byId("chat-view").hidden) document.documentElement.scrollTop = document.documentElement.scrollHeight;
}

// What went wrong above a view; nothing takes it away.
export function alarm(view, error) {
  const place = view.querySelector(".alert");
  place.hidden = !error;
  place.textContent = error?.message ?? "";
}

// Calls `work` now and then every `ms`, while `view` is shown and the tab is looked at.
export function whileShown(view, ms, work) {
  let busy = false;
  const turn = async () => {
    if (busy || view.hidden || document.hidden) return;
    busy = true;
    try {
      await work();
      alarm(view, null);
    } catch (error) {
      alarm(view, error);
    } finally {
      busy = false;
    }
  };
  setInterval(turn, ms);
  return turn;
}
