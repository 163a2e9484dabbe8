"""Write a run as one HTML file that any browser shows offline: curves, scores, and grids by epoch."""

import json
import math
from contextlib import suppress
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from yacs.config import CfgNode

from configs import load_config
from configs.defaults import SETTINGS_BY_KEY, value_at
from configs.rules import Affects
from evaluation.tables import COLUMNS, PROVENANCE, json_numbers, provenance_lines, read_scores, scored_files
from evaluation.test_set import Evaluation
from models.checkpoints import CONFIG, PROGRESS, other_parts, read_progress
from utils.errors import InputError
from utils.files import by_numbers, write_text
from utils.image_files import jpeg_url, open_image

from .log import LOGGER, draw_training_curves, read_log
from .run_folder import RunFolder
from .state import Position
from .step_log import StepLog

NOT_OF_TESTS = "MODEL.COND_STAGE_CONFIG.PRETRAINED_PATH", "TEST.UP_BLOCK_GUIDANCE_SCALE"  # do not matter in a test
OF_TESTS = [
    key
    for key, setting in SETTINGS_BY_KEY.items()
    if setting.affects is Affects.IMAGES and not setting.part_folder and key not in NOT_OF_TESTS
]
MAX_WIDTH = 1600  # of an image, pixels; wider images are downscaled
LAYOUT = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, **LAYOUT
)


def record_evaluation(evaluation: Evaluation, checkpoint: Path, position: Position, steps: StepLog) -> None:
    """Write the scores of a checkpoint at `position` to its folder and to the files of the run."""
    run, scores = steps.run, json_numbers(evaluation.scores)
    facts = {"checkpoint": str(checkpoint), "epoch": position.epoch, "step": position.step}
    evaluation.write(run.epochs(position.epoch, position.step), facts)
    steps.write(scores=scores)
    draw_training_curves(read_log(run.training_log), run.training_curves)
    name = steps.cfg.ACCELERATE.BEST_SCORE
    value, best = evaluation.scores.get(name, math.nan), run.best()
    sign = -1 if COLUMNS[name].lower_is_better else 1
    measure = {"score": name, **{fact: by for fact, by in evaluation.provenance.items() if PROVENANCE[fact] == name}}
    comparable = best and best.items() >= measure.items()
    if comparable and was_tested_otherwise(run.root / best["checkpoint"], steps.cfg, evaluation):
        comparable = False
        LOGGER.info(f"{best['checkpoint']} was the best of another test; the choice of the best starts again")
    if math.isfinite(value) and not (comparable and sign * best["value"] >= sign * value):
        run.set_best(checkpoint, value, **measure)
        run.prune()
    # last: a checkpoint without scores is evaluated again
    write_text(checkpoint / PROGRESS, json.dumps({**read_progress(checkpoint), "scores": scores}, indent=1) + "\n")
    try:
        write_report(run)
    except InputError as error:  # a damaged file of an earlier evaluation does not stop training
        LOGGER.warning(f"warning: {run.report.name} is not updated: {error}")


def was_tested_otherwise(checkpoint: Path, cfg: CfgNode, evaluation: Evaluation) -> bool:
    """Return whether the scores of a checkpoint are of other test settings, frozen parts or pairs."""
    with suppress(InputError):  # without its config, nothing is known
        before, names = load_config(str(checkpoint / CONFIG)), scored_files(checkpoint.parent)
        other_settings = any(value_at(before, key) != value_at(cfg, key) for key in OF_TESTS)
        other_pairs = names and names != [row["file"] for row in evaluation.per_image]
        return bool(other_settings or other_pairs or other_parts(read_progress(checkpoint), cfg))
    return False


def write_report(run: RunFolder) -> Path:
    """Write `report.html` of a run and return its path.

    Raises:
        InputError: the folder is no run folder, or one of its files is damaged.
    """
    if not run.config.is_file():
        raise InputError(f"{run.root}: no config.yaml in it; expected the folder of a run")
    folders = [path.parent for path in sorted(run.root.rglob("metrics.json"), key=by_numbers)]
    evaluations = {folder.relative_to(run.root).as_posix(): folder for folder in folders}
    files = {name: read_scores(folder / "metrics.json") for name, folder in evaluations.items()}
    rows = {name: file.scores for name, file in files.items()}
    columns = {name: column for name, column in COLUMNS.items() if any(name in scores for scores in rows.values())}
    document = TEMPLATES.get_template("report.html.jinja").render(
        title="/".join(run.root.resolve().parts[-2:]),
        last=next((line for line in reversed(read_log(run.training_log)) if line.get("loss") is not None), None),
        curves=_embedded(run.training_curves) if run.training_curves.is_file() else None,
        rows=rows,
        columns=columns,
        provenance=provenance_lines({name: file.provenance for name, file in files.items()}),
        best={
            name: (min if column.lower_is_better else max)(scores[name] for scores in rows.values() if name in scores)
            for name, column in columns.items()
        },
        grids={
            name: _embedded(grid) for name, folder in evaluations.items() if (grid := folder / "grid.png").is_file()
        },
        settings=run.config.read_text(encoding="utf-8", errors="replace"),
    )
    write_text(run.report, document)
    return run.report


def _embedded(path: Path) -> str:
    """Return an image file as a data URL."""
    image = open_image(path)
    return jpeg_url(image, (image.height, MAX_WIDTH), quality=90)
