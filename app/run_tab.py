"""The tab with the reports of training runs."""

import html
from pathlib import Path

import gradio as gr

from training.run_folder import RunFolder
from utils.errors import InputError

from .jobs import note, problem
from .studio import QUIET, Studio


def run_tab(studio: Studio, tab: gr.Tab) -> None:
    """Build the tab; the list of runs is refreshed whenever the tab is opened."""
    with gr.Row():
        choice = gr.Dropdown(run_names(studio.outputs), label=f"Runs under {studio.outputs}", elem_id="run", scale=4)
        refresh = gr.Button("Refresh", elem_id="run-refresh", scale=1)
    report = gr.HTML(note("Choose a run."), elem_id="run-report")

    def reload(name: str | None) -> tuple[gr.Dropdown, str]:
        return gr.Dropdown(choices=run_names(studio.outputs)), show(name)

    def show(name: str | None) -> str:
        return report_of(studio.outputs / name) if name in run_names(studio.outputs) else note("Choose a run.")

    choice.input(show, choice, report, **QUIET)
    refresh.click(reload, choice, [choice, report], **QUIET)
    tab.select(reload, choice, [choice, report], **QUIET)


def run_names(outputs: Path) -> list[str]:
    """Return the runs under a folder as PROJECT/RUN, newest first."""
    configs = sorted(outputs.glob("*/*/config.yaml"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.parent.relative_to(outputs).as_posix() for path in configs]


def report_of(run: Path) -> str:
    """Return the `report.html` of a run in a sandboxed frame, in which no script runs."""
    path = RunFolder(run).report
    try:
        document = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return note(f"No {path.name} yet. The next evaluation writes it, or python -m training.report {run}.")
    except OSError as error:
        return problem(InputError(f"{path}: cannot be read ({error.strerror})"))
    return f'<iframe sandbox title="report of the run" srcdoc="{html.escape(document)}"></iframe>'
