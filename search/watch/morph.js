"use strict";
// Changes an element into new HTML with as few changes as possible: what is equal stays, with its scroll position and
// focus. Figures and their sliders stay as they are drawn; the state of a sorted table and of an open <details> is the reader's.
window.morph = (() => {
  const OURS = new Set(["aria-sort", "open"]);

  function morphNode(old, fresh) {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
      old.replaceWith(fresh);
    } else if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    } else {
      morphAttributes(old, fresh);
      if (!old.matches(".plot, .axes")) morphChildren(old, fresh);
    }
  }

  function morphAttributes(old, fresh) {
    const isPlot = old.classList.contains("plot"); // Its class and height are plotly's, too.
    for (const { name, value } of [...fresh.attributes]) {
      if (old.getAttribute(name) !== value && !(isPlot && name === "class")) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !OURS.has(name)) old.removeAttribute(name);
    }
  }

  function morphChildren(old, fresh) {
    const wanted = [...fresh.childNodes];
    const here = [...old.childNodes];
    // A figure that is drawn stays, also if something was added before it.
    const keyed = new Map(here.filter((node) => keyOf(node)).map((node) => [keyOf(node), node]));
    const used = new Set(); // Other nodes that stay already.
    let at = 0;
    for (const node of wanted) {
      const key = keyOf(node);
      const match = key ? keyed.get(key) : here.find((other) => !keyOf(other) && other.nodeName === node.nodeName && !used.has(other));
      if (!match) {
        old.insertBefore(node, old.childNodes[at] || null);
      } else {
        used.add(match);
        if (old.childNodes[at] !== match) old.insertBefore(match, old.childNodes[at]);
        morphNode(match, node);
      }
      at += 1;
    }
    while (old.childNodes.length > at) old.lastChild.remove();
  }

  function keyOf(node) {
    return node.nodeType === Node.ELEMENT_NODE ? node.id || node.querySelector(":scope > .wide > .plot")?.id : undefined;
  }

  return (old, html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    morphChildren(old, template.content);
  };
})();
