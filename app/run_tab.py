"""The third tab: scores, curves and grids of a training run."""

from pathlib import Path

import gradio as gr
import pandas as pd

from configs.files import by_numbers
from datasets.image_files import open_image
from metrics.report import read_scores

from .studio import QUIET, Studio
from .work import note, problem


def run_tab(studio: Studio, tab: gr.Tab) -> None:
    """Lay the tab out and connect it; runs are looked for whenever it is opened."""
    with gr.Row():
        choice = gr.Dropdown(run_names(studio.outputs), label=f"Runs under {studio.outputs}", elem_id="run", scale=4)
        refresh = gr.Button("Look again", elem_id="run-refresh", scale=1)
    status = gr.HTML(note("Choose a run."), elem_id="run-status")
    curves = gr.Image(
        label="Curves", show_label=False, interactive=False, buttons=["fullscreen", "download"], elem_id="run-curves"
    )
    table = gr.Dataframe(label="Scores by evaluation", interactive=False, elem_id="run-scores")
    grids = gr.Gallery(
        label="Grids: source, pose, target, generated",
        show_label=False,
        columns=3,
        object_fit="contain",
        height=520,
        elem_id="run-grids",
    )

    def look_again(name: str | None) -> dict:
        return {choice: gr.Dropdown(choices=run_names(studio.outputs)), **show(name)}

    def show(name: str | None) -> dict:
        if name not in run_names(studio.outputs):
            return {status: note("Choose a run."), curves: None, table: None, grids: []}
        run = studio.outputs / name
        picture = run / "training_curves.png"
        try:
            scores = run_scores(run)
            drawn = open_image(picture) if picture.is_file() else None
            grids_of = [(open_image(path), path.parent.name) for path in sorted(run.rglob("grid.png"), key=by_numbers)]
        except Exception as error:
            return {status: problem(error), curves: None, table: None, grids: []}
        return {
            curves: drawn,
            table: scores,
            grids: grids_of,
            status: note(f"{name}: evaluations so far: {len(scores)}.", "good"),
        }

    shown = [status, curves, table, grids]
    choice.input(show, choice, shown, **QUIET)
    refresh.click(look_again, choice, [choice, *shown], **QUIET)
    tab.select(look_again, choice, [choice, *shown], **QUIET)


def run_names(outputs: Path) -> list[str]:
    """Runs under a folder, PROJECT/RUN, the newest first."""
    configs = sorted(outputs.glob("*/*/config.yaml"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.parent.relative_to(outputs).as_posix() for path in configs]


def run_scores(run: Path) -> pd.DataFrame:
    """A row for each evaluation of a run, with its scores.

    Raises:
        InputError: a `metrics.json` cannot be read.
    """
    rows = []
    for path in sorted(run.rglob("metrics.json"), key=by_numbers):
        scores, _ = read_scores(path)
        rows.append(
            {"evaluation": path.parent.relative_to(run).as_posix(), **{k: round(v, 4) for k, v in scores.items()}}
        )
    return pd.DataFrame(rows, columns=None if rows else ["evaluation"])
