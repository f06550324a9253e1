// Elements and text. Everything that a run holds is put on the page as text, never as markup.

function make(tag, attributes, ...children) {
  const svg = ["svg", "g", "rect", "circle", "line", "path", "text", "title"].includes(tag) && make.svg;
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    else if (name === "text") node.textContent = visible(String(value));
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(3)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : visible(String(child)));
  }
  return node;
}
make.svg = false;

function drawing(build) {
  make.svg = true;
  try { return build(); } finally { make.svg = false; }
}

// Control characters and marks that turn the direction of writing are shown, not obeyed. One sign stands for one code
// unit, so that offsets stay valid.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffc]/g;
function visible(text) {
  return text.replace(HIDDEN, (sign) => {
    const code = sign.charCodeAt(0);
    return code < 0x20 ? String.fromCharCode(0x2400 + code) : code === 0x7f ? "\u2421" : "\u2426";
  }).replace(/\p{Surrogate}/gu, "\ufffd");
}

// Offsets in the data count characters, those of a browser count UTF-16 units.
function unitsOf(text) {
  if (!/[\ud800-\udfff]/.test(text)) return (at) => at;
  const units = [];
  let at = 0;
  for (const sign of text) { units.push(at); at += sign.length; }
  units.push(at);
  return (offset) => units[Math.max(0, Math.min(offset, units.length - 1))];
}

// Text with marks that may overlap. A mark: {start, end (characters), kind, label, quote, title}.
function marked(text, marks) {
  const units = unitsOf(text);
  const ranges = marks.map((mark) => ({ ...mark, from: units(mark.start), to: units(mark.end) })).filter((r) => r.to > r.from);
  const cuts = [...new Set([0, text.length, ...ranges.flatMap((r) => [r.from, r.to])])].sort((a, b) => a - b);
  const starts = [...ranges].sort((a, b) => a.from - b.from);
  const parts = [];
  let active = [], next = 0;
  for (let i = 0; i + 1 < cuts.length; i++) {
    const [from, to] = [cuts[i], cuts[i + 1]];
    while (next < starts.length && starts[next].from <= from) active.push(starts[next++]);
    active = active.filter((r) => r.to > from);
    if (!active.length) { parts.push(visible(text.slice(from, to))); continue; }
    const kinds = [...new Set(active.map((r) => r.kind))];
    const node = make("mark", { class: kinds.join(" "), title: active.map((r) => r.title).filter(Boolean).join("\n") });
    for (const r of active) {
      if (r.quote !== undefined) node.dataset.quote = [node.dataset.quote, r.quote].filter((v) => v !== undefined).join(" ");
      if (r.from === from && r.label) node.append(make("span", { class: "tag", "data-label": r.label }), make("span", { class: "hidden-text only-read", text: ` [${r.spoken || r.label}: ` }));
    }
    node.append(visible(text.slice(from, to)));
    for (const r of active) if (r.to === to && r.label) node.append(make("span", { class: "hidden-text only-read", text: "] " }));
    parts.push(node);
  }
  return parts;
}

function number(value, digits = 3) {
  if (value === null || value === undefined) return "none";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(2);
  if (size >= 100) return value.toLocaleString("en", { maximumFractionDigits: 1 });
  return String(+value.toFixed(digits));
}
const signed = (value, digits) => (value > 0 ? "+" : "") + number(value, digits);
const count = (value) => value.toLocaleString("en");
const plural = (value, word) => `${count(value)} ${word}${value === 1 ? "" : "s"}`;
function duration(seconds) {
  if (seconds === null || seconds === undefined) return null;
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.round(seconds % 60)];
  return h ? `${h} h ${m} min` : m ? `${m} min ${s} s` : `${number(seconds, 1)} s`;
}
function say(text) { document.getElementById("said").textContent = text; }
