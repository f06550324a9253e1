// Curves, drawn by uPlot; what surrounds them is plain HTML that reads without the drawing.

const Charts = {
  all: [],
  hidden: new Set(), // runs that are switched off
  smooth: 0,

  colour(number) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--s${number % 8}`).trim();
  },

  section(report) {
    const section = make("section", { id: "curves", "aria-labelledby": "curves-title" });
    const smooth = make("select", { id: "smooth", on: { change: (event) => { this.smooth = +event.target.value; this.redraw(); } } },
      [["0", "as logged"], ["5", "over 5 steps"], ["20", "over 20 steps"], ["50", "over 50 steps"]].map(([value, text]) => make("option", { value, text })));
    section.append(make("div", { class: "head" }, make("h2", { id: "curves-title", text: "Curves" }),
      make("label", { class: "inline" }, "Smoothed ", smooth)));
    const names = [...new Set(report.charts.map((chart) => chart.section))];
    for (const name of names) {
      const grid = make("div", { class: "charts" });
      for (const chart of report.charts.filter((each) => each.section === name)) grid.append(this.card(chart, report));
      section.append(make("h3", { text: name, id: `curves-${name.toLowerCase()}` }), grid);
    }
    if (!names.length) section.append(make("p", { class: "quiet", text: "No step has been logged yet, so there is nothing to draw." }));
    return section;
  },

  card(chart, report) {
    const several = report.runs.length > 1;
    const title = make("h4", { text: chart.title });
    const card = make("figure", { class: "card chart", "data-chart": chart.id }, make("figcaption", {}, title, make("p", { class: "quiet", text: chart.about + (chart.series.some((one) => one.dash && !one.of) ? " Dashed: held-out rows." : "") })));
    if (!chart.series.length) {
      card.classList.add("empty");
      card.append(make("p", { class: "quiet", text: `Not here: ${chart.absent}.` }));
      return card;
    }
    const names = [...new Set(chart.series.map((one) => one.of || one.name))];
    const hues = new Map(names.map((name, i) => [name, i]));
    const view = { chart, card, plot: null, off: new Set() };
    view.lines = chart.series.map((one, i) => ({
      ...one, i,
      label: [several && !(one.of && this.shared(chart, one)) ? report.runs[one.run].label : "", one.name].filter(Boolean).join(": ") || chart.title,
      hue: several ? one.run : hues.get(one.of || one.name),
      pattern: one.of ? [2, 3] : one.dash ? [5, 4] : several && names.length > 1 ? [[], [8, 3], [2, 3], [10, 3, 2, 3]][hues.get(one.of || one.name) % 4] : [],
    }));
    view.box = make("div", { class: "plot", role: "img", "aria-label": this.summary(view) });
    view.legend = make("ul", { class: "legend" });
    const table = make("details", { class: "numbers" }, make("summary", { text: "Numbers" }));
    table.addEventListener("toggle", () => { if (table.open && !table.querySelector("table")) table.append(this.table(view)); });
    card.append(view.box, view.legend, table);
    this.all.push(view);
    this.watcher.observe(view.box);
    return card;
  },

  // A plan that several runs have in common is drawn once, and belongs to none of them.
  shared(chart, plan) { return chart.series.filter((one) => one.of && one.name === plan.name).length === 1; },

  watcher: new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) {
      const view = Charts.all.find((each) => each.box === entry.target);
      if (view && !view.plot) Charts.draw(view);
    }
  }, { rootMargin: "600px" }),

  summary(view) {
    const told = view.lines.slice(0, 12).map((line) => {
      const known = line.y.filter((value) => value !== null);
      return `${line.label}: from ${number(known[0])} to ${number(known[known.length - 1])}`;
    });
    return `${view.chart.title}, by step. ${told.join("; ")}${view.lines.length > 12 ? "; and more" : ""}.`;
  },

  smoothed(values) {
    if (!this.smooth) return values;
    const sums = [], out = [];
    values.forEach((value, i) => {
      sums.push(value);
      const some = sums.slice(Math.max(0, i - this.smooth + 1)).filter((each) => each !== null);
      out.push(value === null || !some.length ? null : some.reduce((a, b) => a + b, 0) / some.length);
    });
    return out;
  },

  draw(view) {
    view.plot?.destroy();
    view.box.textContent = "";
    const style = getComputedStyle(document.documentElement);
    const tables = [], series = [{}], bands = [];
    for (const line of view.lines) {
      const stroke = this.colour(line.hue);
      const shown = !this.hidden.has(line.run) && !view.off.has(line.i);
      const single = line.x.length === 1;
      tables.push([line.x, this.smoothed(line.y)]);
      series.push({ label: line.label, stroke, width: line.dash ? 1.5 : 2, dash: line.pattern, show: shown, spanGaps: true, points: { show: single, size: 6 } });
      line.at = series.length - 1;
      if (line.lo && view.lines.length <= 6) {
        tables.push([line.x, line.lo], [line.x, line.hi]);
        const edge = { stroke: "transparent", width: 0, points: { show: false }, show: shown, spanGaps: true };
        series.push({ ...edge }, { ...edge });
        line.band = [series.length - 1, series.length - 2];
        bands.push({ series: line.band, fill: stroke + "22" });
      }
    }
    const grid = { stroke: style.getPropertyValue("--grid").trim(), width: 1 };
    const axis = { stroke: style.getPropertyValue("--quiet").trim(), grid, ticks: { ...grid, size: 4 }, font: "11px system-ui, sans-serif" };
    const width = view.box.clientWidth || 360;
    const last = Math.max(...view.lines.map((line) => line.x[line.x.length - 1]));
    view.plot = new uPlot({
      width, height: 190,
      cursor: { sync: { key: "steps", setSeries: false }, drag: { x: true, y: false }, points: { size: 6 } },
      legend: { show: false },
      scales: { x: { time: false }, y: { range: (u, low, high) => this.range(view.chart, low, high) } },
      axes: [
        { ...axis, size: 28, gap: 4, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 50000, 100000], values: (u, ticks) => ticks.map((tick) => (tick > last ? "" : count(tick))) },
        { ...axis, size: (u, labels) => Math.max(40, ...(labels || []).map((label) => label.length * 6.5 + 16)), gap: 4, values: (u, ticks) => ticks.map((tick) => (view.chart.share ? `${+(tick * 100).toFixed(1)}%` : this.tick(tick))) },
      ],
      series, bands,
      hooks: {
        setCursor: [(u) => this.legend(view, u.cursor.idx)],
        drawClear: [(u) => this.alarms(u)],
      },
    }, uPlot.join(tables.map(([x, y]) => [x, y])), view.box);
    this.legend(view, null);
  },

  tick(value) {
    const size = Math.abs(value);
    if (size >= 1e6) return `${+(value / 1e6).toFixed(2)}M`;
    if (size >= 1e4) return `${+(value / 1e3).toFixed(1)}k`;
    return size && size < 1e-3 ? (+value.toPrecision(3)).toExponential() : number(value);
  },

  range(chart, low, high) {
    if (low === null || low === undefined) return [0, 1];
    if (chart.share) return [Math.min(0, low), high > 0.5 ? Math.max(1, high) : high * 1.15 || 0.1];
    const room = (high - low || Math.abs(high) || 1) * 0.08;
    return [low >= 0 && low < (high - low) ? 0 : low - room, high + room];
  },

  alarms(u) {
    const context = u.ctx;
    context.save();
    context.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
    context.lineWidth = devicePixelRatio;
    Report.runs.forEach((run, i) => {
      if (this.hidden.has(i)) return;
      for (const alarm of run.alarms) {
        const x = u.valToPos(alarm.step, "x", true);
        if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) continue;
        context.strokeStyle = this.alarmColour;
        context.beginPath();
        context.moveTo(x, u.bbox.top);
        context.lineTo(x, u.bbox.top + u.bbox.height);
        context.stroke();
      }
    });
    context.restore();
  },

  legend(view, at) {
    const plot = view.plot;
    if (!plot) return;
    if (!view.legend.childElementCount) {
      for (const line of view.lines) {
        const swatch = make("span", { class: `swatch c${line.hue % 8}${line.dash || line.pattern.length ? " dashed" : ""}` });
        const button = make("button", { type: "button", "aria-pressed": "true", title: "Show or hide this line", on: { click: () => {
          if (view.off.has(line.i)) view.off.delete(line.i); else view.off.add(line.i);
          this.toggle(view);
        } } }, swatch, make("span", { text: line.label }), make("output"));
        view.legend.append(make("li", {}, button));
      }
      view.legend.append(make("li", { class: "step" }));
    }
    const items = [...view.legend.children];
    items[items.length - 1].textContent = at === null || at === undefined ? "" : `step ${count(plot.data[0][at])}`;
    view.lines.forEach((line, i) => {
      const values = plot.data[line.at];
      let value = at === null || at === undefined ? null : values[at];
      if (at === null || at === undefined) for (let j = values.length - 1; j >= 0 && value === null; j--) value = values[j];
      const shown = !this.hidden.has(line.run) && !view.off.has(line.i);
      const button = items[i].firstChild;
      button.setAttribute("aria-pressed", String(shown));
      button.lastChild.textContent = value === null || value === undefined ? "" : view.chart.share ? `${number(value * 100, 1)}%` : number(value);
    });
  },

  toggle(view) {
    if (!view.plot) return;
    view.plot.batch(() => {
      for (const line of view.lines) {
        const show = !this.hidden.has(line.run) && !view.off.has(line.i);
        for (const at of [line.at, ...(line.band || [])]) view.plot.setSeries(at, { show });
      }
    });
    this.legend(view, null);
  },

  table(view) {
    const steps = [...new Set(view.lines.flatMap((line) => line.x))].sort((a, b) => a - b);
    const some = steps.length <= 24 ? steps : Array.from({ length: 24 }, (_, i) => steps[Math.round((i * (steps.length - 1)) / 23)]);
    const maps = view.lines.map((line) => new Map(line.x.map((step, i) => [step, line.y[i]])));
    return make("div", { class: "scroll", tabindex: "0" }, make("table", {},
      make("thead", {}, make("tr", {}, make("th", { scope: "col", text: "step" }), view.lines.map((line) => make("th", { scope: "col", text: line.label })))),
      make("tbody", {}, some.map((step) => make("tr", {}, make("th", { scope: "row", text: count(step) }),
        maps.map((values) => make("td", { text: values.has(step) ? number(values.get(step), 4) : "" })))))));
  },

  redraw() {
    this.alarmColour = getComputedStyle(document.documentElement).getPropertyValue("--bad").trim();
    for (const view of this.all) if (view.plot) this.draw(view);
  },

  drawAll() { for (const view of this.all) if (!view.plot) this.draw(view); },
};
