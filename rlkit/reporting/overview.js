// What the runs were, in what they differ, what looked wrong, and how they did on the papers' questions.

const Overview = {
  section(report) {
    const section = make("section", { id: "overview", "aria-labelledby": "overview-title" }, make("h2", { id: "overview-title", class: "hidden-text", text: "Overview" }));
    section.append(make("div", { class: "runs" }, report.runs.map((run, i) => this.run(run, i, report.runs.length > 1))));
    if (report.notes.length) section.append(make("ul", { class: "notes" }, report.notes.map((text) => make("li", { text }))));
    if (report.differing.length) section.append(this.differing(report));
    section.append(make("div", { class: "facts" }, report.runs.map((run, i) => this.facts(run, i, report.runs.length > 1))));
    return section;
  },

  run(run, i, several) {
    const state = { done: "green", stopped: "red", unfinished: "amber" }[run.state.kind];
    const steps = run.planned_steps && run.planned_steps !== run.steps ? `${count(run.steps)} of ${plural(run.planned_steps, "step")}` : plural(run.steps, "step");
    const took = duration(run.seconds);
    return make("article", { class: "card run", "aria-label": run.label },
      make("div", { class: "run-head" }, make("span", { class: `swatch c${several ? i : 0}` }), make("h3", { text: run.label }), make("span", { class: `badge ${state}`, text: run.state.told })),
      make("p", { class: "quiet", text: [`${run.method.toUpperCase()} on ${run.task}`, run.model, steps, took].filter(Boolean).join(" · ") }),
      make("dl", { class: "tiles" }, run.figures.slice(0, 4).map((figure) => make("div", {},
        make("dt", { text: figure.label }), make("dd", {}, make("b", { text: number(figure.last) }),
          make("span", { class: "change", text: ` from ${number(figure.first)}` }))))),
      run.alarms.length ? make("p", {}, make("a", { href: "#alarms", class: "warn", text: plural(run.alarms.length, "alarm") })) : null,
      run.notes.length ? make("ul", { class: "notes" }, run.notes.map((text) => make("li", { text }))) : null,
      several ? make("label", { class: "inline print-no" }, make("input", { type: "checkbox", checked: true, on: { change: (event) => {
        if (event.target.checked) Charts.hidden.delete(i); else Charts.hidden.add(i);
        Charts.all.forEach((view) => Charts.toggle(view));
      } } }), " in the curves") : null);
  },

  differing(report) {
    return make("div", { class: "card" }, make("h3", { text: "What differs" }), make("div", { class: "scroll", tabindex: "0" }, make("table", { class: "differs-table" },
      make("thead", {}, make("tr", {}, make("th", { scope: "col", text: "setting" }), report.runs.map((run, i) => make("th", { scope: "col" }, make("span", { class: `swatch c${i % 8}` }), " ", run.label)))),
      make("tbody", {}, report.differing.map((row) => make("tr", {}, make("th", { scope: "row" }, make("code", { text: row.key })),
        row.values.map((value) => make("td", { class: "left" }, value === null ? make("span", { class: "quiet", text: "not set" }) : make("code", { text: value })))))))));
  },

  facts(run, i, several) {
    const pairs = (values) => make("dl", { class: "pairs" }, Object.entries(values).map(([key, value]) => make("div", {}, make("dt", { text: key }), make("dd", { text: typeof value === "object" ? JSON.stringify(value) : String(value) }))));
    const drops = (values) => Object.entries(values).map(([reason, rows]) => `${reason}: ${rows === null ? "?" : count(rows)}`).join("; ");
    return make("details", { class: "card" }, make("summary", { text: several ? `${run.label}: config, data, seeds, versions` : "Config, data, seeds, versions" }),
      make("div", { class: "columns" },
        make("div", {}, make("h4", { text: "Reward" }), run.rewards.length ? make("div", { class: "scroll", tabindex: "0" }, make("table", {}, make("thead", {}, make("tr", {}, ["part", "weight", "what"].map((text, i) => make("th", { scope: "col", class: i === 2 ? "left" : null, text })))),
          make("tbody", {}, run.rewards.map((part) => make("tr", {}, make("th", { scope: "row", text: part.name }), make("td", { text: number(part.weight) }), make("td", { class: "left" }, make("code", { text: part.part }))))))) : make("p", { class: "quiet", text: "None." }),
          make("h4", { text: "Data" }), make("div", { class: "scroll", tabindex: "0" }, make("table", {}, make("thead", {}, make("tr", {}, ["source", "rows read", "kept", "left out", "noted"].map((text, i) => make("th", { scope: "col", class: i > 2 ? "left" : null, text })))),
            make("tbody", {}, run.data.map((source) => make("tr", {}, make("th", { scope: "row", text: source.name, title: JSON.stringify(source.spec) }), make("td", { text: source.read === null ? "?" : count(source.read) }),
              make("td", { text: source.kept === null || source.kept === undefined ? "?" : count(source.kept) }), make("td", { class: "left", text: drops(source.dropped) || "none" }), make("td", { class: "left", text: drops(source.noted) })))))),
          make("h4", { text: "Seeds" }), Object.keys(run.seeds).length ? pairs(run.seeds) : make("p", { class: "quiet", text: "The config sets none; TRL's default holds." }),
          make("h4", { text: "Versions" }), pairs({ ...run.environment, ...run.versions }),
          run.command ? [make("h4", { text: "Command" }), make("pre", { class: "scroll", tabindex: "0", text: run.command })] : null),
        make("div", {}, make("h4", { text: "Config" }), make("pre", { class: "scroll", tabindex: "0", text: run.config }))));
  },

  alarms(report) {
    const all = report.runs.flatMap((run, i) => run.alarms.map((alarm, j) => ({ run, i, j, alarm })));
    if (!all.length) return null;
    return make("section", { id: "alarms", "aria-labelledby": "alarms-title" }, make("h2", { id: "alarms-title", text: "Alarms" }),
      all.map(({ run, i, j, alarm }) => this.alarm(run, i, j, alarm, report.runs.length > 1)));
  },

  alarm(run, i, j, alarm, several) {
    const named = new Map((Store.index?.named || []).filter(([r, a]) => r === i && a === j).map(([, , place, at]) => [place, at]));
    const keys = Object.keys(alarm.now || {});
    return make("article", { class: "card alarm" },
      make("h3", {}, make("span", { class: "badge red", text: alarm.kind.replaceAll("_", " ") }), ` step ${count(alarm.step)}`, several ? ` · ${run.label}` : "", alarm.part ? ` · part ${alarm.part}` : ""),
      make("p", { text: alarm.message }),
      make("div", { class: "scroll", tabindex: "0" }, make("table", { class: "figures" }, make("thead", {}, make("tr", {}, ["figure", "then", "now"].map((text) => make("th", { scope: "col", text })))),
        make("tbody", {}, keys.map((key) => make("tr", {}, make("th", { scope: "row" }, make("code", { text: key })), make("td", { text: number(alarm.then?.[key] ?? null) }), make("td", { text: number(alarm.now[key]) })))))),
      (alarm.completions || []).length ? make("details", {}, make("summary", { text: plural(alarm.completions.length, "completion") + " that show it" }),
        alarm.completions.map((each, place) => make("div", { class: "shown" },
          make("p", { class: "quiet" }, `${each.id} · earned ${number(each.total)} · ${each.correct === null ? "correctness not known" : `right: ${number(each.correct)}`} · ${plural(each.words, "word")} `,
            named.has(place) ? make("button", { type: "button", class: "link", text: "See it with its evidence", on: { click: () => Browser.show(named.get(place), true) } }) : null),
          make("pre", { class: "said-text", text: each.completion })))) : null);
  },

  evaluation(report) {
    if (!report.evaluations.length) return null;
    return make("section", { id: "evaluation", "aria-labelledby": "evaluation-title" }, make("h2", { id: "evaluation-title", text: "Evaluation" }),
      report.evaluations.map((table) => make("div", { class: "card" }, make("h3", { text: table.title }),
        make("div", { class: "scroll", tabindex: "0" }, make("table", { class: table.columns.length > 8 ? "evaluation wide" : "evaluation" },
          make("thead", {}, make("tr", {}, make("th", { scope: "col", text: "model" }), make("th", { scope: "col", class: "left", text: "source" }), table.columns.map((column) => make("th", { scope: "col", text: column.title })))),
          make("tbody", {}, table.rows.map((row) => make("tr", { class: row.source }, make("th", { scope: "row", text: row.label }), make("td", { class: "left" }, make("span", { class: `badge ${row.source === "measured" ? "blue" : ""}`, text: row.source })),
            row.figures.map((figure, i) => this.figure(figure, table.columns[i]))))))),
        table.notes.map((text) => make("p", { class: "quiet", text })))));
  },

  figure(figure, column) {
    if (!figure) return make("td", { class: "quiet", text: "–" });
    const fixed = (value) => value.toFixed(column.digits);
    const cell = make("td", {}, make("b", { text: fixed(figure.value) }));
    if (figure.low !== null && figure.low !== undefined) {
      cell.append(make("span", { class: "interval", text: ` [${fixed(figure.low)}, ${fixed(figure.high)}]` }));
      if (column.scale === 100 || column.scale === 1) {
        const scale = column.scale, at = (value) => Math.max(0, Math.min(100, (100 * value) / scale));
        cell.append(drawing(() => make("svg", { class: "whisker", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
          make("line", { x1: 0, x2: 100, y1: 3, y2: 3, class: "track" }), make("line", { x1: at(figure.low), x2: at(figure.high), y1: 3, y2: 3, class: "span" }), make("circle", { cx: at(figure.value), cy: 3, r: 2, class: "mid" }))));
      }
    }
    if (figure.n !== undefined) cell.append(make("span", { class: "rows-judged", text: `n = ${count(figure.n)}` }));
    return cell;
  },
};
