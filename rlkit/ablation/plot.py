"""An ablation as one SVG picture: every seed of every variant, and the named differences with their intervals.

Needs matplotlib. Equal results give equal bytes. Knows colours and places; the figures come from `summary`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from rlkit.ablation.results import Figure, Results
from rlkit.ablation.summary import Effect, Mean, effects, means
from rlkit.ablation.tables import labels
from rlkit.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# By what they are for: the colour on light ground, and the one that stands for it where dark is preferred.
PAPER, INK, GRID = ("#ffffff", "#0d1117"), ("#24292f", "#e6edf3"), ("#d0d7de", "#373e47")
DOT, UP, DOWN, OPEN = ("#6e7781", "#9198a1"), ("#0969da", "#58a6ff"), ("#bc4c00", "#f0883e"), ("#8c959f", "#768390")
PANEL_INCHES, ROW_INCHES, FRAME_INCHES, TITLE_INCHES = 2.0, 0.2, 0.75, 0.6
LETTER_INCHES, LEAST_INCHES = 0.068, 10.0  # a letter of a name, and the whole width: room for the line below the title

CURVE_INCHES, CURVES_A_ROW = 1.0, 4

KEY = (
    "Each seed a dot, their mean a bar. Differences with 95 % intervals, filled and coloured where they exclude zero. At the "
    "bottom the reward that each training had, a line a seed."
)

Block = tuple[list[str], list[Figure], Callable[["Axes", list[str], Figure], None]]


def plot(results: Results, metrics: Sequence[str]) -> str:
    """The picture in the named metrics: above, each variant's mean (bar) and seeds (dots); below, differences with 95 %
    intervals, coloured where they exclude zero; a column for each part of the suite. At the bottom every training's reward.

    Raises `ConfigError` where matplotlib is missing.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure as Canvas
    except ImportError as error:
        raise ConfigError("rlkit ablate: plot.svg needs matplotlib; pip install 'grounded-rl[eval]'.") from error
    blocks: list[Block] = []
    named = labels(results)
    for metric in metrics:
        found = [one for one in means(results) if one.figure.metric == metric]
        held = [one for one in effects(results) if one.figure.metric == metric]
        figures = list(dict.fromkeys(one.figure for one in found))
        blocks.append((list(dict.fromkeys(one.variant for one in found)), figures, partial(_variants, found)))
        if held:
            blocks.append((list(dict.fromkeys(one.name for one in held)), figures, partial(_differences, held)))
    trained = list(dict.fromkeys(run.stage for run in results.runs if run.curve))
    rows_of_curves = -(-len(trained) // CURVES_A_ROW)
    heights = [len(names) * ROW_INCHES + FRAME_INCHES for names, _, _ in blocks]
    margin = 0.3 + LETTER_INCHES * max(len(name) for names, _, _ in blocks for name in names)
    width = max(LEAST_INCHES, margin + PANEL_INCHES * max(len(figures) for _, figures, _ in blocks))
    height = TITLE_INCHES + sum(heights) + rows_of_curves * (CURVE_INCHES + FRAME_INCHES)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_style())
        canvas = Canvas(figsize=(width, height), facecolor=PAPER[0])
        canvas.suptitle(results.title, x=0.01, y=1 - 0.12 / height, ha="left", va="top", weight="bold", size=10)
        canvas.text(0.01, 1 - 0.36 / height, KEY, ha="left", va="top")
        floor = height - TITLE_INCHES
        for (names, figures, draw), tall in zip(blocks, heights, strict=True):
            floor -= tall
            for at, figure in enumerate(figures):
                left, inside = margin + at * PANEL_INCHES, len(names) * ROW_INCHES
                box = (left / width, (floor + 0.4) / height, (PANEL_INCHES - 0.2) / width, inside / height)
                axes = canvas.add_axes(box)
                _frame(axes, names if at == 0 else [""] * len(names), named(figure))
                draw(axes, names, figure)
        highest = max((reward for run in results.runs for _, reward in run.curve), default=1.0)
        lowest = min((reward for run in results.runs for _, reward in run.curve), default=0.0)
        across = (width - margin) / CURVES_A_ROW
        for at, name in enumerate(trained):
            row, column = divmod(at, CURVES_A_ROW)
            bottom = (rows_of_curves - 1 - row) * (CURVE_INCHES + FRAME_INCHES) + 0.4
            left = margin + column * across
            box = (left / width, bottom / height, (across - 0.4) / width, CURVE_INCHES / height)
            axes = canvas.add_axes(box)
            _curves(axes, [run.curve for run in results.runs if run.stage == name], f"{name}: reward")
            if lowest < highest:  # else all are flat, and matplotlib's own limits show them
                axes.set_ylim(lowest, highest)
        file = io.StringIO()
        canvas.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return _described(file.getvalue(), results.title, _words(results, metrics))


def _style() -> dict[Any, Any]:
    coloured = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK[0])
    lines = {"axes.edgecolor": GRID[0], "grid.color": GRID[0]}
    return {"svg.hashsalt": "rlkit", "svg.fonttype": "none", "font.size": 8, **coloured, **lines}


def _frame(axes: Axes, names: Sequence[str], title: str) -> None:
    axes.set_title(title, size=8, loc="left", pad=3)
    axes.set_facecolor(PAPER[0])
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(True, axis="x", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.locator_params(axis="x", nbins=4)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _variants(found: Sequence[Mean], axes: Axes, names: Sequence[str], figure: Figure) -> None:
    for one in (one for one in found if one.figure == figure):
        row, seeds = names.index(one.variant), list(one.by_seed.values())
        axes.plot(seeds, [row] * len(seeds), "o", color=DOT[0], markersize=3.5, markeredgewidth=0)
        axes.plot([one.mean, one.mean], [row - 0.32, row + 0.32], color=INK[0], linewidth=1.8, solid_capstyle="butt")


def _differences(held: Sequence[Effect], axes: Axes, names: Sequence[str], figure: Figure) -> None:
    axes.axvline(0, color=INK[0], linewidth=0.8)
    for one in (one for one in held if one.figure == figure):
        row, colour = names.index(one.name), (UP if one.difference > 0 else DOWN)[0] if one.claimed else OPEN[0]
        if one.low is not None and one.high is not None:
            axes.plot([one.low, one.high], [row, row], color=colour, linewidth=1.6, solid_capstyle="butt")
        # Filled or not says the same as the colour, for those who see it otherwise.
        inside = colour if one.claimed else PAPER[0]
        axes.plot([one.difference], [row], "o", color=colour, markersize=4.5, markerfacecolor=inside)


def _curves(axes: Axes, curves: Sequence[Sequence[tuple[int, float]]], title: str) -> None:
    axes.set_title(title, size=8, loc="left", pad=3)
    axes.set_facecolor(PAPER[0])
    axes.grid(True, linewidth=0.5)
    axes.tick_params(length=0)
    axes.locator_params(nbins=4)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    for curve in curves:
        axes.plot([step for step, _ in curve], [reward for _, reward in curve], color=DOT[0], linewidth=0.9)


def _words(results: Results, metrics: Sequence[str]) -> str:
    """What the picture shows, for those who do not see it."""
    held = [one for one in effects(results) if one.figure.metric in metrics]
    return (
        f"{', '.join(metrics)} of {len(results.stages)} stages over seeds {', '.join(map(str, results.seeds))}. {KEY} "
        f"{sum(one.claimed for one in held)} of {len(held)} intervals exclude zero. All figures stand in table.md."
    )


def _described(svg: str, title: str, words: str) -> str:
    """The picture with title and description, and in other colours where dark is preferred."""
    pairs: tuple[tuple[str, str], ...] = (PAPER, INK, GRID, DOT, UP, DOWN, OPEN)
    rules = [f'[style*="{kind}: {light}"] {{{kind}: {dark} !important}}' for light, dark in pairs for kind in ("fill", "stroke")]  # fmt: skip
    head, mark, rest = svg.partition("<defs>")
    start, tag, inside = head.partition("<svg ")
    told = f"<title>{escape(title)}</title>\n <desc>{escape(words)}</desc>\n <style>@media (prefers-color-scheme: dark) {{{' '.join(rules)}}}</style>\n "  # fmt: skip
    return f'{start}{tag}role="img" {inside}{told}{mark}{rest}'
