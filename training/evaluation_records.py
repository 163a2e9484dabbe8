"""Recording an evaluation in the run folder: scores, best checkpoint, curves and report."""

import json
import math
from pathlib import Path

from evaluation.tables import COLUMNS, json_numbers
from evaluation.test_set import Evaluation
from models.checkpoints import PROGRESS, read_progress
from utils.errors import InputError
from utils.files import write_text

from .log import LOGGER, draw_training_curves, read_log
from .report import write_report
from .run_folder import RunFolder
from .state import Position
from .step_log import StepLog


def record_evaluation(evaluation: Evaluation, checkpoint: Path, position: Position, steps: StepLog) -> None:
    """Write the scores of a checkpoint at `position` to its folder and to the files of the run."""
    run, scores = steps.run, json_numbers(evaluation.scores)
    evaluation.write(
        run.epochs(position.epoch, position.step),
        {"checkpoint": str(checkpoint), "epoch": position.epoch, "step": position.step},
    )
    facts = {**read_progress(checkpoint), "scores": scores}
    write_text(checkpoint / PROGRESS, json.dumps(facts, indent=1) + "\n")
    steps.write(scores=scores)
    draw_training_curves(read_log(run.training_log), run.training_curves)
    name = steps.cfg.ACCELERATE.BEST_SCORE
    if _is_best(run, name, value := evaluation.scores.get(name, math.nan)):
        run.set_best(checkpoint, name, value)
        run.prune()
    try:
        write_report(run)
    except InputError as error:  # a damaged file of an earlier evaluation does not stop training
        LOGGER.warning(f"warning: {run.report.name} is not updated: {error}")


def _is_best(run: RunFolder, name: str, value: float) -> bool:
    """Return whether a finite value of the score `name` is better than that of the best checkpoint."""
    best = run.best()
    sign = -1 if COLUMNS[name].lower_is_better else 1
    return math.isfinite(value) and not (best and best["score"] == name and sign * best["value"] >= sign * value)
