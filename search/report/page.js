"use strict";
// Draws the figures in the colours of the page, light or dark, sorts tables, and steps through points by keyboard.
// `window.report` is for live.js, which replaces figures while a search runs.
(() => {
  const figures = new Map(JSON.parse(document.getElementById("figures").textContent).map((one) => [one.id, one]));
  const darkness = matchMedia("(prefers-color-scheme: dark)");
  const touch = matchMedia("(pointer: coarse)").matches;
  const config = {
    responsive: true,
    displaylogo: false,
    displayModeBar: matchMedia("(hover: hover)").matches ? "hover" : false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "sendChartToCloud"],
    showSendToCloud: false, // Nothing here talks to a server, not even when asked to.
    plotlyServerURL: "",
    toImageButtonOptions: { format: "svg" },
  };

  function template() {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(`--${name}`).trim();
    const [ink, soft, faint, paper] = ["ink", "soft", "faint", "paper"].map(color);
    const axis = { gridcolor: faint, linecolor: faint, zeroline: false, tickcolor: "rgba(0,0,0,0)", ticks: "outside", ticklen: 6, title: { standoff: 8 } };
    return {
      layout: {
        font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: soft },
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        modebar: { bgcolor: "rgba(0,0,0,0)", color: soft, activecolor: ink },
        hoverlabel: { bgcolor: paper, bordercolor: soft, font: { color: ink } },
        dragmode: touch ? false : "zoom", // On a touch screen a finger on a figure should scroll the page.
        coloraxis: { colorscale: [[0, color("scale-low")], [1, color("scale-high")]], colorbar: { outlinewidth: 0 } },
        xaxis: axis,
        yaxis: axis,
      },
      data: {
        parcoords: [{
          labelfont: { color: ink, size: 12 },
          tickfont: { color: soft, size: 11 },
          rangefont: { color: "rgba(0,0,0,0)", size: 1 },
          unselected: { line: { color: faint, opacity: 0.3 } },
        }],
      },
    };
  }

  async function draw(figure) {
    const place = figure && document.getElementById(figure.id);
    if (!place) return; // A part that was removed in the meantime.
    window.axisRanges.keep(place, figure);
    const layout = { ...figure.layout, template: template(), height: place.clientHeight, autosize: true, uirevision: "reader" };
    await Plotly.react(place, figure.data, layout, config);
    window.axisRanges.show(place, () => drawAll([figure.id]));
  }

  // Figures that are to be drawn, the nearest to what the reader sees first.
  const waiting = new Set();
  let isDrawing = false;

  function distance(id) {
    const box = document.getElementById(id)?.getBoundingClientRect();
    return box ? Math.max(0, box.top - innerHeight, -box.bottom) : -1;
  }

  async function drawAll(ids = figures.keys()) {
    for (const id of [...ids]) waiting.add(id);
    if (isDrawing) return;
    isDrawing = true;
    delete document.documentElement.dataset.drawn;
    while (waiting.size) {
      const nearest = [...waiting].reduce((a, b) => (distance(b) < distance(a) ? b : a));
      waiting.delete(nearest);
      await draw(figures.get(nearest));
      await new Promise((resume) => setTimeout(resume)); // The page stays responsive in between.
    }
    isDrawing = false;
    document.documentElement.dataset.drawn = figures.size;
  }

  function sortBy(heading, ascending) {
    const table = heading.closest("table");
    const column = heading.cellIndex;
    for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.key;
    const isNumber = heading.classList.contains("number");
    const compare = (a, b) => (isNumber ? a - b : a.localeCompare(b));
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort((first, second) => {
      const [a, b] = [key(first), key(second)];
      if (!a || !b) return !a - !b; // An unknown value comes last, whichever way the others are sorted.
      return ascending ? compare(a, b) : compare(b, a);
    }));
  }

  // Arrow keys step through the points of a focused figure; where the figure scrolls sideways, together with Shift.
  const spoken = document.createElement("p");
  spoken.className = "spoken";
  spoken.setAttribute("aria-live", "polite");
  document.body.append(spoken);

  function pointsOf(place) {
    const points = [];
    (place.calcdata || []).forEach((calculated) => {
      const { trace } = calculated[0];
      if (trace.visible !== true || trace.hoverinfo === "skip" || !["scatter", "scattergl", "bar"].includes(trace.type)) return;
      const xs = trace.orientation === "h" && trace.type === "bar" ? trace.y : trace.x;
      (xs || []).forEach((x, pointNumber) => {
        if (x !== null && trace.y[pointNumber] !== null) points.push({ curveNumber: trace.index, pointNumber });
      });
    });
    return points;
  }

  function step(place, move) {
    const points = pointsOf(place);
    if (!points.length) return;
    const start = move > 0 ? -1 : points.length;
    place.point = Math.min(points.length - 1, Math.max(0, (place.point ?? start) + move));
    Plotly.Fx.hover(place, [points[place.point]]);
    const label = place.querySelector(".hoverlayer");
    spoken.textContent = [...label.querySelectorAll("text:not(.name), tspan.line")].map((line) => line.textContent).find(Boolean) || "";
  }

  addEventListener("keydown", (event) => {
    const region = event.target instanceof Element && event.target.matches(".wide") ? event.target : null;
    const place = region?.querySelector(".plot");
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!place || !place.calcdata) return;
    if (event.key === "Escape") {
      delete place.point;
      Plotly.Fx.unhover(place);
    } else if (move && (event.shiftKey || region.scrollWidth <= region.clientWidth)) {
      event.preventDefault();
      step(place, move);
    }
  });

  addEventListener("click", (event) => {
    const heading = event.target instanceof Element && event.target.closest("th button")?.closest("th");
    if (heading) sortBy(heading, heading.getAttribute("aria-sort") === "descending");
  });
  darkness.addEventListener("change", () => drawAll());
  for (const moment of ["beforeprint", "afterprint"]) {
    addEventListener(moment, () => figures.forEach(draw)); // Paper is light, whatever the screen is.
  }
  window.report = {
    // Draw new figures, and forget those whose element is no longer on the page.
    replaceFigures(changed) {
      for (const figure of changed) figures.set(figure.id, figure);
      for (const id of [...figures.keys()]) if (!document.getElementById(id)) figures.delete(id);
      return drawAll(changed.map((figure) => figure.id));
    },
    sortAgain() {
      for (const heading of document.querySelectorAll("th[aria-sort]")) {
        sortBy(heading, heading.getAttribute("aria-sort") === "ascending");
      }
    },
  };
  drawAll();
})();
