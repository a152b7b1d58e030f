"use strict";
// Carries the form to the server and the answer into the page. No figure is computed here: every one comes from Python.

const form = document.getElementById("form");
const alertBox = document.getElementById("alert");
const answer = document.getElementById("answer");
const steps = JSON.parse(document.getElementById("steps").textContent);
const REST_MS = 90;

const question = () => new URLSearchParams(new FormData(form)).toString();

// Runs `work` for the newest question only; while one is under way, later ones wait and only the last of them is asked.
function newest(work) {
  let busy = false, waiting = null;
  return async function ask(query) {
    if (busy) { waiting = query; return; }
    busy = true;
    try { await work(query); } finally {
      busy = false;
      const next = waiting;
      waiting = null;
      if (next !== null && next !== query) ask(next);
    }
  };
}

async function fetched(path, query) {
  const reply = await fetch(`${path}?${query}`);
  const body = await reply.json();
  if (!reply.ok) throw Object.assign(new Error(body.message), { hint: body.hint });
  return body;
}

function fail(error) {
  const head = document.createElement("b");
  head.textContent = error instanceof TypeError ? "The planner does not answer: was it stopped?" : error.message;
  alertBox.replaceChildren(head, ` ${error.hint ?? ""}`);
  alertBox.hidden = false;
  answer.classList.add("stale");
}

const askFigures = newest(async (query) => {
  try {
    const got = await fetched("figures", query);
    if (query !== question()) return;
    alertBox.hidden = true;
    answer.classList.remove("stale");
    document.title = got.title;
    document.getElementById("figures").innerHTML = got.figures;
    const open = [...document.querySelectorAll("#tables details")].map((one) => one.open);
    document.getElementById("tables").innerHTML = got.tables;
    document.querySelectorAll("#tables details").forEach((one, index) => { one.open = open[index] ?? false; });
    document.getElementById("command").textContent = got.command;
    document.getElementById("save").href = `report.html?${query}`;
    for (const [name, hint] of Object.entries(got.hints)) form.elements[name].placeholder = hint;
    for (const slider of form.querySelectorAll("input[type=range]")) {
      if (slider !== document.activeElement) slider.value = got.positions[slider.dataset.for];
      slider.setAttribute("aria-valuetext", form.elements[slider.dataset.for].value || got.hints[slider.dataset.for]);
    }
    history.replaceState(null, "", `?${query}`);
  } catch (error) {
    if (query === question()) fail(error);
  }
});

const askPlots = newest(async (query) => {
  const place = document.getElementById("plots");
  place.classList.add("waits");
  try {
    const got = await fetched("plots", query);
    if (query !== question()) return;
    place.innerHTML = got.plots;
    document.querySelectorAll(".tip").forEach((tip) => { tip.hidden = true; });
  } catch {
    // The figures' own request says what is wrong.
  } finally {
    place.classList.remove("waits");
  }
});

let rest;
function changed() {
  const query = question();
  askFigures(query);
  clearTimeout(rest);
  rest = setTimeout(() => askPlots(question()), REST_MS);
}

form.addEventListener("input", (event) => {
  const slider = event.target;
  if (slider.type === "range") form.elements[slider.dataset.for].value = steps[slider.dataset.for][slider.value];
  changed();
});
// Some thousand names: they come when they are first wanted.
form.elements.api.addEventListener("focus", async () => {
  const reply = await fetch("prices");
  if (reply.ok) document.getElementById("prices").innerHTML = await reply.text();
}, { once: true });
form.addEventListener("submit", (event) => { event.preventDefault(); changed(); });

if (matchMedia("(max-width: 60rem)").matches) form.querySelector("details").open = false;
changed();
