// Puts the report together.

let Report = null;

const Theme = {
  names: { auto: "as the system", light: "light", dark: "dark" },
  current: "auto",
  set(name) {
    this.current = name;
    if (name === "auto") document.documentElement.removeAttribute("data-theme"); else document.documentElement.setAttribute("data-theme", name);
    const button = document.getElementById("theme");
    button.textContent = { auto: "◐", light: "☀", dark: "☾" }[name];
    button.setAttribute("aria-label", `Colours: ${this.names[name]}`);
    button.title = `Colours: ${this.names[name]}`;
    Charts.redraw();
  },
  next() {
    const names = Object.keys(this.names);
    this.set(names[(names.indexOf(this.current) + 1) % names.length]);
  },
};

async function start() {
  const main = document.getElementById("main");
  if (!("DecompressionStream" in window)) throw new Error("this browser is too old to open compressed data; use one from 2023 or later");
  const begun = performance.now();
  const [report] = await Promise.all([unpack("report"), Store.open()]);
  Report = report;
  Charts.alarmColour = getComputedStyle(document.documentElement).getPropertyValue("--bad").trim();
  const sections = [["overview", "Overview", Overview.section(report)], ["curves", "Curves", Charts.section(report)], ["alarms", "Alarms", Overview.alarms(report)],
    ["evaluation", "Evaluation", Overview.evaluation(report)], ["completions", "Completions", Browser.section(report)]].filter(([, , node]) => node);
  main.replaceChildren(...sections.map(([, , node]) => node), make("footer", { class: "quiet", text: `Written by rlkit ${report.version}. Curves by uPlot (MIT). This file makes no network requests.` }));
  document.getElementById("nav").replaceChildren(...sections.map(([id, text]) => make("a", { href: `#${id}`, text })));
  if (Store.index.size) {
    await Browser.filter();
    await followAddress();
    window.addEventListener("hashchange", followAddress);
  }
  document.documentElement.dataset.ready = String(Math.round(performance.now() - begun));
}

async function followAddress() {
  const asked = /^#completion-(\d+)$/.exec(location.hash);
  if (asked && +asked[1] < Store.index.size && +asked[1] !== Browser.current) await Browser.show(+asked[1], true);
}

document.getElementById("theme").addEventListener("click", () => Theme.next());
document.getElementById("print").addEventListener("click", () => window.print());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => Charts.redraw());
let before = null;
function forPrint() {
  if (before !== null) return;
  before = Theme.current;
  document.documentElement.dataset.printing = "";
  Theme.set("light");
  Charts.drawAll();
}
function afterPrint() {
  if (before === null) return;
  delete document.documentElement.dataset.printing;
  Theme.set(before);
  before = null;
}
window.addEventListener("beforeprint", forPrint);
window.addEventListener("afterprint", afterPrint);
let resizing = 0;
window.addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(() => Charts.redraw(), 150); });
Theme.set("auto");
start().catch((error) => {
  document.getElementById("main").replaceChildren(make("p", { class: "warn", role: "alert", text: `The report cannot be shown: ${error.message}` }));
  console.error(error);
});
