"use strict";
// Ranges that a reader selects on the axes of parallel coordinates: kept when the figure changes, and set by keyboard with
// two sliders for each axis below the figure.
window.axisRanges = (() => {
  const STEPS = 100; // Steps of a slider where an axis has no ticks.
  const NOT_SET = "not set"; // As in figures/space.py.

  const traceOf = (data) => (data || []).find((trace) => trace.type === "parcoords");

  // The selected ranges of an axis: plotly stores a single one without the outer list.
  function rangesOf(axis) {
    const ranges = axis.constraintrange;
    return !ranges?.length ? [] : Array.isArray(ranges[0]) ? ranges : [ranges];
  }

  // The values at which an end of a range can lie, in ascending order.
  function stopsOf(axis) {
    if (axis.tickvals) return axis.tickvals; // Plotly moves the ends of a range to the nearest ticks.
    const [low, high] = axis.values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
    const step = axis.values.every(Number.isInteger) ? Math.ceil((high - low) / STEPS) : (high - low) / STEPS;
    if (!(step > 0)) return [low];
    const count = Math.ceil((high - low) / step - 1e-6);
    return [...Array.from({ length: count }, (_, index) => low + index * step), high];
  }

  const nearest = (stops, value) =>
    stops.reduce((best, stop, index) => (Math.abs(stop - value) < Math.abs(stops[best] - value) ? index : best), 0);

  function textOf(axis, index) {
    const value = stopsOf(axis)[index];
    if (axis.ticktext) return axis.ticktext[index];
    if (axis.tickformat?.endsWith("%")) return `${(100 * value).toFixed(parseInt(axis.tickformat.slice(1), 10))} %`;
    return String(Number(value.toPrecision(3)));
  }

  // The end of a range on an axis that has changed: the same option of a choice; at the end of the axis, its new end.
  function carried(value, before, after, isChoice) {
    const [old, stops] = [stopsOf(before), stopsOf(after)];
    const index = nearest(old, value);
    if (isChoice) {
      const same = after.ticktext.indexOf(before.ticktext[index]);
      return same < 0 ? value : value + stops[same] - old[index];
    }
    // Trials without the parameter have the lowest tick: they are selected only if they were selected before.
    const lowest = after.ticktext?.[0] === NOT_SET && before.ticktext?.[index] !== NOT_SET ? 1 : 0;
    if (index === 0) return stops[lowest];
    return index === old.length - 1 ? stops.at(-1) : value;
  }

  // Give the new axes the order into which the reader has put the old ones, and the selected ranges.
  function keep(place, figure) {
    const [before, after] = [traceOf(place.data), traceOf(figure.data)];
    if (!after) return;
    after.uirevision = false; // Plotly would give a range that was set with a mouse to whichever axis has its place now.
    place.axes ??= after.dimensions.map((axis) => axis.label);
    if (!before || before === after) return;
    const shown = new Map(before.dimensions.map((axis, order) => [axis.label, { axis, order }]));
    const isMoved = before.dimensions.some((axis, order) => axis.label !== place.axes[order]);
    place.axes = after.dimensions.map((axis) => axis.label);
    for (const axis of after.dimensions) {
      const old = shown.get(axis.label)?.axis;
      const isChoice = after.meta.choices.includes(axis.label);
      const ranges = old ? rangesOf(old).map((range) => range.map((end) => carried(end, old, axis, isChoice))) : [];
      if (ranges.length) axis.constraintrange = ranges.length === 1 ? ranges[0] : ranges;
    }
    if (isMoved) {
      const order = (axis) => shown.get(axis.label)?.order ?? Infinity;
      after.dimensions.sort((a, b) => order(a) - order(b));
    }
  }

  function slider(label, end) {
    const input = document.createElement("input");
    Object.assign(input, { type: "range", min: 0, step: 1 });
    input.setAttribute("aria-label", `${label}, ${end}`);
    return input;
  }

  function makeField(place, label, redraw) {
    const field = document.createElement("fieldset");
    field.dataset.axis = label;
    const legend = document.createElement("legend");
    const [name, shown] = [document.createElement("b"), document.createElement("span")];
    name.textContent = label;
    legend.append(name, " ", shown);
    const [from, to] = [slider(label, "from"), slider(label, "to")];
    field.append(legend, from, to);
    const axis = () => traceOf(place.data).dimensions.find((one) => one.label === label);
    field.addEventListener("input", (event) => {
      const [low, high] = [Number(from.value), Number(to.value)];
      if (low > high) (event.target === from ? to : from).value = event.target.value; // An end pushes the other one.
      const stops = stopsOf(axis());
      const range = [from, to].map((end) => stops[Number(end.value)]);
      // The whole axis is no selection: then trials that come later are selected wherever they lie.
      if (range[0] === stops[0] && range[1] === stops.at(-1)) delete axis().constraintrange;
      else axis().constraintrange = range;
      showRange(field, axis()); // At once: a screen reader reads the new value before the figure is drawn.
      redraw();
    });
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !rangesOf(axis()).length) return;
      delete axis().constraintrange;
      redraw();
    });
    return field;
  }

  function showRange(field, axis) {
    const [stops, ranges] = [stopsOf(axis), rangesOf(axis)];
    const ends = ranges.length
      ? [Math.min(...ranges.map((range) => range[0])), Math.max(...ranges.map((range) => range[1]))].map((end) => nearest(stops, end))
      : [0, stops.length - 1];
    field.querySelectorAll("input").forEach((input, place) => {
      input.max = stops.length - 1;
      input.value = ends[place];
      input.setAttribute("aria-valuetext", textOf(axis, ends[place]));
    });
    const [low, high] = ends.map((end) => textOf(axis, end));
    const text = low === high ? low : `${low} to ${high}`;
    field.querySelector("span").textContent = ranges.length > 1 ? `${ranges.length} ranges, ${text}` : ranges.length ? text : "all";
  }

  function countSelected(axes) {
    const limits = axes.map((axis) => [axis.values, rangesOf(axis)]).filter(([, ranges]) => ranges.length);
    const total = axes[0].values.length;
    const isIn = (value, ranges) => ranges.some(([low, high]) => value >= low && value <= high);
    let count = 0;
    for (let trial = 0; trial < total; trial += 1) count += limits.every(([values, ranges]) => isIn(values[trial], ranges));
    return limits.length ? `${count} of ${total} trials selected.` : "";
  }

  // Show the ranges of a drawn figure on its sliders; `redraw` draws the figure again after a slider has moved.
  function show(place, redraw) {
    const [box, trace] = [place.closest("figure").querySelector(".axes"), traceOf(place.data)];
    if (!box || !trace) return;
    if (!box.firstElementChild) {
      const count = document.createElement("p");
      count.setAttribute("role", "status");
      box.append(count);
      place.on("plotly_restyle", () => show(place, redraw)); // The mouse has selected a range or moved an axis.
    }
    const before = [...box.querySelectorAll("fieldset")];
    const fields = trace.dimensions
      .filter((axis) => stopsOf(axis).length > 1)
      .map((axis) => {
        const field = before.find((one) => one.dataset.axis === axis.label) || makeField(place, axis.label, redraw);
        showRange(field, axis);
        return field;
      });
    if (fields.length !== before.length || fields.some((field, index) => field !== before[index])) {
      const focused = document.activeElement;
      before.forEach((field) => field.remove());
      box.append(...fields);
      if (box.contains(focused)) focused.focus();
    }
    box.firstElementChild.textContent = countSelected(place.calcdata[0][0].trace.dimensions);
  }

  return { keep, show };
})();
