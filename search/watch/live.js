"use strict";
// Keeps an open report up to date: progress while the search runs, changed parts and figures, the finished file at the end.
(() => {
  const version = document.currentScript.dataset.version;
  const panel = document.createElement("section");
  panel.className = "live";
  panel.setAttribute("aria-label", "Progress");
  panel.innerHTML = '<h2>Live</h2><div class="live-status"></div><p class="meta" role="status"></p>';
  document.querySelector("main").before(panel);
  const [status, trouble] = [panel.querySelector(".live-status"), panel.querySelector("[role=status]")];

  // While a pointer is down, a selection is being drawn: changes wait until it is up.
  let isDown = false;
  let waiting = [];
  addEventListener("pointerdown", () => { isDown = true; }, true);
  for (const kind of ["pointerup", "pointercancel"]) {
    addEventListener(kind, () => {
      isDown = false;
      setTimeout(() => { if (!isDown) waiting.splice(0).forEach((apply) => apply()); });
    }, true);
  }
  const whenUp = (apply) => (isDown ? waiting.push(apply) : apply());

  const partOf = (name) => document.querySelector(`[data-part="${name}"]`);
  const elementOf = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html.trim();
    return template.content.firstElementChild;
  };

  function applyParts(order, parts) {
    let before = null;
    for (const name of order) {
      let part = partOf(name);
      if (name in parts) {
        const fresh = elementOf(parts[name]);
        if (part) window.morph(part, fresh.innerHTML);
        else {
          if (before) before.after(fresh);
          else document.querySelector("main").prepend(fresh);
          part = fresh;
        }
      }
      before = name === "header" ? null : part;
    }
    for (const part of document.querySelectorAll("[data-part]")) if (!order.includes(part.dataset.part)) part.remove();
    window.report.sortAgain();
  }

  async function applyFile() {
    const answer = await fetch(location.pathname);
    const file = new DOMParser().parseFromString(await answer.text(), "text/html");
    const parts = [...file.querySelectorAll("[data-part]")];
    applyParts(parts.map((part) => part.dataset.part), Object.fromEntries(parts.map((part) => [part.dataset.part, part.outerHTML])));
    document.querySelector('meta[name="sieve-state"]').content = file.querySelector('meta[name="sieve-state"]').content;
    panel.hidden = true;
    await window.report.replaceFigures(JSON.parse(file.getElementById("figures").textContent));
    document.documentElement.dataset.finished = "yes";
  }

  const source = new EventSource(`${location.pathname}/events?version=${version}`);
  source.addEventListener("status", (event) => {
    trouble.textContent = "";
    whenUp(() => window.morph(status, JSON.parse(event.data).html));
  });
  source.addEventListener("change", (event) => {
    const change = JSON.parse(event.data);
    whenUp(() => {
      panel.hidden = false;
      applyParts(change.order, change.parts);
      window.report.replaceFigures(change.figures.map((text) => JSON.parse(text)));
      document.documentElement.dataset.version = change.version;
    });
  });
  source.addEventListener("finished", () => whenUp(applyFile));
  source.addEventListener("trouble", (event) => { trouble.textContent = `No news from the database: ${JSON.parse(event.data).line}`; });
  source.addEventListener("error", () => { trouble.textContent = "The connection to sieve watch is lost. This page tries again."; });
})();
