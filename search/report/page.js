"use strict";
// Draws the figures in the colours of the page, light or dark, and sorts tables.
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
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

  function draw(figure) {
    const place = document.getElementById(figure.id);
    const layout = { ...figure.layout, template: template(), height: place.clientHeight, autosize: true };
    return Plotly.react(place, figure.data, layout, config);
  }

  async function drawAll() {
    delete document.documentElement.dataset.drawn;
    for (const figure of figures) {
      await draw(figure);
      await new Promise((resume) => setTimeout(resume)); // The page stays responsive in between.
    }
    document.documentElement.dataset.drawn = figures.length;
  }

  function sortBy(heading) {
    const table = heading.closest("table");
    const column = heading.cellIndex;
    const ascending = heading.getAttribute("aria-sort") === "descending";
    for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.key;
    const isNumber = heading.classList.contains("number");
    const compare = (a, b) => (isNumber ? key(a) - key(b) : key(a).localeCompare(key(b)));
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort((a, b) => (ascending ? compare(a, b) : compare(b, a))));
  }

  for (const button of document.querySelectorAll("th button")) {
    button.addEventListener("click", () => sortBy(button.closest("th")));
  }
  darkness.addEventListener("change", drawAll);
  for (const moment of ["beforeprint", "afterprint"]) {
    addEventListener(moment, () => figures.forEach(draw)); // Paper is light, whatever the screen is.
  }
  drawAll();
})();
