"""A report in a real headless Chromium: it loads, filters, marks what the scorer found, and executes nothing that it shows."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_up_run import GENERATIONS, HOSTILE, make_run

from rewards import Sample, presets
from rewards.explain import Explanation, explain
from rlkit.evaluation.folder import claim
from rlkit.report import write_report
from rlkit.runs import write_json

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; install it, or name it in CHROMIUM"),
]
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync")  # fmt: skip

PATIENCE_MS = 120_000  # on a machine that is busy with other tests

# Every mark of a text with its place in it, in characters of the data; labels for screen readers are no part of the text.
ALL_MARKS = """async (number) => {
  await Browser.show(number);
  const marksOf = (root) => {
  const marks = [];
  let at = 0;
  const walk = (node) => {
    if (node.nodeType === 3) { at += [...node.data].length; return; }
    if (node.classList.contains("hidden-text") || node.classList.contains("tag")) return;
    const start = at;
    for (const child of node.childNodes) walk(child);
    if (node.tagName === "MARK") marks.push([start, at, node.className.split(" "), node.dataset.quote ?? null]);
  };
  walk(root);
  return [marks, at];
  };
  return [marksOf(document.getElementById("completion-text"))[0], [...document.querySelectorAll("[data-passage]")].map(marksOf)];
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        context = chromium.new_context(viewport={"width": 1300, "height": 900})
        context.set_default_timeout(PATIENCE_MS)
        yield context
        chromium.close()


@pytest.fixture(scope="module")
def care(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "care", steps=8)


@pytest.fixture(scope="module")
def page(browser: Any, care: Path) -> Iterator[Any]:
    opened = browser.new_page()
    opened.trouble = []
    opened.on("console", lambda message: opened.trouble.append(message.text))
    opened.on("pageerror", lambda error: opened.trouble.append(str(error)))
    opened.on("dialog", lambda dialog: opened.trouble.append(f"dialog {dialog.message}"))
    opened.on("request", lambda request: request.url.startswith("file:") or opened.trouble.append(request.url))
    opened.goto(write_report([care], care.parent / "report.html").as_uri())
    opened.wait_for_selector("html[data-ready]")
    yield opened
    opened.close()


def logged(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]


def explained(run: Path, task: str = "care") -> list[Explanation]:
    reward = presets.PRESETS[task]()
    return [explain(Sample.from_record(line), reward) for line in logged(run)]


def show(page: Any, at: int) -> None:
    page.evaluate("(at) => Browser.show(at)", at)


def filtered(page: Any, **fields: str) -> list[int]:
    """The completions that remain with these fields of the form."""
    return page.evaluate(
        """async (fields) => {
          for (const field of Browser.form.elements) if (field.name) field.value = fields[field.name] ?? "";
          await Browser.filter();
          return [...Browser.found];
        }""",
        fields,
    )


def test_it_loads_without_an_error_or_a_request(page: Any) -> None:
    assert page.locator("h2").all_text_contents() == ["Overview", "Curves", "Alarms", "Completions"]
    page.evaluate("Charts.drawAll()")
    assert page.locator("figure canvas").count() == page.locator("figure:not(.empty)").count() > 15
    assert page.locator(".chart[data-chart=reward] .legend").inner_text().startswith("Reward")
    assert page.trouble == []


def test_marks_stand_where_the_scorer_found_the_quotes(page: Any, care: Path) -> None:
    seen = set()
    for at, told in enumerate(explained(care)):
        if not told.quotes or (at > 50 and len(seen) == 3):
            continue
        completion, passages = page.evaluate(ALL_MARKS, at)
        expected = {(quote.start, quote.end, quote.kind) for quote in told.quotes if quote.end > quote.start}
        assert _joined(completion) == {(start, end, kind) for start, end, kind in expected}
        for number, (passage, (marks, length)) in enumerate(zip(told.sample.context, passages, strict=True)):
            assert length == len(passage.text)
            places = {
                (i, quote.place.start, quote.place.end)
                for i, quote in enumerate(told.quotes)
                if quote.place and quote.place.passage == number and quote.same_as is None
            }
            assert _by_quote(marks) == places
            gold = {i for fact in told.facts for place in fact.places if place.passage == number for i in range(place.start, place.end)}  # fmt: skip
            assert {i for start, end, kinds, _ in marks if "gold" in kinds for i in range(start, end)} == gold
        seen |= {quote.kind for quote in told.quotes}
    assert seen == {"verbatim", "fuzzy", "missing"}


def _by_quote(marks: list[Any]) -> set[tuple[int, int, int]]:
    """Each quote's stretch: the pieces that overlapping marks cut it into, put together."""
    pieces: dict[int, list[tuple[int, int]]] = {}
    for start, end, _, quotes in marks:
        for quote in (quotes or "").split():
            pieces.setdefault(int(quote), []).append((start, end))
    return {(quote, min(own)[0], max(end for _, end in own)) for quote, own in pieces.items()}


def _joined(marks: list[Any]) -> set[tuple[int, int, str]]:
    kinds = {int(quote): kind for _, _, classes, quote in marks if quote is not None for kind in classes if kind in ("verbatim", "fuzzy", "missing")}  # fmt: skip
    return {(start, end, kinds[quote]) for quote, start, end in _by_quote(marks)}


def test_hostile_completions_are_shown_and_do_nothing(page: Any, care: Path) -> None:
    before = page.evaluate("[document.scripts.length, document.querySelectorAll('img, iframe, object, embed').length]")
    shown = set()
    for at, line in enumerate(logged(care)):
        for number, text in enumerate(HOSTILE):
            if text.strip() in line["completion"]:
                show(page, at)
                shown.add(number)
                if "<" in text:
                    assert text[:20] in page.locator("#completion-text").text_content()
    assert len(shown) >= 6
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("[document.scripts.length, document.querySelectorAll('img, iframe, object, embed').length]") == before  # fmt: skip
    body = page.locator("main").text_content()
    assert not {"\u202e", "\u2066", "\x1b", "\x00", "\x07"} & set(body)
    assert "␛[31m" in page.evaluate("visible('\\x1b[31m')")
    assert page.trouble == []


def test_filters_find_what_python_finds(page: Any, care: Path) -> None:
    lines, told = logged(care), explained(care)
    every = range(len(lines))
    assert filtered(page) == list(every)
    assert filtered(page, stepFrom="3", stepTo="5") == [i for i in every if 3 <= lines[i]["step"] <= 5]
    sources = page.evaluate("Store.index.sources")
    assert filtered(page, source=str(sources.index("hard"))) == [i for i in every if lines[i]["source"] == "hard"]
    totals = [line["score"]["total"] for line in lines]
    assert filtered(page, totalFrom="0.2", totalTo="0.9") == [i for i in every if 0.2 <= totals[i] <= 0.9]
    assert filtered(page, text="MADE UP by nobody") == [i for i in every if "made up by nobody" in lines[i]["completion"].lower()]  # fmt: skip
    assert filtered(page, part="most/grounding") == [i for i in every if lines[i]["score"]["parts"]["grounding"] == 1]
    kinds = [[quote.kind for quote in each.quotes if quote.same_as is None] for each in told]
    assert filtered(page, quotes="missing") == [i for i in every if "missing" in kinds[i]]
    assert filtered(page, quotes="no") == [i for i in every if not kinds[i]]
    assert filtered(page, quotes="verbatim") == [i for i in every if kinds[i] and set(kinds[i]) == {"verbatim"}]
    assert [lines[i]["step"] for i in filtered(page, alarm="0/0")] == [4, 4, 4]
    assert [totals[i] for i in filtered(page, sort="high")] == sorted(totals, reverse=True)
    assert filtered(page, text="not in any completion") == []
    assert page.locator(".status").inner_text() == f"0 of {len(lines)} completions"
    filtered(page)


def test_typing_filters_and_clear_forgets(page: Any, care: Path) -> None:
    page.get_by_label("Text").fill("made up by nobody")
    count = sum("made up by nobody" in line["completion"] for line in logged(care))
    page.wait_for_function("(text) => document.querySelector('.status').textContent === text", arg=f"{count} of {len(logged(care))} completions")  # fmt: skip
    page.get_by_role("button", name="Clear").click()
    page.wait_for_function("() => Browser.found.length === Store.index.size")


def test_the_keyboard_walks_through_them(page: Any) -> None:
    filtered(page)
    show(page, 0)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert page.evaluate("Browser.current") == 1
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "text"
    page.keyboard.press("Escape")
    page.wait_for_function("() => document.getElementById('said').textContent.startsWith('2 of')")


def test_a_group_shows_its_rollouts_with_their_advantages(page: Any) -> None:
    show(page, 5)
    rows = page.locator(".group tbody tr")
    assert rows.count() == GENERATIONS
    known = page.evaluate("Store.index.columns.advantage.slice(4, 8)")
    shown = [float(text.replace("+", "")) for text in rows.locator(".adv span").all_text_contents()]
    assert shown == pytest.approx(known, abs=0.006)
    assert page.locator(".group tr.here").count() == 1
    rows.nth(3).get_by_role("button").click()
    assert page.evaluate("Browser.current") == 7


def test_everything_has_a_name_and_readable_contrast(page: Any) -> None:
    nameless = """() => [...document.querySelectorAll('button, input, select, a, summary, [role=img]')].filter((node) =>
      !(node.textContent.trim() || node.getAttribute('aria-label') || node.title || (node.labels && node.labels.length))).map((node) => node.outerHTML)"""
    assert page.evaluate(nameless) == []
    for theme in ("light", "dark"):
        page.evaluate("(name) => Theme.set(name)", theme)
        for colour, behind in (("--text", "--page"), ("--quiet", "--page"), ("--quiet", "--sunk"), ("--good", "--good-soft"), ("--bad", "--bad-soft"), ("--amber", "--amber-soft"), ("--accent", "--card")):  # fmt: skip
            assert _contrast(page, colour, behind) >= 4.5, (theme, colour, behind)
    page.evaluate("Theme.set('auto')")


def _contrast(page: Any, colour: str, behind: str) -> float:
    def luminance(name: str) -> float:
        code = page.evaluate("(name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim()", name)
        parts = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(colour), luminance(behind)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_it_fits_a_narrow_screen_and_paper(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.emulate_media(media="print")
    assert not page.locator(".filters").is_visible()
    assert page.locator("#completion-text").is_visible()
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": 1300, "height": 900})


def test_a_memory_run_has_a_timeline(browser: Any, tmp_path: Path) -> None:
    run = make_run(tmp_path / "memory", task="memory_t1", hostile=False)
    opened = browser.new_page()
    opened.goto(write_report([run], tmp_path / "report.html").as_uri())
    opened.wait_for_selector("html[data-ready]")
    for at, told in list(enumerate(explained(run, "memory_t1")))[:6]:
        show(opened, at)
        assert opened.locator(".timeline .range").count() == 1
        chosen = sum(note.selected and note.exists for note in told.sessions)
        assert opened.locator(".timeline circle.chosen").count() == chosen
        assert opened.locator(".timeline circle.gold").count() == sum(note.gold for note in told.sessions)
        scores = [event.score for note in told.sessions for event in note.events if event.score is not None]
        assert opened.locator(".timeline rect.good").count() == scores.count(1.0)
    opened.close()


def time_dialog(folder: Path) -> Path:
    """An evaluation with the most columns that a suite has."""
    tasks = ["Localization", "Duration_Compare", "Computation", "Order_Compare", "Extract", "Explicit_Reasoning",
             "Order_Reasoning", "Relative_Reasoning", "Counterfactual", "Co_temporality", "Timeline",
             "Category A", "Category B", "Category C", "overall"]  # fmt: skip
    kind = {"suite": "time_dialog", "context": "full", "metric": "time_dialog", "n": 40, "none": 0}
    cells = [{**kind, "subset": task, "mean": 0.436, "low": 0.314, "high": 0.559} for task in tasks]
    suite = {"title": "Time-Dialog", "headline": "time_dialog", "strict": False, "overall": "example", "groups": {},
             "published": ["time_dialog"], "suite": {}, "notes": [], "cells": cells, "controls": {}}  # fmt: skip
    claim(folder, {"model": "m"}, {})
    write_json(folder / "results.json", {"model": "m", "suites": {"time_dialog": suite}})
    (folder / "examples.jsonl").write_text("")
    return folder


def test_a_wide_evaluation_fits_on_paper_with_its_counts(browser: Any, tmp_path: Path) -> None:
    run = make_run(tmp_path / "memory", task="memory_t1", hostile=False)
    report = write_report([run], tmp_path / "report.html", evaluation_folders=[time_dialog(tmp_path / "evaluation")])
    opened = browser.new_page()
    opened.set_viewport_size({"width": 688, "height": 900})  # A4 between margins of 14 mm
    opened.goto(report.as_uri())
    opened.wait_for_selector("html[data-ready]")
    assert opened.locator(".measured .rows-judged").first.inner_text() == "n = 40"
    opened.emulate_media(media="print")
    table, room = opened.evaluate(
        "(t => [t.scrollWidth, t.parentElement.clientWidth])(document.querySelector('table.evaluation'))"
    )
    assert opened.locator("table.evaluation thead th").count() > 12
    assert table <= room
    opened.close()


def test_two_runs_are_overlaid(browser: Any, care: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", seed=3, steps=5)
    opened = browser.new_page()
    opened.goto(write_report([care, other], tmp_path / "report.html").as_uri())
    opened.wait_for_selector("html[data-ready]")
    legend = opened.locator(".chart[data-chart=reward] .legend")
    assert "care" in legend.inner_text()
    assert "other" in legend.inner_text()
    opened.get_by_label("in the curves").nth(1).uncheck()
    assert legend.locator("button[aria-pressed=false]").count() > 0
    assert filtered(opened, run="1") == list(range(len(logged(care)), len(logged(care)) + len(logged(other))))
    opened.close()
