"""Compare the scores of recipes with those of the baseline, pair by pair."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from demo.recipes import BASELINE
from demo.recipes.recipe_scores import TIMESTEPS
from utils.files import whole_file, write_text

LOSSES = [f"v{t}" for t in TIMESTEPS]
DECIMALS = {"PSNR": 2, "SSIM": 4, "SSIM_256": 4, "PCKh": 3, "cloth": 3, **dict.fromkeys(LOSSES, 4)}
RESAMPLES = 10_000
Runs = Mapping[str, list[pd.DataFrame]]  # by recipe: `recipe_scores.all_scores` of its runs, one of each seed


def mean_interval(values: np.ndarray, people: np.ndarray) -> tuple[float, float]:
    """Return the 95% bootstrap interval of the mean of values (N,), of which whole people (N,) are resampled.

    Images of one person resemble each other, so resampling images would give an interval that is too narrow.
    """
    _, person = np.unique(people, return_inverse=True)
    sums, counts = np.bincount(person, values), np.bincount(person)
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), RESAMPLES)  # how often each person is drawn
    low, high = np.percentile((drawn @ sums) / (drawn @ counts), [2.5, 97.5])
    return float(low), float(high)


def compare(runs: Runs) -> pd.DataFrame:
    """Return a row for each recipe and score: mean, difference to the baseline, and the difference's 95% interval.

    Scores are means over the seeds first. Seeds are paired with those of the baseline, and so are images.
    """
    rows = []
    for recipe, tables in runs.items():
        for name in (name for name in DECIMALS if name in tables[0]):
            own, reference = (sum(table[name] for table in each) / len(each) for each in (tables, runs[BASELINE]))
            difference = (own - reference).dropna()
            people = tables[0]["person"][difference.index]
            low, high = mean_interval(difference.to_numpy(), people.to_numpy())
            rows.append((recipe, name, own.mean(), difference.mean(), low, high, len(tables)))
    return pd.DataFrame(rows, columns=["recipe", "score", "mean", "difference", "low", "high", "seeds"])


def text_table(comparison: pd.DataFrame) -> str:
    """Return a table with a row per recipe: means of the baseline, and differences to them with their intervals."""
    cells: dict[str, dict[str, str]] = {}
    for row in comparison.itertuples():
        digits = DECIMALS[row.score]
        text = f"{row.mean:.{digits}f}"
        if row.recipe != BASELINE:
            sure = "*" if row.low > 0 or row.high < 0 else ""
            text = f"{row.difference:+.{digits}f} ({row.low:+.{digits}f} to {row.high:+.{digits}f}){sure}"
        cells.setdefault(row.recipe, {})[row.score] = text
    note = "difference to the baseline (95% interval over people); * the interval excludes 0; v: velocity error at t"
    return f"{pd.DataFrame(cells).T.to_string(na_rep='–')}\n{note}"


def draw(comparison: pd.DataFrame) -> Figure:
    """Plot the differences of each score with their intervals, and the relative velocity error over timesteps."""
    others = comparison[comparison["recipe"] != BASELINE]
    names, recipes = [name for name in DECIMALS if name not in LOSSES], list(others["recipe"].unique())
    figure = Figure(figsize=(3 * len(names) + 4, 2.5 + 0.4 * len(recipes)), layout="constrained")
    axes = figure.subplots(1, len(names) + 1, width_ratios=[1] * len(names) + [1.5])
    for axis, name in zip(axes, names):
        rows = others[others["score"] == name].set_index("recipe").reindex(recipes)
        spread = [rows["difference"] - rows["low"], rows["high"] - rows["difference"]]
        axis.errorbar(rows["difference"], range(len(recipes)), xerr=spread, fmt="o", color="black", capsize=3)
        axis.axvline(0, color="gray", linewidth=0.8)
        axis.set(title=name, yticks=range(len(recipes)), yticklabels=recipes if axis is axes[0] else [])
        axis.invert_yaxis()
    reference = comparison[comparison["recipe"] == BASELINE].set_index("score")["mean"]
    for recipe in recipes:
        rows = others[others["recipe"] == recipe].set_index("score")["mean"]
        axes[-1].plot(TIMESTEPS, [rows[name] / reference[name] for name in LOSSES], marker=".", label=recipe)
    axes[-1].axhline(1, color="gray", linewidth=0.8)
    axes[-1].set(title="velocity error / baseline's", xlabel="timestep")
    axes[-1].legend(fontsize="small")
    return figure


def write_report(folder: Path, runs: Runs) -> str:
    """Write recipes.txt, recipes.csv and recipes.png to a folder; return the text."""
    comparison = compare(runs)
    text = text_table(comparison)
    write_text(folder / "recipes.txt", text + "\n")
    write_text(folder / "recipes.csv", comparison.to_csv(index=False))
    if len(runs) > 1:
        with whole_file(folder / "recipes.png") as partial:
            draw(comparison).savefig(partial, dpi=110, format="png")
    return text
