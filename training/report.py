"""A run in one file that any browser shows, without a network: curves, scores, and grids by epoch.

python -m training.report outputs/CFLD/baseline        writes outputs/CFLD/baseline/report.html
"""

import base64
import html
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from configs.arguments import Parser
from configs.errors import InputError, one_line_errors
from configs.files import by_numbers, write_text
from datasets.image_files import open_image
from metrics.report import COLUMNS, read_scores

from .progress import read_log
from .run_folder import RunFolder

WIDEST = 1600  # pixels of an image; wider ones are shrunk
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; background: #f6f7f9; margin: 0 auto; padding: 28px;
    max-width: 1100px; }
h1 { margin: 0; font-size: 26px; } h2 { margin: 34px 0 10px; font-size: 18px; }
p { color: #5b6675; margin: 4px 0; } img { max-width: 100%; border-radius: 8px; background: white; }
table { border-collapse: collapse; background: white; border-radius: 8px; overflow: hidden; }
th, td { padding: 7px 16px; text-align: right; border-bottom: 1px solid #e6e9ee; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; } .best { font-weight: 700; color: #137a43; }
details { background: white; border-radius: 8px; padding: 10px 16px; margin: 8px 0; } pre { overflow-x: auto; }
summary { cursor: pointer; font-weight: 600; } details img { margin-top: 10px; }
"""


def write_report(run: RunFolder) -> Path:
    """Write `report.html` of a run and give its path.

    Raises:
        InputError: there is no run, or one of its files is damaged.
    """
    if not run.config.is_file():
        raise InputError(f"{run.root}: no config.yaml there; expected the folder of a run")
    lines = read_log(run.training_log)
    evaluations = [path.parent for path in sorted(run.root.rglob("metrics.json"), key=by_numbers)]
    title = html.escape("/".join(run.root.resolve().parts[-2:]))
    sections = [
        f"<h1>{title}</h1><p>{html.escape(_summary(lines))}</p>",
        _section("Curves", _curves(run)),
        _section("Scores", _score_table(run, evaluations)),
        _section("Grids", _grids(run, evaluations)),
        _section("Settings", f"<details><summary>config.yaml</summary><pre>{_text(run.config)}</pre></details>"),
    ]
    document = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body>{''.join(sections)}</body></html>\n"
    )
    write_text(run.report, document)
    return run.report


def _section(title: str, content: str) -> str:
    return f"<h2>{title}</h2>{content}" if content else ""


def _summary(lines: Sequence[dict]) -> str:
    losses = [line for line in lines if line.get("loss") is not None]
    if not losses:
        return "Nothing was logged yet."
    return f"{losses[-1]['step']:,} optimizer steps; the last loss is {losses[-1]['loss']:.4f}."


def _curves(run: RunFolder) -> str:
    return _embedded(run.training_curves, "curves over the steps") if run.training_curves.is_file() else ""


def _score_table(run: RunFolder, evaluations: Sequence[Path]) -> str:
    rows = {
        name: scores for name, (scores, _) in ((_name(run, f), read_scores(f / "metrics.json")) for f in evaluations)
    }
    columns = [name for name in COLUMNS if any(name in scores for scores in rows.values())]
    if not columns:
        return ""
    best = {name: _best(name, [scores[name] for scores in rows.values() if name in scores]) for name in columns}
    head = "".join(f"<th>{name} {COLUMNS[name].arrow}</th>" for name in columns)
    body = "".join(
        f"<tr><td>{html.escape(label)}</td>{''.join(_cell(name, scores, best[name]) for name in columns)}</tr>"
        for label, scores in rows.items()
    )
    return f"<table><tr><th></th>{head}</tr>{body}</table>"


def _best(name: str, values: Sequence[float]) -> float:
    return min(values) if COLUMNS[name].lower_is_better else max(values)


def _cell(name: str, scores: dict[str, float], best: float) -> str:
    if name not in scores:
        return "<td>–</td>"
    mark = ' class="best"' if scores[name] == best else ""
    return f"<td{mark}>{scores[name]:.{COLUMNS[name].decimals}f}</td>"


def _grids(run: RunFolder, evaluations: Sequence[Path]) -> str:
    """The newest one open."""
    grids = [folder for folder in evaluations if (folder / "grid.png").is_file()]
    return "".join(
        f"<details{' open' if folder == grids[-1] else ''}><summary>{html.escape(_name(run, folder))}</summary>"
        f"{_embedded(folder / 'grid.png', 'source, pose, target and generated images')}</details>"
        for folder in grids
    )


def _name(run: RunFolder, folder: Path) -> str:
    return folder.relative_to(run.root).as_posix()


def _text(path: Path) -> str:
    return html.escape(path.read_text(encoding="utf-8", errors="replace"))


def _embedded(path: Path, description: str) -> str:
    """An image file as a part of the page."""
    image = open_image(path)
    image.thumbnail((WIDEST, image.height))
    file = BytesIO()
    image.save(file, "JPEG", quality=90)
    return f'<img alt="{description}" src="data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}">'


@one_line_errors
def main() -> None:
    parser = Parser(__doc__, prog="python -m training.report")
    parser.add_argument("run", type=Path, help="folder of a run: OUTPUT_DIR/PROJECT_NAME/RUN_NAME")
    try:
        print(write_report(RunFolder(parser.parse_args().run)))
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from None


if __name__ == "__main__":
    main()
