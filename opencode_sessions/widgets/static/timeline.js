// File events on one canvas: a row a file, a mark an event.
//
// A notebook calls `render({ model, el })`, by way of anywidget. Any other page calls
//
//     const timeline = draw(el, data, say);
//
// `data` is what `Picture.wire()` gives in Python, its bytes as base64 or as Uint8Array; it may also
// set `axis`, `size_by_lines`, `brushed`, `selected` (a place) and `row`. `say(place)`, which need
// not be given, is all there is to say of one event: pairs of a heading and a text. What is chosen is
// read by `timeline.get("selected")`, set by `timeline.set("selected", 7)`, and followed by
// `timeline.on("selected", (place) => ...)`; `timeline.remove()` takes it off the page. The file
// imports nothing, so a page can hold it in a `<script type="module">` with the call at its end.
//
// Text reaches the page by textContent and fillText alone. Lengths are CSS pixels; places count
// events from 0; `u` is where an event stands on the axis, before zooming.

const HEAD = 36; // the axis above the rows
const FOOT = 12; // the bar below, which says what part of the axis is in view
const PAD = 10; // between the plot's edge and the first and the last mark
const FOLD = 60; // rows until the others share one
const APART = [8, 7, 6.5, 6.05]; // marks of one row, so that each can be clicked; the first that fits
const LEAST_STEP = 0.15; // from one event to the next, of another row
const WIDEST_STEP = 56; // between two events: three of them should not span a screen
const ARRANGED = 20_000; // events up to which places are fitted to the rows
const MARKS_PER_PIXEL = 4; // above this single marks hide each other: show density instead
const BIN = 3; // width of a density bin
const REACH = 9; // how far from a mark a click still means it
const TURN_APART = 20; // the least room for a turn, on average, for turns to be shown
const PAUSE = 5 * 60_000; // ms without an event, longer ones are folded in time
const DWELL = 80; // ms of pointing until Python is asked
const FAILED = 8, FAINT = 16, KIND = 7; // bits of `kind`, as picture.py has them
const UNTOLD = 255, LINES_STEPS = 12; // of `lines`, as picture.py has them
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200,
  86400, 172800, 604800].map((s) => s * 1000);

const CSS = `
.ocs-timeline { position: relative; display: flex; flex-direction: column; width: 100%;
  min-width: 240px; min-height: 0; max-height: 100%; box-sizing: border-box; overflow: hidden;
  font-family: var(--jp-ui-font-family, system-ui, sans-serif); font-size: 12px; line-height: 1.4;
  color: var(--jp-content-font-color1, CanvasText);
  background: var(--jp-layout-color0, Canvas);
  border-color: var(--jp-border-color2, color-mix(in srgb, CanvasText 18%, Canvas));
  text-decoration-color: var(--jp-content-font-color2, color-mix(in srgb, CanvasText 65%, Canvas));
  outline-color: var(--jp-brand-color1, Highlight);
  transition: color 1ms, background-color 1ms; }
.ocs-timeline .bar { display: flex; flex-wrap: wrap; align-items: center; gap: 2px 14px;
  padding: 2px 4px 4px; min-height: 26px; flex: none; }
.ocs-timeline .legend { display: flex; flex-wrap: wrap; gap: 0 14px; flex: 1 1 auto;
  color: var(--jp-content-font-color2, inherit); }
.ocs-timeline .legend span { display: inline-flex; align-items: center; gap: 4px; white-space: nowrap; }
.ocs-timeline .tools { display: flex; gap: 4px; }
.ocs-timeline button { font: inherit; color: inherit; background: none; cursor: pointer;
  border: 1px solid var(--jp-border-color2, color-mix(in srgb, CanvasText 25%, Canvas));
  border-radius: 4px; padding: 1px 8px; min-height: 22px; line-height: 1; }
.ocs-timeline button:hover { background: rgba(128, 128, 128, .15); }
.ocs-timeline button[aria-pressed=true] { background: rgba(128, 128, 128, .25); }
.ocs-timeline button:focus-visible, .ocs-timeline canvas:focus-visible {
  outline: 2px solid var(--jp-brand-color1, Highlight); outline-offset: -2px; }
.ocs-timeline .scroll { position: relative; overflow: hidden auto; flex: 1 1 auto; min-height: 0;
  overscroll-behavior: auto; }
.ocs-timeline canvas { position: sticky; top: 0; display: block; width: 100%; border-radius: 4px;
  touch-action: pan-y; cursor: crosshair; outline: none; }
.ocs-timeline .status { padding: 3px 4px; min-height: 1.4em; flex: none;
  white-space: nowrap; overflow: hidden; text-overflow: ellipsis;
  color: var(--jp-content-font-color2, inherit); font-variant-numeric: tabular-nums; }
.ocs-timeline .empty { padding: 1.2em; text-align: center; }
.ocs-timeline .empty code { font-family: var(--jp-code-font-family, monospace); }
.ocs-timeline .new { position: absolute; right: 16px; bottom: 40px; border-radius: 12px;
  padding: 3px 12px; border: 0; color: var(--jp-layout-color0, Canvas);
  background: var(--jp-content-font-color1, CanvasText); }
.ocs-timeline .new:hover { background: var(--jp-content-font-color1, CanvasText); opacity: .85; }
.ocs-timeline [hidden] { display: none !important; }
.ocs-tip { position: fixed; inset: auto; margin: 0; max-width: 440px; padding: 6px 9px; border-radius: 5px;
  pointer-events: none; box-sizing: border-box; overflow: hidden; z-index: 10000;
  font: 12px/1.45 var(--jp-ui-font-family, system-ui, sans-serif);
  color: var(--jp-content-font-color1, CanvasText); background: var(--jp-layout-color1, Canvas);
  border: 1px solid var(--jp-border-color1, color-mix(in srgb, CanvasText 35%, Canvas));
  box-shadow: 0 2px 10px rgba(0, 0, 0, .25); }
.ocs-tip div { overflow-wrap: anywhere; display: -webkit-box; -webkit-line-clamp: 4;
  -webkit-box-orient: vertical; overflow: hidden; white-space: pre-wrap; }
.ocs-tip b { font-weight: 600; } .ocs-tip i { font-style: normal; opacity: .7; }
`;

class Timeline {
  constructor(model, el) {
    this.model = model;
    this.sprites = new Map();
    this.cuts = new Map();
    this.said = new Map(); // what Python said of an event, by its place
    this.isOpen = false;
    this.zoom = null; // the first and last place in view, or null for all
    this.fresh = 0; // events that came while the view was elsewhere
    this.scrolled = 0; // of the rows; asking the page for it takes long
    this.build(el);
    this.listen();
    this.read();
  }

  // -- what is on the page ---------------------------------------------------------------------

  build(el) {
    const style = make("style", {}, CSS);
    this.root = make("div", { class: "ocs-timeline", "data-lm-suppress-shortcuts": "true" });
    this.legend = make("div", { class: "legend" });
    this.byTime = make("button", { type: "button", title: "Order of events, or time (UTC)" }, "time");
    this.bySize = make("button", { type: "button", title: "Larger marks changed more lines" }, "size by lines");
    const out = make("button", { type: "button", title: "Zoom out (−)", "aria-label": "Zoom out" }, "−");
    const into = make("button", { type: "button", title: "Zoom in (+), or Ctrl and wheel", "aria-label": "Zoom in" }, "+");
    const all = make("button", { type: "button", title: "Show all (0)", "aria-label": "Show all" }, "all");
    const tools = make("div", { class: "tools" });
    tools.append(this.byTime, this.bySize, out, into, all);
    this.bar = make("div", { class: "bar" });
    this.bar.append(this.legend, tools);
    this.canvas = make("canvas", { tabindex: "0", role: "application", "aria-roledescription": "timeline" });
    this.space = make("div", {});
    this.space.append(this.canvas);
    this.scroll = make("div", { class: "scroll" });
    this.scroll.append(this.space);
    this.status = make("div", { class: "status", "aria-live": "polite" });
    this.pill = make("button", { type: "button", class: "new", hidden: "" });
    this.empty = make("div", { class: "empty", hidden: "" }, "No events to show. ");
    this.empty.append(
      make("code", {}, "timeline.events = frames.file_events"), " shows some; ",
      make("code", {}, "frames = ocs.read_opencode()"), " reads this machine's.");
    this.tip = make("div", { class: "ocs-tip", popover: "manual", hidden: "" });
    this.root.append(style, this.bar, this.scroll, this.empty, this.pill, this.status, this.tip);
    el.append(this.root);
    this.context = this.canvas.getContext("2d");
    this.byTime.onclick = () => this.put("axis", this.isTime ? "order" : "time");
    this.bySize.onclick = () => this.put("size_by_lines", !this.model.get("size_by_lines"));
    out.onclick = () => this.zoomBy(2);
    into.onclick = () => this.zoomBy(0.5);
    all.onclick = () => this.showAll();
    this.pill.onclick = () => this.showNewest();
    // For tests, and for pages that point at a mark: where one is, and what is at a point.
    this.root.timeline = { where: (place) => this.where(place), pick: (x, y) => this.pick(x, y) };
  }

  listen() {
    const later = (what) => () => queueMicrotask(what); // some hosts set one trait after the other
    this.heard = {
      "change:_words": later(() => this.read()),
      "change:_selected": later(() => this.take()),
      "change:_row": later(() => this.takeRow()),
      "change:brushed": later(() => { this.say(); this.repaint(); }),
      "change:axis": later(() => this.arrange()),
      "change:size_by_lines": later(() => this.repaint()),
      "change:_zoomed": later(() => this.takeZoom()),
      "msg:custom": (message) => this.hear(message),
    };
    for (const [name, heard] of Object.entries(this.heard)) this.model.on(name, heard);
    const canvas = this.canvas;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointercancel", () => { this.drag = null; this.repaint(); });
    canvas.addEventListener("pointerleave", () => this.point(null));
    canvas.addEventListener("dblclick", (event) => this.zoomInto(event));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("blur", () => this.point(null));
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.scroll.addEventListener("scroll", () => {
      this.scrolled = this.scroll.scrollTop;
      this.point(null);
      this.repaint();
    });
    // Colours come from the page's style: what changes it while it is seen makes a transition of it.
    // JupyterLab hides the page while it changes its theme: then a transition is cancelled, or none
    // begins, and only the page's own attributes say so.
    this.pages = new MutationObserver(() => this.repaint());
    for (const page of [document.documentElement, document.body]) {
      this.pages.observe(page, { attributes: true });
    }
    for (const name of ["transitionend", "transitioncancel"]) {
      this.root.addEventListener(name, (event) => {
        if (event.target === this.root) this.repaint();
      });
    }
    this.sizes = new ResizeObserver(() => this.resize());
    this.sizes.observe(this.scroll);
  }

  remove() {
    this.sizes.disconnect();
    this.pages.disconnect();
    cancelAnimationFrame(this.frame);
    clearTimeout(this.asking);
    clearTimeout(this.saving);
    for (const [name, heard] of Object.entries(this.heard)) this.model.off(name, heard);
    this.root.remove();
  }

  // -- what Python sent ------------------------------------------------------------------------

  read() {
    const words = this.model.get("_words"), before = this.count ?? 0;
    const atEnd = this.zoom && this.view && this.newestInView();
    this.words = words;
    this.time = column(this.model.get("_time"), Float64Array);
    this.count = this.time.length;
    const rows = this.model.get("_rows");
    this.row = column(rows, rows.byteLength === 4 * this.count && this.count ? Uint32Array : Uint16Array);
    this.kind = column(this.model.get("_kind"), Uint8Array);
    this.lines = column(this.model.get("_lines"), Uint8Array);
    this.turns = column(this.model.get("_turns"), Uint32Array);
    this.shapes = words.marks.map(([, , shape]) => new Path2D(shape));
    this.groups = words.groups.map(([start, end, firstRow, endRow, session]) =>
      ({ start, end, firstRow, endRow, session }));
    this.clock = clocked(this.time, this.groups);
    this.longest = this.groups.reduce((a, b) => (b.end - b.start > a.end - a.start ? b : a),
      this.groups[0]);
    this.said.clear();
    this.cuts.clear();
    if (this.base !== words.base) { // other events, not only more of them
      clearTimeout(this.saving);
      this.base = words.base;
      this.zoom = this.zoomed();
      this.isOpen = false;
      this.fresh = 0;
      this.scroll.scrollTop = this.scrolled = 0;
    } else if (this.zoom) {
      const more = this.count - before;
      if (atEnd) this.zoom = [this.zoom[0] + more, this.zoom[1] + more];
      else this.fresh += more;
    }
    this.openFor(this.model.get("_row"));
    this.explain();
    this.fold();
    const at = this.model.get("_selected");
    if (at >= 0 && at < this.count) this.ask(at);
    this.say();
  }

  explain() {
    const kinds = new Uint32Array(32), { kind, time, count } = this;
    let first = Infinity, last = -Infinity;
    for (let i = 0; i < count; i++) {
      kinds[kind[i]]++;
      if (time[i] < first) first = time[i];
      if (time[i] > last) last = time[i];
    }
    const of = (bit) => kinds.reduce((sum, n, look) => (look & bit ? sum + n : sum), 0);
    this.legend.replaceChildren();
    this.words.marks.forEach(([name, colour, shape], at) => {
      if (kinds.some((n, look) => n && (look & KIND) === at)) {
        this.legend.append(sample(name, [["path", { d: shape, fill: colour }]]));
      }
    });
    const ring = ["circle", { r: 6.4, fill: "none", stroke: "currentColor", "stroke-width": 1.4 }];
    if (of(FAILED)) this.legend.append(sample("failed", [ring]));
    if (of(FAINT)) {
      const [, colour, shape] = this.words.marks[2];
      this.legend.append(sample("undone or fork copy", [["path", { d: shape, fill: colour, opacity: 0.35 }]]));
    }
    const files = new Set(this.words.labels.filter((_, row) => !this.words.shells.includes(row))).size;
    this.summary = `${counted(this.count, "event")} on ${counted(files, "file")}`;
    if (of(FAILED)) this.summary += ` · ${of(FAILED).toLocaleString("en")} failed`;
    if (first <= last) this.summary += ` · ${moment(first)} to ${moment(last)} UTC`;
    this.canvas.setAttribute("aria-label",
      `Timeline: ${this.summary}. Left and right choose an event, up and down a file, plus and minus zoom.`);
    this.empty.hidden = this.count > 0;
    this.scroll.hidden = this.bar.hidden = this.status.hidden = this.count === 0;
  }

  // -- rows ------------------------------------------------------------------------------------

  /** Which rows have a lane of their own: the busiest, unless all are unfolded. */
  fold() {
    const { labels, counts, shells } = this.words;
    const shell = new Set(shells);
    const most = Math.max(8, Math.floor(FOLD / Math.max(this.groups.length, 1)));
    this.lanes = [];
    this.laneOf = new Int32Array(labels.length);
    for (const group of this.groups) {
      if (this.groups.length > 1) this.lanes.push({ title: group.session, group });
      const files = [], commands = [];
      for (let row = group.firstRow; row < group.endRow; row++) (shell.has(row) ? commands : files).push(row);
      const shown = this.isOpen || files.length <= most ? files.length : most;
      const own = (row) => {
        this.laneOf[row] = this.lanes.length;
        this.lanes.push({ row, label: labels[row], count: counts[row], group });
      };
      commands.forEach(own); // first: below many files nobody would look for them
      files.slice(0, shown).forEach(own);
      if (shown < files.length || (this.isOpen && files.length > most)) {
        const rest = files.slice(shown);
        for (const row of rest) this.laneOf[row] = this.lanes.length;
        const count = rest.reduce((sum, row) => sum + counts[row], 0);
        const label = rest.length ? `▸ ${counted(rest.length, "more file")}` : "▾ fewer files";
        this.lanes.push({ row: -1, more: true, label, count: count || "", group });
      }
    }
    const many = this.lanes.length;
    this.lane = many <= 14 ? 26 : many <= 28 ? 21 : many <= 42 ? 18 : 15; // height of one
    this.letters = this.lane < 17 ? 10.5 : this.lane < 20 ? 11 : 12; // size of the font
    this.tall = HEAD + many * this.lane + FOOT;
    this.space.style.height = `${this.tall}px`;
    this.scroll.style.maxHeight = `${HEAD + (FOLD + 4) * 15 + FOOT}px`;
    this.cuts.clear();
    this.resize();
  }

  openFor(row) {
    if (row < 0 || this.isOpen) return;
    const group = this.groups.find((one) => row >= one.firstRow && row < one.endRow);
    const most = Math.max(8, Math.floor(FOLD / this.groups.length));
    if (group && row - group.firstRow >= most && !this.words.shells.includes(row)) this.isOpen = true;
  }

  top(lane) { return HEAD + lane * this.lane - this.scrolled; }

  // -- the axis --------------------------------------------------------------------------------

  resize() {
    const width = this.scroll.clientWidth, height = Math.min(this.scroll.clientHeight, this.tall ?? 0);
    if (!width || !height || !this.lanes) return;
    const ratio = window.devicePixelRatio || 1;
    if (width !== this.width || height !== this.height || ratio !== this.ratio) {
      Object.assign(this, { width, height, ratio });
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
      this.canvas.style.height = `${height}px`;
    }
    this.theme();
    this.measure();
    this.arrange();
  }

  measure() {
    this.context.font = this.font("bold"); // as the chosen one is
    let label = 0, count = 0;
    for (const lane of this.lanes.slice(0, 200)) {
      if (lane.title !== undefined) continue;
      label = Math.max(label, this.context.measureText(lane.label).width);
      count = Math.max(count, this.context.measureText(String(lane.count)).width);
    }
    this.counts = Math.ceil(count) + 10;
    const most = Math.min(340, Math.max(110, this.width * 0.27));
    this.left = Math.ceil(Math.min(Math.max(label + 10, 60), most)) + this.counts + 6;
    this.plot = Math.max(this.width - this.left - 2 * PAD, 20);
  }

  arrange() {
    if (!this.lanes || !this.width) return;
    this.isTime = this.model.get("axis") === "time";
    this.byTime.setAttribute("aria-pressed", this.isTime);
    if (this.isTime) this.byClock();
    else this.byOrder();
    this.total = this.total || 1;
    this.view = this.zoom ? this.zoom.map((place) => this.uOf(place)) : [0, this.total];
    if (this.view[1] - this.view[0] < this.least()) this.setView(...this.view, false);
    this.repaint();
  }

  /** Each event a step after the one before; where a row is crowded, its marks push them apart. */
  byOrder() {
    this.pauses = [];
    const u = (this.u = new Float64Array(this.count));
    const most = this.longest ? this.longest.end - this.longest.start : 0;
    const step = Math.min(this.plot / Math.max(most - 1, 1), WIDEST_STEP);
    if (step >= APART[0] || this.count > ARRANGED) {
      for (const { start, end } of this.groups) for (let i = start; i < end; i++) u[i] = (i - start) * step;
      this.total = Math.max(step * (most - 1), most > 1 && step === WIDEST_STEP ? this.plot : 0);
      if (most === 1) this.total = this.plot;
      this.closest = step;
      return;
    }
    const last = new Float64Array(this.lanes.length);
    const spread = (least, apart) => {
      let total = 0;
      for (const { start, end } of this.groups) {
        last.fill(-apart);
        let at = -least;
        for (let i = start; i < end; i++) {
          const lane = this.laneOf[this.row[i]];
          at = Math.max(at + least, last[lane] + apart);
          u[i] = last[lane] = at;
        }
        total = Math.max(total, at);
      }
      return total;
    };
    const apart = APART.find((one) => spread(LEAST_STEP, one) <= this.plot) ?? APART.at(-1);
    let low = LEAST_STEP, high = step;
    for (let round = 0; round < 24; round++) {
      const middle = (low + high) / 2;
      if (spread(middle, apart) > this.plot) high = middle;
      else low = middle;
    }
    this.total = spread(low, apart); // where even that is too much, all of it is squeezed
    this.closest = apart;
  }

  /** Time since each group's first event, with the pauses of all folded. */
  byClock() {
    const u = (this.u = new Float64Array(this.count));
    this.origin = NaN;
    for (const { start, end } of this.groups) {
      let first = start;
      while (first < end && Number.isNaN(this.clock[first])) first++;
      const zero = first < end ? this.clock[first] : 0;
      if (this.groups.length === 1) this.origin = zero;
      for (let i = first; i < end; i++) u[i] = this.clock[i] - zero;
    }
    const all = this.groups.length > 1 ? u.slice().sort() : u;
    const gaps = [];
    let idle = 0;
    for (let i = 1; i < all.length; i++) {
      if (all[i] - all[i - 1] > PAUSE) {
        gaps.push([all[i - 1], all[i]]);
        idle += all[i] - all[i - 1];
      }
    }
    const busy = (all.length ? all[all.length - 1] : 0) - idle;
    const width = Math.min(Math.max(busy * 0.025, 20_000), PAUSE, Math.max(busy, 60_000) / Math.max(gaps.length, 1));
    let folded = 0;
    this.pauses = gaps.map(([from, to]) => {
      const pause = { from, to, at: from - folded, width, folded: (folded += to - from - width) };
      return pause;
    });
    for (const { start, end } of this.groups) {
      let next = 0, less = 0;
      for (let i = start; i < end; i++) {
        while (next < this.pauses.length && u[i] >= this.pauses[next].to) less = this.pauses[next++].folded;
        u[i] -= less;
      }
    }
    this.total = all.length ? all[all.length - 1] - folded : 0;
    if (this.groups.length === 1 && !folded) this.total = u[this.count - 1];
    else this.total = this.groups.reduce((most, { end }) => Math.max(most, u[end - 1]), 0);
  }

  least() { return this.isTime ? Math.min(1000, this.total) : (this.total / Math.max(this.count, 1)) * 4; }
  scale() { return this.plot / (this.view[1] - this.view[0]); }
  x(u) { return this.left + PAD + (u - this.view[0]) * this.scale(); }
  uAt(x) { return this.view[0] + (x - this.left - PAD) / this.scale(); }

  /** The axis at a place of the longest group, between two events as well. */
  uOf(place) {
    const { start, end } = this.longest ?? { start: 0, end: 0 };
    if (end === start) return 0;
    const last = end - start - 1, at = Math.min(Math.max(place, 0), last), low = Math.floor(at);
    const from = this.u[start + low], to = this.u[start + Math.min(low + 1, last)];
    const over = place > last ? (place - last) * (this.total / Math.max(last, 1)) : 0;
    return from + (to - from) * (at - low) + over;
  }

  placeOf(u) {
    const { start, end } = this.longest;
    const after = search(this.u, u, start, end);
    if (after === start) return 0;
    if (after === end) return end - start - 1;
    const from = this.u[after - 1], to = this.u[after];
    return after - 1 - start + (to > from ? (u - from) / (to - from) : 0);
  }

  setView(a, b, save = true) {
    const span = Math.min(Math.max(b - a, this.least()), this.total);
    const middle = (a + b) / 2;
    a = Math.min(Math.max(middle - span / 2, 0), this.total - span);
    const isAll = span >= this.total * 0.9999;
    this.view = isAll ? [0, this.total] : [a, a + span];
    this.zoom = isAll ? null : this.view.map((u) => this.placeOf(u));
    if (this.fresh && (isAll || this.newestInView())) this.fresh = 0;
    this.repaint();
    if (!save) return;
    clearTimeout(this.saving);
    this.saving = setTimeout(() => this.put("_zoomed", this.zoom && [this.base, ...this.zoom]), 200);
  }

  /** The view that was kept, if it was one of these events. */
  zoomed() {
    const [base, ...places] = this.model.get("_zoomed") ?? [];
    return base === this.base ? places : null;
  }

  takeZoom() {
    const zoom = this.zoomed();
    if (JSON.stringify(zoom) === JSON.stringify(this.zoom)) return;
    this.zoom = zoom;
    this.arrange();
  }

  zoomBy(factor, at = this.anchor()) {
    const [a, b] = this.view;
    const span = Math.min(Math.max((b - a) * factor, this.least()), this.total);
    const from = at - ((at - a) / (b - a)) * span;
    this.setView(from, from + span);
  }

  /** What stays where it is when keys zoom: the selected event, else the middle. */
  anchor() {
    const at = this.model.get("_selected");
    const u = at >= 0 ? this.u[at] : NaN;
    return u >= this.view[0] && u <= this.view[1] ? u : (this.view[0] + this.view[1]) / 2;
  }

  panBy(share) {
    const [a, b] = this.view, by = (b - a) * share;
    this.setView(a + by, b + by);
  }

  showAll() { this.setView(0, this.total); }

  showNewest() {
    this.fresh = 0;
    const span = this.view[1] - this.view[0];
    this.setView(this.total - span, this.total);
  }

  newestInView() { return this.view[1] >= this.total - 1e-6 * this.total; }

  // -- painting --------------------------------------------------------------------------------

  repaint() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.paint());
  }

  font(weight = "normal", size = this.letters) { return `${weight} ${size}px ${this.family}`; }

  theme() {
    const style = getComputedStyle(this.root);
    const colours = {
      ink: style.color, paper: style.backgroundColor, rule: style.borderTopColor,
      soft: style.textDecorationColor, brand: style.outlineColor, family: style.fontFamily,
    };
    if (colours.ink !== this.ink || colours.paper !== this.paper) this.sprites.clear();
    Object.assign(this, colours);
  }

  paint() {
    if (!this.width || !this.lanes || !this.count) return;
    const c = this.context;
    this.theme();
    this.bySize.setAttribute("aria-pressed", this.model.get("size_by_lines"));
    c.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    c.direction = "ltr";
    c.textBaseline = "middle";
    c.fillStyle = this.paper;
    c.fillRect(0, 0, this.width, this.height);
    const from = Math.max(0, Math.floor(this.scrolled / this.lane));
    const to = Math.min(this.lanes.length, Math.ceil((this.scrolled + this.height - HEAD) / this.lane));
    const near = (REACH + 2) / this.scale();
    const ranges = this.groups.map(({ start, end }) => [
      search(this.u, this.view[0] - near, start, end), search(this.u, this.view[1] + near, start, end)]);
    const seen = ranges.reduce((sum, [a, b]) => sum + b - a, 0);
    this.isCrowded = seen > MARKS_PER_PIXEL * this.plot;

    this.clipped(0, HEAD - 2, this.width, this.height - HEAD - FOOT + 4, () => this.paintLanes(from, to));
    this.clipped(this.left, 0, this.width - this.left, this.height - FOOT, () => {
      this.paintTurns();
      if (this.isTime) this.paintClock();
      else this.paintOrder();
    });
    this.clipped(this.left, HEAD - 2, this.width - this.left, this.height - HEAD - FOOT + 4, () => {
      this.paintBrush();
      if (this.isCrowded) this.paintBins(ranges, from, to);
      else this.paintMarks(ranges, from, to);
      this.paintSelected(from, to);
    });
    this.paintBar();
    this.pill.hidden = !this.fresh;
    this.pill.textContent = `${this.fresh.toLocaleString("en")} new ›`;
    this.canvas.dataset.painted = seen;
    this.canvas.dataset.picture = this.words.version;
    this.canvas.dataset.mode = this.isCrowded ? "density" : "marks";
  }

  clipped(x, y, width, height, paint) {
    this.context.save();
    this.context.beginPath();
    this.context.rect(x, y, width, height);
    this.context.clip();
    paint();
    this.context.restore();
  }

  paintLanes(from, to) {
    const c = this.context, chosen = this.model.get("_row"), end = this.left - this.counts;
    for (let at = from; at < to; at++) {
      const lane = this.lanes[at], y = this.top(at), middle = Math.round(y + this.lane / 2) + 0.5;
      if (lane.title !== undefined) {
        c.fillStyle = this.soft;
        c.font = this.font("600");
        c.textAlign = "left";
        c.fillText(this.cut(lane.title, this.width - 40), 6, middle + 1);
        line(c, this.rule, 1, 0, Math.round(y) + 0.5, this.width, Math.round(y) + 0.5);
        continue;
      }
      const isChosen = lane.row >= 0 && lane.row === chosen;
      if (isChosen) {
        c.globalAlpha = 0.17;
        c.fillStyle = this.brand;
        c.fillRect(0, y, this.width, this.lane);
        c.globalAlpha = 1;
      }
      c.globalAlpha = isChosen ? 1 : 0.6;
      line(c, this.rule, isChosen ? 1.5 : 1, this.left, middle, this.width, middle);
      c.globalAlpha = 1;
      c.save(); // stacked accents must not reach the rows around
      c.beginPath();
      c.rect(0, y, this.left, this.lane);
      c.clip();
      this.paintLabel(lane, isChosen, end - 6, middle);
      c.fillStyle = this.soft;
      c.textAlign = "right";
      c.font = this.font("normal", this.letters - 1);
      c.fillText(lane.count.toLocaleString("en"), this.left - 8, middle);
      c.restore();
    }
  }

  paintLabel(lane, isChosen, end, y) {
    const c = this.context;
    c.font = this.font(isChosen ? "bold" : "normal");
    c.textAlign = "right";
    const text = this.cut(lane.label, end - 4);
    const name = lane.more ? "" : text.slice(text.lastIndexOf("/") + 1);
    const folder = text.slice(0, text.length - name.length);
    c.fillStyle = this.ink;
    c.fillText(name, end, y);
    c.fillStyle = this.soft;
    c.fillText(folder, end - c.measureText(name).width, y);
  }

  /** The end of a text that fits. */
  cut(text, width) {
    const key = `${this.context.font}|${width}|${text}`;
    let cut = this.cuts.get(key);
    if (cut === undefined) {
      cut = text;
      if (this.context.measureText(text).width > width) {
        let low = 0, high = text.length;
        while (low < high) {
          const middle = (low + high) >> 1;
          if (this.context.measureText(`…${text.slice(middle)}`).width > width) low = middle + 1;
          else high = middle;
        }
        const folder = text.indexOf("/", low);
        cut = `…${text.slice(folder >= 0 && folder < low + 12 ? folder : low)}`;
      }
      this.cuts.set(key, cut);
    }
    return cut;
  }

  /** A line where each turn begins, and its number, or that of the session which comes; none where
   * they would be a fence. */
  paintTurns() {
    if (this.groups.length > 1) return; // each has its own
    const c = this.context, seen = [];
    let last = 0;
    for (let t = 0; t < this.turns.length; t += 3) {
      const place = this.turns[t];
      const x = place ? this.x((this.u[place - 1] + this.u[place]) / 2) : this.x(0) - PAD / 2;
      if (x > this.width) break;
      if (x < this.left) seen.length = last = 0; // it began before the view
      const [turn, session] = this.turns.subarray(t + 1, t + 3);
      const comes = session !== last;
      seen.push([x, comes ? `session ${session}` : turn && `turn ${turn}`, comes ? [] : undefined]);
      last = session;
    }
    if (seen.length > this.plot / TURN_APART) return;
    c.font = this.font("normal", 11);
    c.textAlign = "left";
    c.fillStyle = this.soft;
    let free = -Infinity;
    seen.forEach(([x, text, dashes], at) => {
      if (x >= this.left) dashed(c, this.soft, Math.round(x) + 0.5, HEAD - 4, this.height - FOOT, dashes);
      const start = Math.max(x, this.left) + 4, end = start + c.measureText(text).width;
      const isSoonOver = at + 1 < seen.length && seen[at + 1][0] < end - 12;
      if (!text || start < free || isSoonOver || end > this.width) return;
      c.fillText(text, start, 9);
      free = end + 10;
    });
  }

  /** In order the clock jumps, but never back: what it showed at some of the events; side by side
   * their numbers. */
  paintOrder() {
    const c = this.context, { start, end } = this.longest;
    c.font = this.font("normal", 10.5);
    c.textAlign = "center";
    c.fillStyle = this.soft;
    let said = "", free = -Infinity, day = "";
    for (let x = this.left + PAD; x < this.width - 30; x += 88) {
      const place = Math.min(search(this.u, this.uAt(x) - 1e-6, start, end), end - 1);
      const at = this.x(this.u[place]), time = this.clock[place];
      if (at < free || at > this.width - 20) continue;
      let text;
      if (this.groups.length > 1) text = (place - start + 1).toLocaleString("en");
      else if (Number.isNaN(time)) continue;
      else {
        const iso = new Date(time).toISOString();
        text = iso.slice(0, 10) === day ? iso.slice(11, 16) : `${iso.slice(5, 10)} ${iso.slice(11, 16)}`;
        day = iso.slice(0, 10);
      }
      if (text === said) continue;
      const half = c.measureText(text).width / 2;
      c.fillText(text, Math.max(at, this.left + half + 2), 25);
      line(c, this.rule, 1, Math.round(at) + 0.5, HEAD - 4, Math.round(at) + 0.5, HEAD);
      said = text;
      free = at + 2 * half + 16;
    }
  }

  paintClock() {
    const c = this.context, scale = this.scale();
    const isClock = !Number.isNaN(this.origin), zero = isClock ? this.origin : 0;
    const step = STEPS.find((ms) => ms * scale >= 76) ?? STEPS[STEPS.length - 1];
    c.font = this.font("normal", 10.5);
    c.textAlign = "center";
    let free = this.left, day = "", from = 0, at = 0;
    const ends = [...this.pauses, { from: Infinity, at: Infinity, width: 0 }];
    for (const pause of ends) {
      const left = this.x(at), right = Math.min(this.x(pause.at), this.width);
      if (right >= this.left && left <= this.width) {
        const start = from + Math.max(0, (this.left - left) / scale);
        const first = Math.ceil((zero + start) / step) * step - zero;
        for (let since = first; since < pause.from; since += step) {
          const x = this.x(at + since - from);
          if (x > right + 1) break;
          const iso = new Date(zero + since).toISOString(), clock = iso.slice(11, step < 60_000 ? 19 : 16);
          const isNew = iso.slice(0, 10) !== day && isClock;
          const text = isClock ? (isNew ? `${iso.slice(5, 10)} ${clock}` : clock) : `+${lasting(since)}`;
          const half = c.measureText(text).width / 2;
          line(c, this.rule, 1, Math.round(x) + 0.5, HEAD - 5, Math.round(x) + 0.5, this.height - FOOT);
          if (x - half >= free && x + half < this.width) {
            c.fillStyle = this.soft;
            c.fillText(text, x, 25);
            free = x + half + 12;
            day = iso.slice(0, 10);
          }
        }
      }
      if (pause.from !== Infinity) {
        const edge = this.x(pause.at), width = Math.max(pause.width * scale, 3);
        if (edge < this.width && edge + width > this.left) {
          c.globalAlpha = 0.1;
          c.fillStyle = this.ink;
          c.fillRect(edge, HEAD - 4, width, this.height - FOOT - HEAD + 4);
          c.globalAlpha = 1;
          if (width >= 13) {
            c.save();
            c.translate(edge + width / 2, HEAD + 4);
            c.rotate(-Math.PI / 2);
            c.textAlign = "right";
            c.fillStyle = this.soft;
            c.fillText(lasting(pause.to - pause.from), 0, 0);
            c.restore();
          }
        }
        from = pause.to;
        at = pause.at + pause.width;
      }
    }
  }

  paintBrush() {
    const c = this.context;
    const range = this.drag?.isBrush ? this.drag.range : this.model.get("brushed");
    if (!range) return;
    for (const group of this.groups) {
      const first = group.start + range[0], last = Math.min(group.start + range[1], group.end - 1);
      if (first > last) continue;
      const isAlone = this.groups.length === 1;
      const a = this.x(this.u[first]) - 5, b = this.x(this.u[last]) + 5;
      const lanes = this.lanes.flatMap((lane, at) => (lane.group === group ? [at] : []));
      const y = isAlone ? HEAD - 2 : this.top(lanes[0]);
      const height = isAlone ? this.height : (lanes.length) * this.lane;
      c.globalAlpha = 0.16;
      c.fillStyle = this.brand;
      c.fillRect(a, y, b - a, height);
      c.globalAlpha = 0.8;
      line(c, this.brand, 1, Math.round(a) + 0.5, y, Math.round(a) + 0.5, y + height);
      line(c, this.brand, 1, Math.round(b) + 0.5, y, Math.round(b) + 0.5, y + height);
      c.globalAlpha = 1;
    }
  }

  paintMarks(ranges, from, to) {
    const bySize = this.model.get("size_by_lines"), fit = this.fit(ranges);
    for (const isFaint of [true, false]) { // what lasts stands before what was undone
      for (const [start, end] of ranges) {
        for (let i = start; i < end; i++) {
          const kind = this.kind[i];
          if (Boolean(kind & FAINT) !== isFaint) continue;
          const lane = this.laneOf[this.row[i]];
          if (lane < from || lane >= to) continue;
          const scale = bySize ? this.sized(i) : fit;
          this.stamp(kind, scale, this.x(this.u[i]), this.top(lane) + this.lane / 2);
        }
      }
    }
  }

  /** How large marks are: as the row is high, and smaller where they are close. */
  fit(ranges) {
    const seen = ranges.reduce((sum, [a, b]) => sum + b - a, 0);
    const apart = this.isTime ? (8 * this.plot) / Math.max(seen, 1) : this.closest * this.scale();
    return Math.max(0.55, Math.min(this.lane / 20, 1.15, apart / 8.6));
  }

  sized(i) {
    const most = Math.min(this.lane / 11, 2), lines = this.lines[i];
    if (lines === UNTOLD) return 0.5;
    return Math.min(most, 0.5 + (0.16 * lines) / LINES_STEPS);
  }

  /** Marks are painted once for each look, then copied. */
  stamp(kind, scale, x, y) {
    scale = Math.round(scale * 20) / 20;
    const key = kind * 1000 + scale * 20;
    let sprite = this.sprites.get(key);
    if (!sprite) {
      const side = Math.ceil(20 * Math.max(scale, 0.7) * this.ratio) + 2;
      sprite = document.createElement("canvas");
      sprite.width = sprite.height = side;
      const c = sprite.getContext("2d");
      c.setTransform(this.ratio * scale, 0, 0, this.ratio * scale, side / 2, side / 2);
      c.globalAlpha = kind & FAINT ? 0.35 : 1;
      c.fillStyle = this.words.marks[kind & KIND][1];
      c.strokeStyle = this.paper; // between marks that touch
      c.lineWidth = 1;
      c.stroke(this.shapes[kind & KIND]);
      c.fill(this.shapes[kind & KIND]);
      if (kind & FAILED) {
        c.beginPath();
        c.arc(0, 0, 7.2, 0, 7);
        c.strokeStyle = this.ink;
        c.lineWidth = 1.4 / Math.min(scale, 1);
        c.stroke();
      }
      this.sprites.set(key, sprite);
    }
    const half = sprite.width / 2, r = this.ratio;
    this.context.drawImage(sprite, (Math.round(x * r) - half) / r, (Math.round(y * r) - half) / r,
      sprite.width / r, sprite.height / r);
  }

  /** Bars of what happened in each few pixels of a row, by type; above it in ink the share that failed. */
  paintBins(ranges, from, to) {
    const kinds = this.words.marks.length, wide = kinds + 1, lanes = to - from;
    const bins = Math.ceil((this.plot + 2 * PAD) / BIN);
    const counts = this.binned(ranges, from, lanes, bins, wide), totals = new Uint32Array(lanes * bins);
    const files = this.lanes.map(({ row }) => row >= 0 && !this.words.shells.includes(row));
    let most = 1; // of a file: the commands and the files that share a row would dwarf them all
    for (let cell = 0; cell < totals.length; cell++) {
      for (let k = 0; k < kinds; k++) totals[cell] += counts[cell * wide + k];
      if (totals[cell] > most && files[from + ((cell / bins) | 0)]) most = totals[cell];
    }
    // Pixel by pixel: tens of thousands of small rectangles take the canvas a second.
    const r = this.ratio, width = Math.ceil(bins * BIN * r), height = Math.ceil(lanes * this.lane * r);
    const layer = document.createElement("canvas");
    layer.width = width;
    layer.height = height;
    const c = layer.getContext("2d"), image = c.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const colours = [...this.words.marks.map(([, colour]) => colour), this.ink].map((one) => this.pixel(one));
    const fill = (x0, x1, y0, y1, colour) => {
      for (let y = Math.max(y0, 0); y < y1; y++) pixels.fill(colour, y * width + x0, y * width + x1);
    };
    const high = (this.lane - 3) * r, gap = Math.max(1, Math.round(r / 2));
    for (let cell = 0; cell < totals.length; cell++) {
      const total = totals[cell];
      if (!total) continue;
      const lane = (cell / bins) | 0, bin = cell % bins;
      const x0 = Math.round(bin * BIN * r), x1 = Math.round((bin + 1) * BIN * r) - gap;
      const tall = Math.max(3 * r, high * Math.min(1, Math.sqrt(total / most)));
      const bottom = (lane + 0.5) * this.lane * r + tall / 2;
      let below = 0;
      for (let k = 0; k < kinds; k++) {
        const count = counts[cell * wide + k];
        if (!count) continue;
        fill(x0, x1, Math.round(bottom - (tall * (below + count)) / total), Math.round(bottom - (tall * below) / total), colours[k]);
        below += count;
      }
      const failed = Math.round((tall * counts[cell * wide + kinds]) / total), cap = Math.round(bottom - tall);
      fill(x0, x1, cap - failed, cap, colours[kinds]);
    }
    c.putImageData(image, 0, 0);
    this.context.drawImage(layer, this.left, this.top(from), width / r, height / r);
  }

  /** How many events of each type are in each bin of the lanes, and at the end how many failed. */
  binned(ranges, from, lanes, bins, wide) {
    const counts = new Uint32Array(lanes * bins * wide), scale = this.scale() / BIN;
    const zero = this.view[0] - PAD / this.scale();
    const { u, row, kind, laneOf } = this;
    for (const [start, end] of ranges) {
      for (let i = start; i < end; i++) {
        const lane = laneOf[row[i]] - from, bin = ((u[i] - zero) * scale) | 0;
        if (lane < 0 || lane >= lanes || bin < 0 || bin >= bins) continue;
        const cell = (lane * bins + bin) * wide;
        counts[cell + (kind[i] & KIND)]++;
        if (kind[i] & FAILED) counts[cell + wide - 1]++;
      }
    }
    return counts;
  }

  /** A colour of CSS as the canvas keeps it. */
  pixel(colour) {
    const c = document.createElement("canvas").getContext("2d");
    c.fillStyle = colour;
    c.fillRect(0, 0, 1, 1);
    return new Uint32Array(c.getImageData(0, 0, 1, 1).data.buffer)[0];
  }

  paintSelected(from, to) {
    const c = this.context, at = this.model.get("_selected");
    if (at < 0 || at >= this.count) return;
    const lane = this.laneOf[this.row[at]], x = Math.round(this.x(this.u[at])) + 0.5;
    c.globalAlpha = 0.55;
    line(c, this.ink, 1, x, HEAD - 2, x, this.height);
    c.globalAlpha = 1;
    if (lane < from || lane >= to) return;
    const y = Math.round(this.top(lane) + this.lane / 2) + 0.5, half = Math.min(10, this.lane / 2);
    c.fillStyle = this.paper;
    c.beginPath();
    c.roundRect(x - half, y - half, 2 * half, 2 * half, 3);
    c.fill();
    this.stamp(this.kind[at], Math.min(this.lane / 20, 1.1), x, y);
    c.strokeStyle = this.ink;
    c.lineWidth = 2;
    c.stroke();
  }

  paintBar() {
    if (!this.zoom) return;
    const c = this.context, y = this.height - FOOT + 4, wide = this.plot + 2 * PAD;
    c.fillStyle = this.rule;
    c.beginPath();
    c.roundRect(this.left, y, wide, 5, 2.5);
    c.fill();
    const [a, b] = this.view.map((u) => (u / this.total) * wide);
    c.fillStyle = this.soft;
    c.beginPath();
    c.roundRect(this.left + a, y, Math.max(b - a, 12), 5, 2.5);
    c.fill();
  }

  // -- pointing --------------------------------------------------------------------------------

  where(place) {
    const box = this.canvas.getBoundingClientRect();
    const lane = this.laneOf[this.row[place]];
    const x = this.x(this.u[place]), y = this.top(lane) + this.lane / 2;
    return { x, y, left: box.left + x, top: box.top + y };
  }

  laneAt(y) {
    const at = Math.floor((y - HEAD + this.scrolled) / this.lane);
    return y >= HEAD && at < this.lanes.length ? at : -1;
  }

  /** The place of the event at a point of the canvas, -1 where there is none. */
  pick(x, y) {
    const at = this.laneAt(y), lane = this.lanes[at];
    if (!lane || lane.title !== undefined || x < this.left) return -1;
    const reach = (this.isCrowded ? BIN : REACH) / this.scale(), u = this.uAt(x);
    const { start, end } = lane.group;
    let best = -1, least = Infinity;
    for (let i = search(this.u, u - reach, start, end); i < end && this.u[i] <= u + reach; i++) {
      const far = Math.abs(this.u[i] - u);
      if (this.laneOf[this.row[i]] === at && far <= least) [best, least] = [i, far];
    }
    return best;
  }

  spot(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  press(event) {
    if (event.button > 1) return;
    const [x, y] = this.spot(event);
    const isPan = event.button === 1 || event.altKey || event.shiftKey || y < HEAD;
    const isBar = y > this.height - FOOT && this.zoom !== null && x >= this.left;
    this.canvas.setPointerCapture(event.pointerId);
    this.drag = { x, y, view: [...this.view], isPan, isBar, isBrush: false, moved: false };
    if (event.button === 1) event.preventDefault();
  }

  move(event) {
    const [x, y] = this.spot(event), drag = this.drag;
    if (!drag) {
      this.point(event);
      return;
    }
    if (!drag.moved && Math.abs(x - drag.x) < 4) return;
    drag.moved = true;
    this.point(null);
    const [a, b] = drag.view;
    if (drag.isBar) {
      const by = ((x - drag.x) / (this.plot + 2 * PAD)) * this.total;
      this.setView(a + by, b + by);
    } else if (drag.isPan) {
      const by = ((drag.x - x) / this.plot) * (b - a);
      this.setView(a + by, b + by);
    } else if (drag.x >= this.left) {
      drag.isBrush = true;
      drag.range = this.between(this.uAt(Math.min(drag.x, x)), this.uAt(Math.max(drag.x, x)));
      this.repaint();
    }
  }

  release(event) {
    const drag = this.drag;
    this.drag = null;
    if (!drag) return;
    if (drag.isBrush) {
      this.put("brushed", drag.range);
      this.repaint();
    } else if (!drag.moved) this.click(...this.spot(event));
  }

  click(x, y) {
    const lane = this.lanes[this.laneAt(y)];
    if (lane?.more && (x < this.left || this.pick(x, y) < 0)) {
      this.isOpen = !this.isOpen;
      this.fold();
      return;
    }
    if (x < this.left) {
      if (lane?.row >= 0) this.put("_row", lane.row === this.model.get("_row") ? -1 : lane.row);
      this.repaint();
      return;
    }
    const place = this.pick(x, y);
    if (place >= 0) this.select(place);
    else if (this.model.get("brushed")) this.put("brushed", null);
    this.repaint();
  }

  /** The first and last place between two points of the axis, null if there is no event. */
  between(from, to) {
    let first = Infinity, last = -1;
    for (const { start, end } of this.groups) {
      const a = search(this.u, from, start, end) - start, b = search(this.u, to, start, end) - start - 1;
      if (a <= b) {
        first = Math.min(first, a);
        last = Math.max(last, b);
      }
    }
    return last < 0 ? null : [first, last];
  }

  zoomInto(event) {
    const brushed = this.model.get("brushed"), [x, y] = this.spot(event);
    if (x < this.left || this.pick(x, y) >= 0) return;
    if (brushed) this.setView(this.uOf(brushed[0]), this.uOf(brushed[1]));
    else this.zoomBy(0.4, this.uAt(x));
  }

  wheel(event) {
    const isZoom = event.ctrlKey || event.metaKey || event.shiftKey;
    const isSideways = Math.abs(event.deltaX) > Math.abs(event.deltaY) && !event.shiftKey;
    if (!isZoom && !isSideways) return; // the notebook scrolls
    event.preventDefault();
    event.stopPropagation();
    if (!isZoom) {
      this.panBy(event.deltaX / this.plot);
      return;
    }
    const turned = (event.deltaY || event.deltaX) * (event.deltaMode ? 30 : 1);
    this.zoomBy(Math.exp(Math.min(Math.max(turned, -200), 200) / 250), this.uAt(this.spot(event)[0]));
  }

  key(event) {
    if (event.target !== this.canvas || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = this.model.get("_selected");
    const does = {
      ArrowRight: () => this.step(1, event.shiftKey), ArrowLeft: () => this.step(-1, event.shiftKey),
      ArrowDown: () => this.stepRow(1), ArrowUp: () => this.stepRow(-1),
      Home: () => this.select(0), End: () => this.select(this.count - 1),
      "+": () => this.zoomBy(0.5), "=": () => this.zoomBy(0.5), "-": () => this.zoomBy(2),
      _: () => this.zoomBy(2), 0: () => this.showAll(),
      "[": () => this.panBy(-0.25), "]": () => this.panBy(0.25),
      Escape: () => this.letGo(at),
    }[event.key];
    if (!does || !this.count) return;
    event.preventDefault();
    event.stopPropagation(); // else the notebook's own keys take it
    does();
  }

  letGo(at) {
    if (this.model.get("brushed")) this.put("brushed", null);
    else if (at >= 0) this.put("_selected", -1);
    else this.put("_row", -1);
    this.say();
    this.repaint();
  }

  /** To the next event; with Shift to the next one of the same file. */
  step(by, isSameRow) {
    let at = this.model.get("_selected");
    if (at < 0) {
      const inView = search(this.u, this.view[0], this.longest.start, this.longest.end);
      const range = this.model.get("brushed");
      this.select(by > 0 ? (range ? range[0] : inView) : (range ? range[1] : this.longest.end - 1));
      return;
    }
    const row = this.row[at], { start, end } = this.groupOf(at);
    do at += by; while (isSameRow && at >= start && at < end && this.row[at] !== row);
    if (at >= start && at < end) this.select(at);
  }

  stepRow(by) {
    const lanes = this.lanes, row = this.model.get("_row");
    let at = row < 0 ? (by > 0 ? -1 : lanes.length) : this.laneOf[row];
    for (let tried = 0; tried < lanes.length; tried++) {
      at = (at + by + lanes.length) % lanes.length;
      if (lanes[at].more && !this.isOpen) {
        this.isOpen = true;
        this.fold();
        this.stepRow(by);
        return;
      }
      if (lanes[at].row >= 0) break;
    }
    this.put("_row", lanes[at].row);
    this.reveal(at);
    this.say(`${lanes[at].label}: ${counted(lanes[at].count, "event")}`);
    this.repaint();
  }

  groupOf(place) { return this.groups.find(({ start, end }) => place >= start && place < end); }

  // -- what is chosen --------------------------------------------------------------------------

  put(name, value) {
    this.model.set(name, value);
    this.model.save_changes();
  }

  select(place) {
    this.put("_selected", place);
    this.take();
  }

  /** Shows what is selected now, whoever did it. */
  take() {
    const at = this.model.get("_selected");
    if (at >= 0 && at < this.count && this.view) {
      const u = this.u[at], [a, b] = this.view, span = b - a;
      if (u < a || u > b) this.setView(u - span / 2, u + span / 2);
      this.reveal(this.laneOf[this.row[at]]);
      this.ask(at);
    }
    this.say();
    this.repaint();
  }

  takeRow() {
    const row = this.model.get("_row"), wasOpen = this.isOpen;
    this.openFor(row);
    if (this.isOpen !== wasOpen) this.fold();
    if (row >= 0 && row < this.laneOf.length) this.reveal(this.laneOf[row]);
    this.repaint();
  }

  reveal(lane) {
    const y = this.top(lane), room = this.height - FOOT - this.lane;
    if (y < HEAD) this.scroll.scrollTop += y - HEAD;
    else if (y > room) this.scroll.scrollTop += y - room;
    this.scrolled = this.scroll.scrollTop;
  }

  say(text) {
    const at = this.model.get("_selected"), range = this.model.get("brushed");
    if (text === undefined) {
      if (at >= 0 && at < this.count) {
        const about = (this.said.get(at) ?? this.known(at)).map((pair) => pair.filter(Boolean).join(" "));
        text = `event ${(at + 1).toLocaleString("en")} of ${this.count.toLocaleString("en")} · ${about.join(" · ")}`;
      } else text = this.summary;
      if (range) text = `${(range[1] - range[0] + 1).toLocaleString("en")} brushed · ${text}`;
    }
    if (this.status.textContent !== text) this.status.title = this.status.textContent = text;
  }

  /** What can be said of an event without asking. */
  known(at) {
    const kind = this.kind[at], time = this.time[at];
    const said = [[this.words.marks[kind & KIND][0], kind & FAILED ? "failed" : ""],
      ["", this.words.labels[this.row[at]]]];
    if (!Number.isNaN(time)) said.push(["time", `${moment(time)} UTC`]);
    return said;
  }

  ask(at) {
    if (!this.said.has(at)) this.model.send({ details: at, version: this.words.version });
  }

  hear(message) {
    if (!message || message.said === undefined || message.version !== this.words.version) return;
    if (this.said.size > 500) this.said.clear();
    this.said.set(message.details, message.said);
    if (message.details === this.pointed) this.showTip();
    if (message.details === this.model.get("_selected")) this.say();
  }

  // -- the tooltip -----------------------------------------------------------------------------

  point(event) {
    clearTimeout(this.asking);
    this.pointed = -1;
    if (event === null || !this.count || !this.view) {
      this.hideTip();
      return;
    }
    const [x, y] = this.spot(event), lane = this.lanes[this.laneAt(y)];
    this.canvas.style.cursor = x < this.left ? "pointer" : y < HEAD ? "grab" : "crosshair";
    this.at = [event.clientX, event.clientY];
    if (x < this.left) {
      if (lane?.row >= 0) this.fillTip([[lane.label, counted(lane.count, "event")]]);
      else this.hideTip();
      return;
    }
    const place = this.pick(x, y);
    if (place < 0) this.hideTip();
    else if (this.isCrowded) this.fillTip(this.binAt(x, this.laneAt(y)));
    else {
      this.pointed = place;
      this.showTip();
      this.asking = setTimeout(() => this.ask(place), DWELL);
    }
  }

  binAt(x, at) {
    const lane = this.lanes[at], { start, end } = lane.group, counts = {};
    let failed = 0;
    const from = this.uAt(x - BIN), to = this.uAt(x + BIN);
    const first = search(this.u, from, start, end), last = search(this.u, to, start, end);
    for (let i = first; i < last; i++) {
      if (this.laneOf[this.row[i]] !== at) continue;
      const name = this.words.marks[this.kind[i] & KIND][0];
      counts[name] = (counts[name] ?? 0) + 1;
      if (this.kind[i] & FAILED) failed++;
    }
    const said = [["", lane.label], ...Object.entries(counts).map(([name, n]) => [name, n.toLocaleString("en")])];
    if (failed) said.push(["failed", failed.toLocaleString("en")]);
    return said;
  }

  showTip() { this.fillTip(this.said.get(this.pointed) ?? this.known(this.pointed)); }

  fillTip(said) {
    this.tip.replaceChildren(...said.map(([heading, text], at) => {
      const row = make("div", {});
      if (heading) row.append(make(at ? "i" : "b", {}, heading), " ");
      row.append(text);
      return row;
    }));
    this.tip.hidden = false;
    if (this.tip.showPopover && !this.tip.matches(":popover-open")) this.tip.showPopover();
    const { width, height } = this.tip.getBoundingClientRect(), [x, y] = this.at;
    const left = x + 14 + width > window.innerWidth ? x - 14 - width : x + 14;
    const top = y + 16 + height > window.innerHeight ? y - 12 - height : y + 16;
    this.tip.style.left = `${Math.max(left, 2)}px`;
    this.tip.style.top = `${Math.max(top, 2)}px`;
  }

  hideTip() {
    if (this.tip.hidden) return;
    this.tip.hidePopover?.();
    this.tip.hidden = true;
  }
}

/** A column of numbers; copied, as what arrives is not aligned. */
function column(view, Type) {
  return new Type(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

/** The first of the sorted `u` from `start` to `end` that is not below `value`. */
/** When each event happened, and never before what its group did earlier: calls of one step may start
 * out of order. NaN until a time is known. */
function clocked(time, groups) {
  const clock = time.slice();
  for (const { start, end } of groups) {
    for (let i = start + 1; i < end; i++) {
      if (Number.isNaN(clock[i]) || clock[i] < clock[i - 1]) clock[i] = clock[i - 1];
    }
  }
  return clock;
}

function search(u, value, start, end) {
  while (start < end) {
    const middle = (start + end) >>> 1;
    if (u[middle] < value) start = middle + 1;
    else end = middle;
  }
  return start;
}

function make(name, attributes, text) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function sample(name, shapes) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [key, value] of [["viewBox", "-8 -8 16 16"], ["width", 14], ["height", 14], ["aria-hidden", true]]) {
    svg.setAttribute(key, value);
  }
  for (const [kind, attributes] of shapes) {
    const shape = document.createElementNS("http://www.w3.org/2000/svg", kind);
    for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
    svg.append(shape);
  }
  const item = make("span", {});
  item.append(svg, name);
  return item;
}

function line(c, colour, width, x0, y0, x1, y1) {
  c.strokeStyle = colour;
  c.lineWidth = width;
  c.beginPath();
  c.moveTo(x0, y0);
  c.lineTo(x1, y1);
  c.stroke();
}

function dashed(c, colour, x, y0, y1, dashes = [2, 3]) {
  c.save();
  c.setLineDash(dashes);
  c.globalAlpha = 0.6;
  line(c, colour, 1, x, y0, x, y1);
  c.restore();
}

function counted(count, what) { return `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`; }

function moment(ms) { return new Date(ms).toISOString().slice(0, 19).replace("T", " "); }

function lasting(ms) {
  const minutes = Math.round(ms / 60_000);
  if (ms < 60_000) return `${Math.round(ms / 1000)} s`;
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60}` : `${minutes / 60} h`;
  return `${Math.round(minutes / 1440)} days`;
}

const COLUMNS = ["time", "rows", "kind", "lines", "turns"];
const SET_BY_A_PAGE = ["axis", "size_by_lines", "brushed"]; // the other names are the wire's: _words

/** Of a page that is no notebook: what is on view, kept here, with no Python to ask. */
class PageModel {
  constructor(data, say) {
    this.values = { axis: "order", size_by_lines: false, brushed: null, _selected: -1, _row: -1, _zoomed: null };
    for (const [name, value] of Object.entries(data)) {
      this.values[this.inner(name)] = COLUMNS.includes(name) && typeof value === "string" ? unpacked(value) : value;
    }
    this.values._words = { version: 0, base: 0, ...data.words };
    this.say = say;
    this.heard = new Map();
  }

  inner(name) { return SET_BY_A_PAGE.includes(name) ? name : `_${name}`; }
  get(name) { return this.values[name]; }
  set(name, value) {
    if (this.values[name] === value) return;
    this.values[name] = value;
    this.tell(`change:${name}`);
  }

  save_changes() {} // as `set` told it already
  send({ details, version }) {
    if (this.say) this.tell("msg:custom", { details, version, said: this.say(details) });
  }

  on(name, listener) { this.heard.set(name, [...(this.heard.get(name) ?? []), listener]); }
  off(name, listener) {
    this.heard.set(name, (this.heard.get(name) ?? []).filter((other) => other !== listener));
  }

  tell(name, message) { for (const listener of this.heard.get(name) ?? []) listener(message); }
}

/** The bytes of a column that came as base64. */
function unpacked(text) { return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)); }

function render({ model, el }) {
  const timeline = new Timeline(model, el);
  return () => timeline.remove();
}

/** Draws a timeline on any page; see the top of this file. */
export function draw(el, data, say) {
  const model = new PageModel(data, say), remove = render({ model, el });
  return {
    get: (name) => model.get(model.inner(name)),
    set: (name, value) => model.set(model.inner(name), value),
    on: (name, listener) => model.on(`change:${model.inner(name)}`, () => listener(model.get(model.inner(name)))),
    remove,
  };
}

export default { render };
