"use strict";
// Points at a mark, shows the sentence that Python wrote for it. Nothing is computed here.
{
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  document.body.append(tip);
  const show = (event) => {
    const mark = event.target.closest?.("svg [aria-roledescription='point'], svg [aria-roledescription='bar']");
    tip.hidden = !mark;
    if (!mark) return;
    tip.style.left = "0";
    tip.textContent = mark.getAttribute("aria-label");
    const place = mark.getBoundingClientRect(), room = document.documentElement.clientWidth;
    const left = Math.min(Math.max(8, place.left + place.width / 2 - tip.offsetWidth / 2), room - tip.offsetWidth - 8);
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${place.top + scrollY - tip.offsetHeight - 8}px`;
  };
  addEventListener("pointerover", show);
  addEventListener("pointerdown", show);
}
