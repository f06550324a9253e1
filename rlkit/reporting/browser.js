// All completions: filters over columns in memory, a page of the list at a time, texts searched page by page.

const Browser = {
  current: null,
  found: new Uint32Array(0),
  first: 0,
  perPage: 50,
  search: 0,

  section(report) {
    const section = make("section", { id: "completions", "aria-labelledby": "completions-title" }, make("h2", { id: "completions-title", text: "Completions" }));
    const index = Store.index;
    if (!index.size) {
      section.append(make("p", { class: "quiet", text: "No completions were logged, or none were asked for." }));
      return section;
    }
    this.report = report;
    const c = index.columns;
    const steps = [c.step.reduce((a, b) => Math.min(a, b)), c.step.reduce((a, b) => Math.max(a, b))];
    const select = (name, label, options) => make("label", {}, label, make("select", { name }, options.map(([value, text]) => make("option", { value, text }))));
    const range = (name, label, low, high, step) => make("fieldset", { class: "range" }, make("legend", { text: label }),
      make("input", { type: "number", name: `${name}From`, step, placeholder: low, "aria-label": `${label}, from` }), "–",
      make("input", { type: "number", name: `${name}To`, step, placeholder: high, "aria-label": `${label}, to` }));
    const alarms = report.runs.flatMap((run, i) => run.alarms.map((alarm, j) => [`${i}/${j}`, `${report.runs.length > 1 ? `${run.label}: ` : ""}${alarm.kind.replaceAll("_", " ")}, step ${alarm.step}`]));
    const known = c.total.filter((value) => value !== null);
    const bounds = known.length ? [known.reduce((a, b) => Math.min(a, b)), known.reduce((a, b) => Math.max(a, b))] : [0, 1];
    this.bounds = [Math.min(0, bounds[0]), Math.max(bounds[1], ...c.maximum.slice(0, 1))];
    this.form = make("form", { class: "card filters print-no", role: "search", "aria-label": "Filter completions", on: { submit: (event) => event.preventDefault(), input: () => this.filterSoon(), reset: () => setTimeout(() => this.filter()) } },
      report.runs.length > 1 ? select("run", "Run", [["", "all"], ...report.runs.map((run, i) => [i, run.label])]) : null,
      range("step", "Step", steps[0], steps[1], 1),
      index.sources.length > 1 ? select("source", "Source", [["", "all"], ...index.sources.map((name, i) => [i, name])]) : null,
      range("total", "Reward", number(bounds[0], 2), number(bounds[1], 2), "any"),
      select("part", "Part", [["", "any"], ...Object.keys(index.parts).flatMap((name) => [[`least/${name}`, `${name}: lowest value`], [`most/${name}`, `${name}: highest value`], [`none/${name}`, `${name}: none`]])]),
      index.columns.quoted.some(Boolean) ? select("quotes", "Quotes", [["", "any"], ["missing", "some not found"], ["fuzzy", "some nearly verbatim"], ["verbatim", "all verbatim"], ["no", "no quote"]]) : null,
      alarms.length ? select("alarm", "Alarm", [["", "any"], ["any", "named by an alarm"], ...alarms]) : null,
      select("sort", "Order", [["", "as logged"], ["last", "last first"], ["low", "reward, lowest first"], ["high", "reward, highest first"], ["spread", "groups that differ most"], ["long", "longest first"]]),
      make("label", { class: "wide" }, "Text", make("input", { type: "search", name: "text", placeholder: "in completions", autocomplete: "off", spellcheck: "false" })),
      make("button", { type: "reset", text: "Clear" }));
    this.status = make("p", { class: "status", role: "status", "aria-live": "polite" });
    this.list = make("ol", { class: "list", "aria-label": "Completions found" });
    this.pager = make("div", { class: "pager" });
    this.box = make("article", { class: "card detail", "aria-labelledby": "detail-title" });
    section.append(this.form, make("div", { class: "panes" }, make("div", { class: "pane-list print-no" }, this.status, this.list, this.pager), this.box),
      make("p", { class: "quiet print-no", text: "Keys: j and k go to the next and the previous completion, g to the group, / to the search." }));
    document.addEventListener("keydown", (event) => this.key(event));
    this.extremes = Object.fromEntries(Object.entries(index.parts).map(([name, column]) => {
      let low = Infinity, high = -Infinity;
      for (const value of column) if (value !== null) { if (value < low) low = value; if (value > high) high = value; }
      return [name, [low, high]];
    }));
    return section;
  },

  filterSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.filter(), 120);
  },

  wanted() {
    const get = (name) => this.form.elements[name]?.value ?? "";
    const limit = (name, other) => (get(name) === "" ? other : +get(name));
    return { run: get("run"), source: get("source"), from: limit("stepFrom", -Infinity), to: limit("stepTo", Infinity), low: limit("totalFrom", null), high: limit("totalTo", null),
      part: get("part"), quotes: get("quotes"), alarm: get("alarm"), sort: get("sort"), text: get("text").trim() };
  },

  async filter() {
    const started = performance.now();
    const { run, source, from, to, low, high, part, quotes, alarm, sort, text } = this.wanted();
    const { columns: c, parts, size, named } = Store.index;
    const mine = ++this.search;
    const [how, name] = part ? [part.slice(0, part.indexOf("/")), part.slice(part.indexOf("/") + 1)] : [];
    const column = name === undefined ? null : parts[name];
    const bound = column && how !== "none" ? this.extremes[name][how === "least" ? 0 : 1] : null;
    const ringing = alarm === "" ? null : new Set(named.filter(([r, a]) => alarm === "any" || alarm === `${r}/${a}`).map(([, , , at]) => at));
    const hits = [];
    for (let i = 0; i < size; i++) {
      if (run !== "" && c.run[i] !== +run) continue;
      if (source !== "" && c.source[i] !== +source) continue;
      if (c.step[i] < from || c.step[i] > to) continue;
      if ((low !== null || high !== null) && (c.total[i] === null || (low !== null && c.total[i] < low - 1e-9) || (high !== null && c.total[i] > high + 1e-9))) continue;
      if (column && (how === "none" ? column[i] !== null : column[i] === null || Math.abs(column[i] - bound) > 1e-9)) continue;
      if (quotes === "missing" && !c.missing[i]) continue;
      if (quotes === "fuzzy" && !c.fuzzy[i]) continue;
      if (quotes === "verbatim" && (!c.verbatim[i] || c.fuzzy[i] || c.missing[i])) continue;
      if (quotes === "no" && c.verbatim[i] + c.fuzzy[i] + c.missing[i]) continue;
      if (ringing && !ringing.has(i)) continue;
      hits.push(i);
    }
    let found = hits;
    if (text) {
      found = await this.matching(hits, text.toLowerCase(), mine);
      if (found === null) return; // a newer search has begun
    }
    this.sort(found, sort);
    this.found = found;
    this.took = performance.now() - started;
    this.first = 0;
    this.draw();
    if (!found.includes(this.current)) { if (found.length) this.show(found[0], false, false); else { this.current = null; this.box.replaceChildren(make("p", { class: "quiet", id: "detail-title", text: "Nothing to show." })); } }
  },

  sort(found, sort) {
    const c = Store.index.columns;
    const value = (i, none) => (c.total[i] === null ? none : c.total[i]);
    if (sort === "last") found.reverse();
    if (sort === "low") found.sort((a, b) => value(a, Infinity) - value(b, Infinity) || a - b);
    if (sort === "high") found.sort((a, b) => value(b, -Infinity) - value(a, -Infinity) || a - b);
    if (sort === "long") found.sort((a, b) => c.length[b] - c.length[a] || a - b);
    if (sort === "spread") {
      const spread = new Map();
      for (const [group, members] of Store.index.groups) {
        const totals = members.map((i) => c.total[i]).filter((each) => each !== null);
        const mean = totals.reduce((a, b) => a + b, 0) / totals.length;
        spread.set(group, totals.length ? totals.reduce((sum, each) => sum + (each - mean) ** 2, 0) / totals.length : -1);
      }
      found.sort((a, b) => spread.get(c.group[b]) - spread.get(c.group[a]) || a - b);
    }
  },

  async matching(hits, text, mine) {
    const starts = Store.index.starts.t;
    const found = [];
    let page = -1, items = [], at = 0;
    for (const i of hits) {
      if (page < 0 || i >= (starts[page + 1] ?? Infinity)) {
        while (i >= (starts[page + 1] ?? Infinity)) page++;
        items = await Store.page("t", page);
        if (mine !== this.search) return null;
        if (++at % 40 === 0) this.status.textContent = `Searching… ${count(i)} of ${count(Store.index.size)}`;
      }
      if (items[i - starts[page]].toLowerCase().includes(text)) found.push(i);
    }
    return found;
  },

  draw() {
    const c = Store.index.columns;
    const end = Math.min(this.first + this.perPage, this.found.length);
    this.status.textContent = `${count(this.found.length)} of ${plural(Store.index.size, "completion")}`;
    const several = this.report.runs.length > 1;
    this.list.start = this.first + 1;
    this.list.replaceChildren(...this.found.slice(this.first, end).map((i) => {
      const excerpt = make("span", { class: "excerpt", text: "…" });
      Store.text(i).then((text) => { excerpt.textContent = visible(text.slice(0, 220)); });
      const share = c.total[i] === null ? 0 : (c.total[i] - this.bounds[0]) / (this.bounds[1] - this.bounds[0] || 1);
      const marks = [["verbatim", "✓"], ["fuzzy", "≈"], ["missing", "✗"]].filter(([kind]) => c[kind][i]).map(([kind, sign]) => make("span", { class: `count ${kind}`, title: `${c[kind][i]} ${KINDS[kind]}`, "aria-label": `${plural(c[kind][i], "quote")} ${KINDS[kind]}` }, `${sign}${c[kind][i]}`));
      return make("li", {}, make("button", { type: "button", class: "entry", "data-at": i, "aria-current": i === this.current ? "true" : null, on: { click: () => this.show(i) } },
        make("span", { class: "line" }, several ? make("span", { class: `swatch c${c.run[i] % 8}` }) : null, make("span", { class: "quiet", text: `step ${count(c.step[i])}` }), make("span", { class: "quiet source", text: Store.index.sources[c.source[i]] }), marks,
          make("meter", { min: 0, max: 1, value: share, "aria-hidden": "true" }), make("b", { text: number(c.total[i], 2) })),
        excerpt));
    }));
    this.pager.replaceChildren(
      make("button", { type: "button", disabled: this.first === 0, text: "Previous", on: { click: () => this.turn(-1) } }),
      make("span", { class: "quiet", text: this.found.length ? `${count(this.first + 1)}–${count(end)}` : "" }),
      make("button", { type: "button", disabled: end >= this.found.length, text: "Next", on: { click: () => this.turn(1) } }));
  },

  turn(by) {
    this.first = Math.max(0, Math.min(this.first + by * this.perPage, Math.floor((this.found.length - 1) / this.perPage) * this.perPage));
    this.draw();
    this.list.scrollTop = 0;
  },

  show(at, jump = false, mark = true) {
    this.current = at;
    const place = this.found.indexOf(at);
    if (place >= 0 && (place < this.first || place >= this.first + this.perPage)) {
      this.first = Math.floor(place / this.perPage) * this.perPage;
      this.draw();
    }
    for (const entry of this.list.querySelectorAll("[aria-current]")) entry.removeAttribute("aria-current");
    const entry = this.list.querySelector(`[data-at="${at}"]`);
    entry?.setAttribute("aria-current", "true");
    if (entry && mark) entry.scrollIntoView({ block: "nearest" });
    if (mark) history.replaceState(null, "", `#completion-${at}`);
    if (jump) document.getElementById("completions").scrollIntoView();
    return Detail.draw(at, this.box).catch((error) => this.box.replaceChildren(make("p", { class: "warn", text: `Cannot be read: ${error.message}` })));
  },

  step(by) {
    if (!this.found.length) return;
    const place = this.found.indexOf(this.current);
    const next = place < 0 ? 0 : Math.max(0, Math.min(this.found.length - 1, place + by));
    this.show(this.found[next]).then(() => say(`${next + 1} of ${this.found.length}`));
  },

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.key === "Escape" && typing) event.target.blur();
    if (typing) return;
    const act = { j: () => this.step(1), k: () => this.step(-1), g: () => this.box.querySelector(".group")?.scrollIntoView(), "/": () => this.form.elements.text.focus() }[event.key];
    if (act) { event.preventDefault(); act(); }
  },
};
