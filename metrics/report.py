"""Scores as text and as files.

python -m metrics.report "label=FOLDER/metrics.json" ...   several tests in one table
"""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.errors import InputError
from configs.files import write_text

# name -> (arrow to the better side, decimals), in the order of the columns
COLUMNS = {"FID": ("↓", 4), "LPIPS": ("↓", 4), "SSIM": ("↑", 4), "SSIM_256": ("↑", 4), "PSNR": ("↑", 3)}
DIGITS = 10  # of the scores of an image; the last ones of a float depend on how sums were grouped


def score_table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Plain text table of named rows of scores; a score that no row has gets no column, a gap a dash."""
    columns = [name for name in COLUMNS if any(name in scores for scores in rows.values())]
    lines = [["", *(f"{name} {COLUMNS[name][0]}" for name in columns)]]
    for label, scores in rows.items():
        lines.append([label, *(_cell(name, scores) for name in columns)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns) + 1)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )


def write_scores(folder: Path | str, scores: Mapping[str, float], meta: Mapping[str, Any]) -> None:
    """Write `metrics.json` ({"scores", "meta"}) and `metrics.csv` (one row) into `folder`, made if need be.

    Files appear whole or not at all. JSON has no infinity (PSNR of equal images): such a score is null there.

    Args:
        meta: what the scores belong to (protocol, size, checkpoint, ...), of JSON's types; its plain values
            precede the scores in the CSV.
    """
    folder = Path(folder)
    ordered = {name: scores[name] for name in _ordered(scores)}
    finite = {name: value if math.isfinite(value) else None for name, value in ordered.items()}
    document = json.dumps({"scores": finite, "meta": dict(meta)}, indent=2, ensure_ascii=False, allow_nan=False)
    plain = {key: value for key, value in meta.items() if isinstance(value, str | int | float)}
    write_text(folder / "metrics.json", document + "\n")
    write_text(folder / "metrics.csv", _csv([{**plain, **ordered}]))


def write_per_image(folder: Path | str, table: Sequence[Mapping[str, float]]) -> None:
    """Write the rows of `Scorer.table` to `metrics_per_image.csv` in `folder`, whole or not at all.

    With `DIGITS` digits, so that the file is the same for any number of processes.
    """
    rows = [{key: _rounded(value) for key, value in row.items()} for row in table]
    write_text(Path(folder) / "metrics_per_image.csv", _csv(rows))


def _rounded(value: Any) -> Any:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _cell(name: str, scores: Mapping[str, float]) -> str:
    return f"{scores[name]:.{COLUMNS[name][1]}f}" if name in scores else "–"


def _ordered(names: Mapping[str, Any]) -> list[str]:
    """The table's columns in their order, then any others in theirs."""
    return [*(name for name in COLUMNS if name in names), *(name for name in names if name not in COLUMNS)]


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    buffer = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def read_scores(path: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Scores of a `metrics.json`, and those of copying the source.

    Raises:
        InputError: the file is missing or something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        scores, meta = ({k: v for k, v in document[key].items() if v is not None} for key in ("scores", "meta"))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: no scores there ({error}); pose_transfer_test.py writes this file") from None
    return scores, {k.removeprefix("baseline_"): v for k, v in meta.items() if k.startswith("baseline_")}
