// Puts the views together and changes between them.

import { json } from "./api.js";
import { Blocks } from "./blocks.js";
import { Chat } from "./chat.js";
import { atEnd, byId, element } from "./dom.js";
import { Metrics } from "./metrics.js";
import { Tiers } from "./tiers.js";

const VIEWS = ["chat", "blocks", "metrics", "plan"];
const chat = new Chat(), live = { blocks: [new Blocks(), new Tiers()], metrics: [new Metrics()] };

const scrolled = {};
let current = null;

function show() {
  const chosen = VIEWS.find((name) => location.hash === `#${name}`) ?? "chat";
  if (current) scrolled[current] = atEnd() ? Number.MAX_SAFE_INTEGER : scrollY;
  current = chosen;
  for (const name of VIEWS) {
    byId(`${name}-view`).hidden = name !== chosen;
    const link = document.querySelector(`nav a[href="#${name}"]`);
    if (name === chosen) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  for (const one of live[chosen] ?? []) one.look();
  if (chosen === "plan" && !byId("plan-view").firstChild) showPlan();
  scrollTo(0, scrolled[chosen] ?? 0);
  if (chosen === "chat" && matchMedia("(hover: hover)").matches) byId("question").focus({ preventScroll: true });
}

async function showPlan() {
  const place = byId("plan-view"), path = "/plan/framed";
  // A frame sends no key, so the planner is there only where the server wants none.
  const reply = await fetch(path).catch(() => null);
  const why = !reply ? "The server does not answer. Is it still running?"
    : reply.status === 401 ? "The planner is shown by servers without keys only; `windowtax plan --open` shows it anywhere."
    : "This server does not plan: its model is not described by files that plans read.";
  place.replaceChildren(reply?.ok ? element("iframe", { src: path, title: "The planner" }) : element("p.alert", why));
}

addEventListener("hashchange", show);
addEventListener("keydown", (event) => {
  if (event.altKey && /^Digit[1-4]$/.test(event.code)) {
    event.preventDefault();
    location.hash = VIEWS[Number(event.code.slice(5)) - 1];
  } else if (event.key === "Escape") {
    chat.stop();
  } else if (event.key === "/" && !event.ctrlKey && !event.target.closest("input, textarea, dialog")) {
    event.preventDefault();
    location.hash = "chat";
    show(); // the event comes later, and what is hidden takes no focus
    byId("question").focus();
  }
});
show();

try {
  const model = (await json("/v1/models")).data[0];
  byId("model").textContent = model.id;
  document.title = `${model.id} · windowtax`;
  chat.open(model.max_model_len);
} catch (error) {
  byId("model").textContent = error.message;
}
