// The sessions of a memory over time: the question's range, what was selected, what is labelled, when events happened.

const Timeline = {
  draw(row, selected) {
    const chosen = new Set(selected.map(([id]) => id));
    const time = (moment, last) => (moment && moment[1] ? Date.parse(moment[last ? 2 : 1]) : null);
    const sessions = row.sessions.map((session) => ({ ...session, at: time(session.date), chosen: chosen.has(session.id),
      events: session.said.flatMap(([, , , told]) => told).map(([summary, start, end, score]) => ({ summary, start, end, score, from: time(start), to: time(end, true) })) }));
    const [from, to] = [time(row.range[0]), time(row.range[1], true)];
    const times = sessions.flatMap((each) => [each.at, ...each.events.filter((e) => e.score !== null).flatMap((e) => [e.from, e.to])]).concat([from, to]).filter((t) => t !== null);
    const box = make("div", {});
    if (times.length) box.append(this.picture(sessions, from, to, Math.min(...times), Math.max(...times)));
    const rangeText = row.range.some(Boolean) ? `${row.range[0]?.[0] || "open"} to ${row.range[1]?.[0] || "open"}` : "not known";
    box.append(make("p", { class: "quiet", text: `Range of the question: ${rangeText}${row.asked_at ? `; asked at ${row.asked_at}` : ""}.` }));
    box.append(make("ul", { class: "keys", "aria-hidden": "true" },
      [["dot chosen", "selected"], ["dot gold", "labelled"], ["dot", "neither"], ["event-good", "event in the range"], ["event-part", "partly"], ["event-bad", "outside"]]
        .map(([name, text]) => make("li", {}, make("span", { class: `key ${name}` }), text))));
    for (const [id, exists] of selected) if (!exists) box.append(make("p", { class: "warn", text: `Selected, but there is no session ${id}.` }));
    box.append(make("div", { class: "sessions" }, sessions.map((session) => this.session(session))));
    return box;
  },

  picture(sessions, from, to, first, last) {
    const width = 760, left = 12, right = 12;
    const room = (last - first || 864e5) * 0.04;
    const [low, high] = [first - room, last + room];
    const x = (time) => left + ((time - low) / (high - low)) * (width - left - right);
    const dated = sessions.filter((session) => session.at !== null).sort((a, b) => a.at - b.at);
    const rows = [];
    const lane = (start) => { // dots that would cover one another go one below the other
      let i = 0;
      while (rows[i] !== undefined && rows[i] > start - 16) i++;
      rows[i] = start;
      return i;
    };
    const placed = dated.map((session) => ({ session, x: x(session.at), lane: lane(x(session.at)) }));
    const base = 30 + rows.length * 18;
    const events = placed.flatMap(({ session, x: sx, lane: l }) => session.events.filter((e) => e.score !== null && (e.from !== null || e.to !== null)).map((event) => ({ event, session, sx, sy: 22 + l * 18 })));
    const height = base + events.length * 14 + 26;
    return drawing(() => {
      const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, class: "timeline", role: "img", "aria-label": "Sessions and events over time; the list below says the same in words" });
      if (from !== null || to !== null) {
        const [a, b] = [from === null ? left : x(from), to === null ? width - right : x(to)];
        svg.append(make("rect", { x: a, y: 8, width: Math.max(3, b - a), height: height - 30, class: "range", rx: 3 }));
      }
      svg.append(make("line", { x1: left, x2: width - right, y1: height - 20, y2: height - 20, class: "axis" }));
      const day = 864e5, daily = last - first > 5 * day; // a date stands where its day begins
      const step = daily ? Math.ceil((last - first) / day / 5) * day : (last - first) / 5 || Infinity;
      for (let t = daily ? Math.ceil(first / day) * day : first; t < last + 1; t += step) {
        const text = new Date(t).toISOString();
        svg.append(make("text", { x: x(t), y: height - 6, class: "tick", "text-anchor": "middle", text: daily ? text.slice(0, 10) : text.slice(5, 16).replace("T", " ") }));
      }
      events.forEach(({ event, sx, sy }, i) => {
        const a = x(event.from ?? low), b = x(event.to ?? high), y = base + i * 14;
        const kind = event.score === 1 ? "good" : event.score === 0.5 ? "part" : "bad";
        svg.append(make("line", { x1: sx, y1: sy, x2: Math.min(Math.max(sx, a), b), y2: y, class: "link" }));
        svg.append(make("rect", { x: a, y: y - 4, width: Math.max(5, b - a), height: 8, rx: 3, class: `event ${kind}` }, make("title", { text: event.summary })));
      });
      for (const { session, x: sx, lane: l } of placed) {
        svg.append(make("circle", { cx: sx, cy: 22 + l * 18, r: 6, class: `session${session.chosen ? " chosen" : ""}${session.gold ? " gold" : ""}` }, make("title", { text: `${session.id}, ${session.date[0]}` })));
      }
      return svg;
    });
  },

  session(session) {
    const flags = [session.chosen ? ["selected", "blue"] : null, session.gold ? ["labelled", "green"] : null].filter(Boolean);
    const open = session.chosen || session.gold;
    return make("details", { open, class: open ? "session told" : "session" },
      make("summary", {}, make("b", { text: session.id }), " ", make("span", { class: "quiet", text: session.date ? session.date[0] : "no date" }), " ",
        flags.map(([text, colour]) => [make("span", { class: `badge ${colour}`, text }), " "]), session.why ? make("span", { class: "quiet", text: session.why }) : null,
        session.value !== null ? make("span", { class: "worth", text: ` worth ${number(session.value, 2)}` }) : null),
      session.said.map(([speaker, text, when, events]) => make("p", { class: "said" }, speaker ? make("b", { text: `${speaker}: ` }) : null, make("span", { text }),
        when ? make("span", { class: "quiet", text: ` (${when})` }) : null,
        events.map(([summary, start, end, score]) => make("span", { class: `event-note ${score === null ? "" : score === 1 ? "good" : score === 0.5 ? "part" : "bad"}`,
          text: `${summary}: ${[start?.[0] || "?", end?.[0] || "?"].filter((v, i, all) => i === 0 || v !== all[0]).join(" to ")}` })))));
  },
};
