// One completion: its question, its score with reasons, what it quotes, where that stands, and its group.

const KINDS = { verbatim: "verbatim", fuzzy: "nearly verbatim", missing: "not found" };

const Detail = {
  async draw(at, box) {
    const [text, told, row] = await Promise.all([Store.text(at), Store.told(at), Store.row(at)]);
    if (Browser.current !== at) return;
    const c = Store.index.columns, run = Report.runs[c.run[at]];
    const quotes = (told.quotes || []).map(([start, end, kind, similarity, place, changes, reason, same], i) => ({ i, start, end, kind, similarity, place, changes, reason, same }));
    box.replaceChildren(...[
      this.head(at, run, row),
      make("div", { class: "question" }, make("h4", { text: "Question" }), make("p", { text: row.question || "(none)" }),
        make("p", { class: "quiet" }, "Gold answer: ", make("b", { text: row.golds.slice(0, 6).join(" | ") || "(none)" }), row.golds.length > 6 ? ` and ${row.golds.length - 6} more` : "")),
      this.parts(at, told),
      this.completion(text, quotes, Store.index.columns.length[at]),
      row.sessions ? make("div", { class: "block" }, make("h4", { text: "Sessions" }), Timeline.draw(row, told.selected || [])) : null,
      row.context.length ? this.context(row, quotes) : null,
      this.group(at),
    ].filter(Boolean));
  },

  head(at, run, row) {
    const c = Store.index.columns;
    return make("header", { class: "detail-head" },
      make("div", {}, make("h3", { id: "detail-title", tabindex: "-1", text: row.id || "(no id)" }),
        make("p", { class: "quiet", text: [Report.runs.length > 1 ? run.label : null, `step ${count(c.step[at])}`, row.source, row.kind].filter(Boolean).join(" · ") })),
      make("div", { class: "earned" }, make("b", { text: number(c.total[at]) }), make("span", { class: "quiet", text: ` of ${number(c.maximum[at])}` }),
        c.advantage[at] === null ? null : make("span", { class: `badge ${c.advantage[at] > 0 ? "green" : c.advantage[at] < 0 ? "red" : ""}`, text: `advantage ${signed(c.advantage[at], 2)}` })),
      make("div", { class: "print-no step-buttons" }, make("button", { type: "button", "aria-label": "Previous completion (k)", text: "↑", on: { click: () => Browser.step(-1) } }),
        make("button", { type: "button", "aria-label": "Next completion (j)", text: "↓", on: { click: () => Browser.step(1) } })));
  },

  parts(at, told) {
    if (!told.parts) {
      const values = Object.entries(Store.index.parts).map(([name, column]) => [name, column[at]]);
      return make("div", { class: "block" }, make("h4", { text: "Score" }), make("p", { class: "quiet", text: told.problem || "The reward could not be built, so reasons are not known." }),
        make("dl", { class: "pairs" }, values.map(([name, value]) => make("div", {}, make("dt", { text: name }), make("dd", { text: number(value) })))));
    }
    return make("div", { class: "block" }, make("h4", { text: "Score" }), told.problem ? make("p", { class: "warn", text: told.problem }) : null, make("div", { class: "scroll", tabindex: "0" }, make("table", { class: "parts" },
      make("thead", {}, make("tr", {}, ["part", "value", "weight", "adds", "why"].map((text, i) => make("th", { scope: "col", class: i === 4 ? "left" : null, text })))),
      make("tbody", {}, told.parts.map(([name, value, weight, best, reasons]) => {
        const worth = value === null ? null : value * weight;
        const full = worth !== null && Math.abs(worth - best) < 1e-6;
        return make("tr", {}, make("th", { scope: "row", text: name }), make("td", { text: number(value) }), make("td", { text: number(weight) }),
          make("td", { class: worth === null ? "quiet" : full ? "good" : "short" }, worth === null ? "none" : number(worth), make("span", { class: "quiet", text: ` of ${number(best)}` })),
          make("td", { class: "left why" }, reasons.length === 1 ? reasons[0] : make("ul", {}, reasons.map((text) => make("li", { text })))));
      })))));
  },

  completion(text, quotes, length) {
    const marks = [];
    for (const quote of quotes) {
      marks.push({ start: quote.start, end: quote.end, kind: `q ${quote.kind}`, label: String(quote.i + 1), spoken: `quote ${quote.i + 1}, ${KINDS[quote.kind]}`, quote: quote.i, title: `${quote.i + 1}: ${quote.reason}` });
      for (const [from, to] of quote.changes || []) if (to > from) marks.push({ start: quote.start + from, end: quote.start + to, kind: "differs" });
    }
    const kinds = new Set(quotes.map((quote) => quote.kind));
    return make("div", { class: "block" }, make("h4", { text: "Completion" }),
      make("div", { class: "text completion", id: "completion-text", tabindex: "0" }, marked(text, marks)),
      length > [...text].length ? make("p", { class: "quiet", text: `Cut here: it has ${count(length)} characters.` }) : null,
      quotes.length ? make("ul", { class: "keys" }, Object.keys(KINDS).filter((kind) => kinds.has(kind)).map((kind) => make("li", {}, make("mark", { class: `q ${kind}`, text: KINDS[kind] }))),
        quotes.some((quote) => quote.changes.length) ? make("li", {}, make("mark", { class: "differs", text: "words that differ" })) : null) : null,
      quotes.length ? make("ol", { class: "quotes" }, quotes.map((quote) => make("li", { class: quote.kind },
        make("span", { class: `badge ${{ verbatim: "green", fuzzy: "amber", missing: "red" }[quote.kind]}`, text: KINDS[quote.kind] }), " ", make("span", { text: quote.reason }),
        quote.place ? [" ", make("button", { type: "button", class: "link print-no", text: "show", "aria-label": `Show the place of quote ${quote.i + 1}`, on: { click: () => this.reveal(quote) } })] : null))) : null);
  },

  reveal(quote) {
    const passage = document.getElementById(`passage-${quote.place[0]}`);
    if (!passage) return;
    passage.open = true;
    const mark = [...passage.querySelectorAll("mark")].find((each) => (each.dataset.quote || "").split(" ").includes(String(quote.i)));
    (mark || passage).scrollIntoView({ block: "center" });
    if (mark) { mark.classList.remove("flash"); void mark.offsetWidth; mark.classList.add("flash"); }
  },

  context(row, quotes) {
    const marks = row.context.map(() => []);
    for (const quote of quotes) {
      if (!quote.place || quote.same !== null) continue;
      const [passage, start, end] = quote.place;
      const nearest = quote.kind === "missing";
      marks[passage].push({ start, end, kind: nearest ? "q nearest" : `q ${quote.kind}`, label: String(quote.i + 1), spoken: nearest ? `nearest to quote ${quote.i + 1}` : `quote ${quote.i + 1}`, quote: quote.i, title: nearest ? `nearest text to quote ${quote.i + 1}` : `quote ${quote.i + 1}` });
      for (const [, , from, to] of quote.changes || []) if (to > from) marks[passage].push({ start: from, end: to, kind: "differs" });
    }
    row.facts.forEach(([, places], i) => places.forEach(([passage, start, end]) => marks[passage].push({ start, end, kind: "gold", title: `gold evidence ${i + 1}` })));
    const lost = row.facts.filter(([, places]) => !places.length);
    return make("div", { class: "block" }, make("h4", { text: `Context: ${plural(row.context.length, "passage")}` }),
      row.context.map(([title, text], i) => make("details", { id: `passage-${i}`, class: marks[i].length ? "passage told" : "passage", open: marks[i].length > 0 || row.context.length <= 3 },
        make("summary", {}, make("b", { text: String(i + 1) }), " ", make("span", { text: title || `${text.slice(0, 70)}${text.length > 70 ? "…" : ""}` })),
        make("p", { class: "text", "data-passage": i }, marked(text, marks[i])))),
      row.facts.length ? make("ul", { class: "keys" }, make("li", {}, make("mark", { class: "gold", text: "gold evidence" }))) : make("p", { class: "quiet", text: "The row labels no evidence." }),
      lost.length ? make("p", { class: "warn", text: `${plural(lost.length, "labelled fact")} ${lost.length === 1 ? "stands" : "stand"} in no passage: ${lost.map(([text]) => `“${text.slice(0, 120)}”`).join(", ")}` }) : null);
  },

  group(at) {
    const c = Store.index.columns;
    const members = Store.index.groups.get(c.group[at]);
    const known = members.map((each) => c.advantage[each]).filter((value) => value !== null);
    const most = Math.max(0.01, ...known.map(Math.abs));
    const names = Object.keys(Store.index.parts).filter((name) => members.some((each) => Store.index.parts[name][each] !== null));
    const rows = members.map((each) => {
      const excerpt = make("span", { class: "excerpt", text: "…" });
      Store.text(each).then((text) => { excerpt.textContent = visible(text.length > 160 ? `${text.slice(0, 60)} … ${text.slice(-90)}` : text); });
      const value = c.advantage[each];
      return make("tr", { class: each === at ? "here" : null, "aria-current": each === at ? "true" : null },
        make("td", {}, make("button", { type: "button", class: "link", text: number(c.total[each]), "aria-label": `Show the rollout that earned ${number(c.total[each])}`, on: { click: () => Browser.show(each) } })),
        make("td", { class: "adv" }, value === null ? make("span", { class: "quiet", text: "?" }) : [make("span", { text: signed(value, 2) }), this.bar(value / most)]),
        names.map((name) => make("td", { text: number(Store.index.parts[name][each], 2) })),
        make("td", { class: "left" }, excerpt));
    });
    return make("div", { class: "block group" }, make("h4", { text: `Group: ${plural(members.length, "rollout")} of this prompt at step ${count(c.step[at])}` }),
      known.length ? null : make("p", { class: "quiet", text: "Their advantages are not known: not the whole group, or not the whole batch where rewards are scaled by it, was logged." }),
      make("div", { class: "scroll", tabindex: "0" }, make("table", {}, make("thead", {}, make("tr", {}, ["reward", "advantage", ...names].map((text) => make("th", { scope: "col", text })), make("th", { scope: "col", class: "left", text: "completion" }))),
        make("tbody", {}, rows))));
  },

  bar(share) {
    const width = Math.min(1, Math.abs(share)) * 30;
    return drawing(() => make("svg", { class: "bar-svg", viewBox: "0 0 60 8", "aria-hidden": "true" }, make("line", { x1: 30, x2: 30, y1: 0, y2: 8, class: "axis" }),
      make("rect", { x: share < 0 ? 30 - width : 30, y: 1, width, height: 6, rx: 1, class: share < 0 ? "minus" : "plus" })));
  },
};
