// What the report's page does: draw the timelines as they come into view, search, keys, themes.
//
// It stands in one module with timeline.js, whose `draw` it calls; nothing here writes markup.

const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const timelines = new Map(); // by the prefix of their session

// -- timelines ---------------------------------------------------------------------------------

function show(figure) {
  const { prefix } = figure.dataset;
  const { data, said } = JSON.parse(document.getElementById(`${prefix}-data`).textContent);
  const timeline = draw(figure, data, (place) => said[place]);
  figure.classList.add("drawn");
  timelines.set(prefix, timeline);
  timeline.on("selected", (place) => { if (place >= 0) reveal(prefix, place); });
  timeline.on("row", (row) => {
    const section = document.getElementById(prefix);
    for (const line of all(".files tr.here", section)) line.classList.remove("here");
    section.querySelector(`.files tr[data-row="${row}"]`)?.classList.add("here");
  });
}

function drawn(prefix) {
  if (!timelines.has(prefix)) {
    const figure = document.querySelector(`figure.timeline[data-prefix="${prefix}"]`);
    if (!figure) return null;
    coming.unobserve(figure);
    show(figure);
  }
  return timelines.get(prefix);
}

const coming = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (isIntersecting) drawn(target.dataset.prefix);
  }
}, { rootMargin: "600px" });
for (const figure of all("figure.timeline[data-prefix]")) coming.observe(figure);

// -- calls -------------------------------------------------------------------------------------

const calls = all(".call");
const callOf = new Map();
for (const call of calls) {
  const { prefix } = call.closest(".session").dataset;
  for (const place of (call.dataset.places ?? "").split(" ").filter(Boolean)) callOf.set(`${prefix} ${place}`, call);
}
let here = null;

let brought = null;

/** Into the middle of the window, or another part of it; what was not laid out yet only then gets its
 * height, so thrice, unless something else is to be brought by then. */
function bring(element, block = "center") {
  brought = element;
  const go = () => { if (brought === element) element.scrollIntoView({ block, behavior: "instant" }); };
  go();
  requestAnimationFrame(() => { go(); requestAnimationFrame(go); });
}

/** Brings a call into view, open, and its event into the timeline. */
function goTo(call, isTold = true) {
  here?.classList.remove("here");
  here = call;
  call.classList.add("here");
  if (call.tagName === "DETAILS") call.open = true;
  bring(call);
  const place = call.dataset.places?.split(" ")[0];
  if (isTold && place) drawn(call.closest(".session").dataset.prefix)?.set("selected", Number(place));
}

/** What was chosen in the timeline, below it; the timeline stays where it is if it was clicked. */
function reveal(prefix, place) {
  const call = callOf.get(`${prefix} ${place}`);
  if (call && call !== here) goTo(call, false);
}

document.addEventListener("click", (event) => {
  const row = event.target.closest?.(".files tr[data-row]");
  if (row && event.target.closest("button")) {
    const { prefix } = row.closest(".session").dataset;
    const timeline = drawn(prefix);
    if (!timeline) return; // of a page that has its picture alone
    timeline.set("row", Number(row.dataset.row));
    bring(document.querySelector(`figure.timeline[data-prefix="${prefix}"]`));
    return;
  }
  const call = event.target.closest?.(".call > summary, .call > .head")?.parentElement;
  if (!call?.dataset.places) return;
  here?.classList.remove("here");
  here = call;
  call.classList.add("here");
  drawn(call.closest(".session").dataset.prefix)?.set("selected", Number(call.dataset.places.split(" ")[0]));
});

function step(list, by) {
  if (!list.length) return;
  const middle = window.innerHeight / 2;
  let at = list.indexOf(here);
  if (at >= 0) at += by;
  else {
    const next = list.findIndex((one) => one.getBoundingClientRect().top > (here ? here.getBoundingClientRect().top : middle));
    at = by > 0 ? next : (next < 0 ? list.length : next) - 1;
  }
  if (at >= 0 && at < list.length) goTo(list[at]);
}

function stepTurn(by) {
  const turns = all(".turn"), tops = turns.map((turn) => turn.getBoundingClientRect().top - 70);
  const at = by > 0 ? tops.findIndex((top) => top > 4) : tops.findLastIndex((top) => top < -4);
  if (at >= 0) bring(turns[at], "start");
}

// -- open and close ----------------------------------------------------------------------------

const foldButton = document.getElementById("fold");
let isAllOpen = false;
function fold() {
  isAllOpen = !isAllOpen;
  for (const details of all("details.call, details.reasoning, details.files")) details.open = isAllOpen;
  foldButton.textContent = isAllOpen ? "close all" : "open all";
}
foldButton.addEventListener("click", fold);

// -- themes ------------------------------------------------------------------------------------

const themeButton = document.getElementById("theme");
const isDark = () => {
  const set = document.documentElement.dataset.theme;
  return set ? set === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};
const nameTheme = () => { themeButton.textContent = isDark() ? "light" : "dark"; };
function theme() {
  document.documentElement.dataset.theme = isDark() ? "light" : "dark";
  nameTheme();
}
themeButton.addEventListener("click", theme);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", nameTheme);
nameTheme();

// -- search ------------------------------------------------------------------------------------

const BLOCKS = "h2, h4, .text, pre, summary, .head, td.t, .files th, .sessions th, .note";
const { highlights } = globalThis.CSS; // timeline.js has a CSS of its own
const MOST = 5000; // hits that are marked; nobody steps through more
const box = document.getElementById("search"), hits = document.getElementById("hits");
let blocks = null, found = [], current = -1, waiting = 0;

/** Each block of the page that is looked through, with its text in small letters. */
function searched() {
  blocks ??= all(BLOCKS).filter((block) => !block.matches("td.t pre")).map((block) =>
    ({ block, text: block.textContent.toLowerCase() }));
  return blocks;
}

function search() {
  const words = box.value.toLowerCase().trim();
  found = [];
  current = -1;
  if (words.length > 1) {
    for (const { block, text } of searched()) {
      for (let at = text.indexOf(words); at >= 0 && found.length < MOST; at = text.indexOf(words, at + words.length)) {
        found.push({ block, at, length: words.length });
      }
    }
  }
  paint();
  hits.textContent = words.length > 1 ? (found.length ? `${found.length.toLocaleString("en")}${found.length === MOST ? "+" : ""}` : "none") : "";
}

function range({ block, at, length }) {
  const made = document.createRange(), walker = document.createTreeWalker(block, NodeFilter.SHOW_TEXT);
  let passed = 0, node = walker.nextNode();
  while (node && passed + node.length <= at) { passed += node.length; node = walker.nextNode(); }
  if (!node) return null;
  made.setStart(node, at - passed);
  while (node && passed + node.length < at + length) { passed += node.length; node = walker.nextNode(); }
  if (!node) return null;
  made.setEnd(node, at + length - passed);
  return made;
}

function paint() {
  if (!highlights) return;
  const ranges = found.map(range).filter(Boolean);
  highlights.set("found", new Highlight(...ranges));
  const one = current >= 0 ? range(found[current]) : null;
  if (one) highlights.set("current", Object.assign(new Highlight(one), { priority: 1 }));
  else highlights.delete("current");
}

function next(by) {
  if (!found.length) return;
  current = (current + by + found.length) % found.length;
  const { block } = found[current];
  for (let up = block; up; up = up.parentElement) {
    if (up.tagName === "DETAILS" && !(block.tagName === "SUMMARY" && block.parentElement === up)) up.open = true;
  }
  const node = range(found[current])?.startContainer; // a long block is not in view by its middle
  bring(node?.parentElement ?? block);
  hits.textContent = `${(current + 1).toLocaleString("en")} of ${found.length.toLocaleString("en")}`;
  paint();
}

box.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(search, 120); });
box.addEventListener("keydown", (event) => {
  if (event.key === "Enter") {
    clearTimeout(waiting);
    if (!found.length || hits.textContent === "") search();
    next(event.shiftKey ? -1 : 1);
    event.preventDefault();
  } else if (event.key === "Escape") {
    box.value = "";
    search();
    box.blur();
  }
});

// -- keys --------------------------------------------------------------------------------------

const KEYS = {
  "/": () => { box.focus(); box.select(); },
  j: () => step(calls.filter((call) => call.dataset.places), 1),
  k: () => step(calls.filter((call) => call.dataset.places), -1),
  n: () => stepTurn(1),
  p: () => stepTurn(-1),
  e: () => step(calls.filter((call) => call.classList.contains("failed")), 1),
  o: fold,
  t: theme,
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target === box) return;
  if (event.target.closest?.(".ocs-timeline") && event.key !== "/") return;
  const does = KEYS[event.key];
  if (!does) return;
  event.preventDefault();
  does();
});
document.documentElement.dataset.ready = "true";
