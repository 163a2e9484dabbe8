"""Format scores as tables and read and write score files."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

from utils.files import fits, read_record, write_text


class Column(NamedTuple):
    """How tables show a score."""

    lower_is_better: bool
    decimals: int = 4

    @property
    def arrow(self) -> str:
        return "↓" if self.lower_is_better else "↑"


PER_IMAGE = "metrics_per_image.csv"
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
# labels of the scores of the source image and of the target image in place of the generated image
BASELINE, TRUTH = "copy of the source", "ground truth"
PREFIXES = {BASELINE: "baseline_", TRUTH: "truth_"}  # of the names of these scores in metrics.json
# facts in metrics.json, and the scores that can be compared only if these are the same
PROVENANCE = {"protocol": "scores", "estimator": "PCKh"}
DOCUMENT_FORM = {"scores": dict[str, float | None], "meta": dict}  # of metrics.json

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


def confidence_intervals(table: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """Return 95% bootstrap intervals (percentiles of 1000 resamples, Efron 1979) of the means of a `Scorer.table`.

    Scores with fewer than two values or with infinite values, and distances of sets such as FID, have no interval.
    """
    import pandas as pd
    import scipy.stats

    result = {}
    for name, column in pd.DataFrame(table).filter(list(COLUMNS)).items():
        values = column.dropna().to_numpy()
        if len(values) > 1 and np.isfinite(values).all():
            rng = np.random.default_rng(0)
            resampled = scipy.stats.bootstrap(
                (values,), np.mean, n_resamples=1000, batch=100, confidence_level=0.95, method="percentile", rng=rng
            )
            result[name] = tuple(map(float, resampled.confidence_interval))
    return result


def write_scores(folder: Path, scores: Mapping[str, float], meta: Mapping[str, Any]) -> None:
    """Write `metrics.json` ({"scores", "meta"}) and `metrics.csv` (one row) to a folder atomically.

    Infinite scores (PSNR of equal images) are null in JSON.

    Args:
        meta: JSON values that describe the scores (protocol, size, checkpoint, ...); its plain values precede the
            scores in the CSV.
    """
    ordered = {name: scores[name] for name in COLUMNS if name in scores}
    document = {"scores": json_numbers(ordered), "meta": meta}
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(folder / "metrics.json", text + "\n")
    plain = {key: value for key, value in meta.items() if isinstance(value, str | int | float)}
    _write_csv(folder / "metrics.csv", [{**plain, **ordered}])


def write_per_image(folder: Path, table: Sequence[Mapping[str, float]]) -> None:
    """Write the rows of `Scorer.table` to `metrics_per_image.csv` in a folder atomically."""
    _write_csv(folder / PER_IMAGE, table, float_format="%.10g")  # more depend on the number of threads


def scored_files(folder: Path) -> list[str]:
    """Return the file names in the `metrics_per_image.csv` of a folder; none if it is missing or has no names."""
    try:
        with open(folder / PER_IMAGE, newline="", encoding="utf-8") as file:
            return [row["file"] for row in csv.DictReader(file)]
    except (OSError, KeyError):
        return []


def write_comparison(folder: Path, rows: Rows) -> None:
    """Write `comparison.txt`, `comparison.tex`, and `comparison.csv` of several methods to a folder."""
    write_text(folder / "comparison.txt", score_table(rows) + "\n")
    write_text(folder / "comparison.tex", latex_table(rows))
    _write_csv(folder / "comparison.csv", [{"method": label, **scores} for label, scores in rows.items()])


class ScoreFile(NamedTuple):
    """Content of a `metrics.json`."""

    scores: dict[str, float]
    references: dict[str, dict[str, float]]  # scores by label, see `PREFIXES`
    provenance: dict[str, str]  # the facts of `PROVENANCE`


def read_scores(path: Path) -> ScoreFile:
    """Read a `metrics.json`; raise `InputError` if it is missing or invalid."""
    document = read_record(path, DOCUMENT_FORM, "pose_transfer_test.py writes this file")
    meta = document["meta"]
    references = {
        label: {name.removeprefix(prefix): value for name, value in meta.items()
                if name.startswith(prefix) and fits(value, float)}
        for label, prefix in PREFIXES.items()
    }  # fmt: skip
    return ScoreFile(
        scores={name: value for name, value in document["scores"].items() if value is not None},
        references={label: scores for label, scores in references.items() if scores},
        provenance={name: meta[name] for name in PROVENANCE if isinstance(meta.get(name), str)},
    )


def provenance_lines(tests: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return a line per fact of `PROVENANCE`: its value, or a warning that tests, by label, cannot be compared."""
    lines = []
    for fact, scores in PROVENANCE.items():
        values = {label: facts[fact] for label, facts in tests.items() if fact in facts}
        if len(set(values.values())) > 1:
            each = ", ".join(f"{label}: {value}" for label, value in values.items())
            lines.append(f"warning: the {fact} differs, {scores} cannot be compared ({each})")
        elif values:
            lines.append(f"{fact}: {next(iter(values.values()))}")
    return lines


def interval_lines(intervals: Mapping[str, Mapping[str, tuple[float, float]]]) -> list[str]:
    """Return a line per label with its `confidence_intervals`."""
    return [
        f"95% intervals of {label}: "
        + ", ".join(f"{name} {low:.4f} to {high:.4f}" for name, (low, high) in own.items())
        for label, own in intervals.items()
        if own
    ]


def skipped_lines(skipped: Mapping[str, str]) -> list[str]:
    """Return one line per reason why scores are missing."""
    reasons: dict[str, list[str]] = {}
    for name, reason in skipped.items():
        reasons.setdefault(reason, []).append(name)
    return [f"{', '.join(names)} left out: {reason}" for reason, names in reasons.items()]


def reference_meta(references: Rows) -> dict[str, float | None]:
    """Return the scores of source and target images, by label, as entries of `write_scores`' meta."""
    return {
        PREFIXES[label] + name: value
        for label, scores in references.items()
        for name, value in json_numbers(scores).items()
    }


def interval_meta(intervals: Mapping[str, tuple[float, float]]) -> dict[str, list[float]]:
    """Return `confidence_intervals` as entries of `write_scores`' meta."""
    return {f"{name}_95": list(interval) for name, interval in intervals.items()}


def json_numbers(scores: Mapping[str, float]) -> dict[str, float | None]:
    """Replace infinite scores (PSNR of equal images) by None, for JSON."""
    return {name: value if math.isfinite(value) else None for name, value in scores.items()}


def _table(rows: Rows) -> "pd.DataFrame":
    """Return formatted scores by label and by name with an arrow; None if missing."""
    import pandas as pd

    table = pd.DataFrame(index=list(rows))
    for name, column in COLUMNS.items():
        cells = [f"{scores[name]:.{column.decimals}f}" if name in scores else None for scores in rows.values()]
        if any(cells):
            table[f"{name} {column.arrow}"] = cells
    return table


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]], float_format: str | None = None) -> None:
    import pandas as pd

    write_text(path, pd.DataFrame(rows).to_csv(index=False, float_format=float_format, lineterminator="\n"))
