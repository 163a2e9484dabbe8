"""The third tab: the report of a training run."""

import html
from pathlib import Path

import gradio as gr

from training.run_folder import RunFolder
from utils.errors import InputError

from .cancellable import note, problem
from .studio import QUIET, Studio


def run_tab(studio: Studio, tab: gr.Tab) -> None:
    """Lay the tab out and connect it; runs are looked for whenever it is opened."""
    with gr.Row():
        choice = gr.Dropdown(run_names(studio.outputs), label=f"Runs under {studio.outputs}", elem_id="run", scale=4)
        refresh = gr.Button("Look again", elem_id="run-refresh", scale=1)
    report = gr.HTML(note("Choose a run."), elem_id="run-report")

    def look_again(name: str | None) -> tuple[gr.Dropdown, str]:
        return gr.Dropdown(choices=run_names(studio.outputs)), show(name)

    def show(name: str | None) -> str:
        return report_of(studio.outputs / name) if name in run_names(studio.outputs) else note("Choose a run.")

    choice.input(show, choice, report, **QUIET)
    refresh.click(look_again, choice, [choice, report], **QUIET)
    tab.select(look_again, choice, [choice, report], **QUIET)


def run_names(outputs: Path) -> list[str]:
    """Runs under a folder, PROJECT/RUN, the newest first."""
    configs = sorted(outputs.glob("*/*/config.yaml"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.parent.relative_to(outputs).as_posix() for path in configs]


def report_of(run: Path) -> str:
    """The `report.html` of a run as a document of its own within the page, where no script of it runs."""
    path = RunFolder(run).report
    try:
        document = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return note(f"No {path.name} yet. Evaluations write it; python -m training.report {run} writes it now.")
    except OSError as error:
        return problem(InputError(f"{path}: cannot be read ({error.strerror})"))
    return f'<iframe sandbox title="report of the run" srcdoc="{html.escape(document)}"></iframe>'
