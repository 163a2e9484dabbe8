"""Format scores as tables and read and write score files."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.stats

from utils.files import fits, read_record, write_text


class Column(NamedTuple):
    """How tables show a score."""

    lower_is_better: bool
    decimals: int = 4

    @property
    def arrow(self) -> str:
        return "↓" if self.lower_is_better else "↑"


COLUMNS = {  # in table order
    "FID": Column(True),
    "KID": Column(True, 5),
    "LPIPS": Column(True),
    "LPIPS_VGG": Column(True),
    "SSIM": Column(False),
    "SSIM_256": Column(False),
    "PSNR": Column(False, 3),
    "PCKh": Column(False),
    "FaceSim": Column(False),
}
BASELINE = "copy of the source"  # label of the baseline: scores of the source image in place of the generated image
RESAMPLES, CONFIDENCE = 1000, 0.95
DOCUMENT_FORM = {"scores": dict[str, float | None], "meta": dict}  # of metrics.json
PER_IMAGE_FORMAT = "%.10g"  # more digits depend on the number of threads

Rows = Mapping[str, Mapping[str, float]]  # label -> score -> value


def score_table(rows: Rows) -> str:
    """Return a plain text table with one row per label; missing scores are dashes, and unused scores have no column."""
    table = _table(rows)
    return "no scores" if table.empty else table.to_string(na_rep="–")


def latex_table(rows: Rows) -> str:
    """Return the table as a LaTeX `tabular` for the booktabs package."""

    def header(name: str) -> str:
        return name.replace("↓", r"$\downarrow$").replace("↑", r"$\uparrow$")

    style = _table(rows).rename_axis(columns="Method").style.format(na_rep="--")
    # in braces: LaTeX reads a `*` or `[` at the start of a row as part of the line break before it
    style.format_index("{{{}}}", escape="latex", axis="index").format_index(header, escape="latex", axis="columns")
    return style.to_latex(hrules=True, column_format="l" + "c" * len(style.columns))


def confidence_intervals(table: Sequence[Mapping[str, float]], seed: int = 0) -> dict[str, tuple[float, float]]:
    """Return 95% bootstrap intervals (percentiles of 1000 resamples, Efron 1979) of the means of a `Scorer.table`.

    Scores with fewer than two values or with infinite values, and distances of sets such as FID, have no interval.
    """
    result = {}
    for name in (name for name in COLUMNS if any(name in row for row in table)):
        values = np.array([row[name] for row in table if name in row])
        if len(values) > 1 and np.isfinite(values).all():
            interval = scipy.stats.bootstrap(
                (values,),
                np.mean,
                n_resamples=RESAMPLES,
                batch=100,
                confidence_level=CONFIDENCE,
                method="percentile",
                rng=np.random.default_rng(seed),
            ).confidence_interval
            result[name] = (float(interval.low), float(interval.high))
    return result


def write_scores(folder: Path | str, scores: Mapping[str, float], meta: Mapping[str, Any]) -> None:
    """Write `metrics.json` ({"scores", "meta"}) and `metrics.csv` (one row) to a folder atomically.

    Infinite scores (PSNR of equal images) are null in JSON.

    Args:
        meta: JSON values that describe the scores (protocol, size, checkpoint, ...); its plain values precede the
            scores in the CSV.
    """
    folder = Path(folder)
    ordered = {name: scores[name] for name in _ordered(scores)}
    document = {"scores": json_numbers(ordered), "meta": dict(meta)}
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    plain = {key: value for key, value in meta.items() if isinstance(value, str | int | float)}
    write_text(folder / "metrics.json", text + "\n")
    write_text(folder / "metrics.csv", _csv([{**plain, **ordered}]))


def write_per_image(folder: Path | str, table: Sequence[Mapping[str, float]]) -> None:
    """Write the rows of `Scorer.table` to `metrics_per_image.csv` in a folder atomically."""
    write_text(Path(folder) / "metrics_per_image.csv", _csv(table, PER_IMAGE_FORMAT))


def write_comparison(folder: Path | str, rows: Rows) -> None:
    """Write `comparison.txt`, `comparison.tex`, and `comparison.csv` of several methods to a folder."""
    folder = Path(folder)
    write_text(folder / "comparison.txt", score_table(rows) + "\n")
    write_text(folder / "comparison.tex", latex_table(rows))
    write_text(folder / "comparison.csv", _csv([{"method": label, **scores} for label, scores in rows.items()]))


def read_scores(path: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Read the scores and the baseline of a `metrics.json`.

    Raises:
        InputError: the file is missing or invalid.
    """
    document = read_record(path, DOCUMENT_FORM, "pose_transfer_test.py writes this file")
    scores = {name: value for name, value in document["scores"].items() if value is not None}
    meta = {name: value for name, value in document["meta"].items() if fits(value, float)}
    return scores, {k.removeprefix("baseline_"): v for k, v in meta.items() if k.startswith("baseline_")}


def skipped_lines(skipped: Mapping[str, str]) -> list[str]:
    """Return one line per reason why scores are missing."""
    reasons: dict[str, list[str]] = {}
    for name, reason in skipped.items():
        reasons.setdefault(reason, []).append(name)
    return [f"{', '.join(names)} left out: {reason}" for reason, names in reasons.items()]


def json_numbers(scores: Mapping[str, float], prefix: str = "") -> dict[str, float | None]:
    """Replace infinite scores (PSNR of equal images) by None, for JSON; add a prefix to their names."""
    return {prefix + name: value if math.isfinite(value) else None for name, value in scores.items()}


def _table(rows: Rows) -> pd.DataFrame:
    """Return formatted scores by label and by name with an arrow; None if missing."""
    table = pd.DataFrame(index=list(rows))
    for name, column in COLUMNS.items():
        if any(name in scores for scores in rows.values()):
            cells = [f"{scores[name]:.{column.decimals}f}" if name in scores else None for scores in rows.values()]
            table[f"{name} {column.arrow}"] = cells
    return table


def _ordered(names: Mapping[str, Any]) -> list[str]:
    """Return names in table order, followed by other names in their own order."""
    return [*(name for name in COLUMNS if name in names), *(name for name in names if name not in COLUMNS)]


def _csv(rows: Sequence[Mapping[str, Any]], float_format: str | None = None) -> str:
    return pd.DataFrame(rows).to_csv(index=False, float_format=float_format, lineterminator="\n")
