"""Sample a test set over all processes and score the images; shared by testing and training."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, partial
from math import sqrt
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms.functional import to_pil_image
from tqdm import tqdm
from yacs.config import CfgNode

from configs.defaults import value_at
from datasets import TestPairs, fid_real_images
from datasets.loaders import loader, to_device
from datasets.pair_lists import file_name
from datasets.pose_maps import person_keypoints
from diffusion.randomness import pair_seed
from diffusion.schedulers import check_spacing, configured_scheduler, most_steps
from inference.drawing import save_image
from inference.generation import sampling_scheduler
from models import CFLD
from utils.errors import InputError

from .batch_sampling import Batch, reproducible, sample_batch, select_rows
from .generated_images import comparison_grid, first_of_each_name, read_png
from .real_set import give_real_set
from .scores import Scorer, gathered_rows
from .tables import (
    BASELINE,
    TRUTH,
    Rows,
    confidence_intervals,
    interval_lines,
    interval_meta,
    provenance_lines,
    reference_meta,
    score_table,
    skipped_lines,
    write_per_image,
    write_scores,
)
from .weak_model import load_weak_model

GRID_PAIRS = 8  # rows of the grid
GOLDEN_RATIO = (1 + sqrt(5)) / 2  # its multiples never repeat, modulo 1


@dataclass(frozen=True)
class Evaluation:
    """Results of an evaluation."""

    scores: dict[str, float]  # means by name
    references: Rows  # scores of source and target images in place of the generated images, by label
    provenance: dict[str, str]  # what the scores depend on beside the protocol
    skipped: dict[str, str]  # why a score is missing, by name
    grid: Image.Image  # source, pose, target, and generated images of a few pairs
    per_image: list[dict[str, str | float]]  # file name and scores
    made: int  # number of images sampled in this run

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        return confidence_intervals(self.per_image)

    def table(self) -> str:
        """Return the scores and those of the references as a table, their intervals, provenance, and missing scores."""
        rows = {"generated": self.scores, **self.references}
        lines = interval_lines({"generated": self.intervals}) + provenance_lines({"": self.provenance})
        return "\n".join([score_table(rows), *lines, *skipped_lines(self.skipped)])

    def write(self, folder: Path, meta: dict) -> None:
        """Write grid.png, metrics.json, metrics.csv, and metrics_per_image.csv."""
        folder.mkdir(parents=True, exist_ok=True)
        save_image(self.grid, folder / "grid.png")
        meta = {**meta, **self.provenance, "images": len(self.per_image), **interval_meta(self.intervals)}
        meta |= {**reference_meta(self.references), "skipped": self.skipped}
        write_scores(folder, self.scores, meta)
        write_per_image(folder, self.per_image)


def spread(total: int, count: int) -> list[int]:
    """Return `count` of `total` places: one in each of `count` equal parts, every time elsewhere in the part.

    Lists have the same views of every person in the same order; at even distances, they could show a single view.
    """
    return [int((part + part * GOLDEN_RATIO % 1) * total / count) for part in range(count)]


class Evaluator:
    """Samples and scores a test set, any number of times.

    Args:
        cfg: a checked config.
        accelerator: its processes share the work; all of them must call `run`.
        dataset: the test pairs; TEST.NUM_PAIRS of them are used, see `spread`.

    Raises:
        InputError: the scheduler has fewer steps than the config requests, two pairs share a file name, or the weak
            model does not load.
    """

    def __init__(self, cfg: CfgNode, accelerator: Accelerator, dataset: TestPairs) -> None:
        self.cfg, self.accelerator, self.dataset = cfg, accelerator, dataset
        self.real_images = partial(fid_real_images, cfg.INPUT.ROOT_DIR, cfg.INPUT.DATASET)
        count = min(cfg.TEST.NUM_PAIRS or len(dataset), len(dataset))
        indices = spread(len(dataset), count)
        self.own = indices[accelerator.process_index :: accelerator.num_processes]
        self.in_grid = {indices[place] for place in spread(count, min(count, GRID_PAIRS))}
        self.first = first_of_each_name(dataset.pairs)
        self.size = tuple(cfg.TEST.IMG_SIZE)
        self.scheduler = sampling_scheduler(cfg)
        timesteps = self.scheduler.config.num_train_timesteps
        for name, most in (
            ("MODEL.SCHEDULER_CONFIG.ORIGINAL_INFERENCE_STEPS", timesteps),
            ("TEST.NUM_INFERENCE_STEPS", most_steps(self.scheduler)),
            ("TEST.DDIM_INVERSION_STEPS", timesteps),
        ):
            if value_at(cfg, name) > most:
                raise InputError(f"{name} is {value_at(cfg, name)}; the scheduler has {most} timesteps")
        check_spacing(self.scheduler, cfg.TEST.NUM_INFERENCE_STEPS)
        if steps := cfg.TEST.DDIM_INVERSION_STEPS:
            check_spacing(configured_scheduler(cfg.MODEL.SCHEDULER_CONFIG, "ddim_inverse"), steps)
        self.references: Rows | None = None  # computed once
        guide, precision = cfg.TEST.AUTOGUIDANCE_PATH, accelerator.mixed_precision
        self.weak = load_weak_model(cfg, precision, accelerator.device) if guide else None

    def _scorer(self, only: str | None = None) -> Scorer:
        return Scorer(self.accelerator.device, self.cfg.TEST.METRICS_PATH, frame=self.dataset.sizes.frame, only=only)

    @cached_property
    def scorer(self) -> Scorer:
        """Scorer of the generated images; its networks are loaded when the first evaluation begins."""
        return self._scorer()

    @cached_property
    def reference_scorers(self) -> dict[str, Scorer]:
        return self.scorer.references()

    def check_best_score(self) -> None:
        """Raise `InputError` if ACCELERATE.BEST_SCORE cannot be computed for these image sizes and weights."""
        name = self.cfg.ACCELERATE.BEST_SCORE
        for scorer in map(self._scorer, (name, None)):  # all networks are loaded only to say what can be computed
            blank = torch.zeros(1, 3, *self.size, dtype=torch.uint8)
            scorer.update(blank, blank, [0])
            if name in scorer.available:
                return
        reason = scorer.skipped.get(name, "the protocol cfld does not have it")
        raise InputError(
            f"ACCELERATE.BEST_SCORE is {name}, which cannot be computed: {reason}; "
            f"choose one of {', '.join(scorer.available)}"
        )

    def run(self, model: CFLD, folder: Path | None = None, stop: Callable[[], bool] = lambda: False) -> Evaluation:
        """Sample and score every test pair.

        Args:
            model: not wrapped for distributed training.
            folder: where to save one PNG per pair. Existing valid images of the right size are scored and not sampled
                again, unless TEST.OVERWRITE is set.
            stop: called after every denoising step of this process and every batch of real images; returning true
                raises KeyboardInterrupt.

        Raises:
            InputError: an image cannot be read, or a sample is not finite.
        """

        def check(*_) -> None:
            if stop():
                raise KeyboardInterrupt

        test, accelerator, training = self.cfg.TEST, self.accelerator, model.training
        give_real_set(self.scorer, self.real_images, self.size, accelerator, test.NUM_WORKERS, check)
        self.reference_scorers[BASELINE].real = self.scorer.real
        self.scorer.reset()
        made, tiles = 0, {}
        hidden = None if accelerator.is_main_process else True
        bar = tqdm(total=len(self.own), desc="sampling", unit="image", disable=hidden, leave=False)
        sample = partial(self._sample, model, check)
        model.eval()
        try:
            with bar, reproducible(sample, test.MICRO_BATCH_SIZE, accelerator.device, bar) as sampler:
                for batch in self._batches():
                    images, sampled = self._images(batch, sampler, folder)
                    bar.update(len(images) - sampled)  # the images that were read
                    made += sampled
                    tiles |= self._score(batch, images)
        finally:
            model.train(training)
        return self._gather(made, tiles)

    def _batches(self) -> DataLoader:
        order = {"sampler": self.own, "batch_size": self.cfg.TEST.MICRO_BATCH_SIZE}
        return loader(self.dataset, self.cfg.TEST.NUM_WORKERS, self.accelerator.device, **order)

    def _sample(self, model: CFLD, check: Callable[..., None], batch: Batch) -> Tensor:
        """Sample the images (B, 3, *size) uint8 of a batch."""
        indices = batch["index"].tolist()
        seeds = [pair_seed(self.cfg.ACCELERATE.SEED, self.first[index]) for index in indices]
        with self.accelerator.autocast():
            on_device = to_device(batch, self.accelerator.device)
            images = sample_batch(model, on_device, deepcopy(self.scheduler), self.cfg, seeds, check, self.weak)
        if not torch.isfinite(images).all():
            full = self.accelerator.mixed_precision == "no"
            advice = "use another checkpoint" if full else "use ACCELERATE.MIXED_PRECISION no or another checkpoint"
            raise InputError(f"the samples of pairs {indices} are not finite; {advice}")
        return self.scorer.protocol.at_size(images, self.size)

    def _images(
        self, batch: Batch, sampler: Callable[[Batch], Tensor], folder: Path | None
    ) -> tuple[list[Tensor], int]:
        """Return the generated images (3, *size) uint8 of a batch, read or sampled, and how many were sampled."""
        names = [file_name(self.dataset.pairs[index]) for index in batch["index"].tolist()]
        reuse = folder is not None and not self.cfg.TEST.OVERWRITE
        images = [read_png(folder / name, self.size) if reuse else None for name in names]
        missing = [row for row, image in enumerate(images) if image is None]
        for row, image in zip(missing, sampler(select_rows(batch, missing)) if missing else ()):
            images[row] = image
            if folder:
                save_image(to_pil_image(image), folder / names[row])
        return images, len(missing)

    def _score(self, batch: Batch, images: list[Tensor]) -> dict[int, tuple[Tensor, ...]]:
        """Add a batch to the scores; return the grid rows of its pairs that the grid shows."""
        indices, at_size = batch["index"].tolist(), partial(self.scorer.protocol.at_size, size=self.size)
        pred, target, source = torch.stack(images), batch["img_gt"], at_size(batch["img_copy"])  # (B, 3, *size)
        frame = self.dataset.sizes.frame
        keypoints = torch.stack([person_keypoints(self.dataset.pairs[i], self.size, frame) for i in indices])
        references = self.reference_scorers
        for scorer, shown in ((self.scorer, pred), (references[BASELINE], source), (references[TRUTH], target)):
            scorer.update(shown, target, indices, keypoints)
        if self.in_grid.isdisjoint(indices):
            return {}
        columns = (source, at_size(batch["pose_img_tgt"][:, :3]), at_size(target), pred)
        return {index: row for index, row in zip(indices, zip(*columns)) if index in self.in_grid}

    def _gather(self, made: int, tiles: dict[int, tuple[Tensor, ...]]) -> Evaluation:
        """Merge the results of all processes."""
        scores = self.scorer.gathered()
        if self.references is None:
            self.references = gathered_rows(self.reference_scorers)
        counts, grid_rows = zip(*gather_object([(made, tiles)]))
        tiles = {index: row for rows in grid_rows for index, row in rows.items()}
        return Evaluation(
            scores=scores,
            references=self.references,
            provenance=self.scorer.provenance,
            skipped=dict(self.scorer.skipped),
            grid=comparison_grid([tiles[index] for index in sorted(tiles)]),
            per_image=[{"file": file_name(self.dataset.pairs[row.pop("index")]), **row} for row in self.scorer.table()],
            made=sum(counts),
        )
