"use strict";
// Keeps the list of studies up to date.
(() => {
  const trouble = document.getElementById("trouble");
  const source = new EventSource("/events");
  source.addEventListener("rows", (event) => {
    trouble.textContent = "";
    window.morph(document.getElementById("rows"), JSON.parse(event.data).html);
  });
  source.addEventListener("trouble", (event) => { trouble.textContent = `No news from the database: ${JSON.parse(event.data).line}`; });
  source.addEventListener("error", () => { trouble.textContent = "The connection to sieve watch is lost. This page tries again."; });
})();
