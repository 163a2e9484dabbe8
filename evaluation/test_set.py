"""Sample a test set over all processes and score the images; shared by testing and training."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from PIL import Image
from torch import Tensor
from tqdm import tqdm
from yacs.config import CfgNode

from configs.defaults import value_at
from datasets import TestPairs
from datasets.loaders import loader, to_device
from datasets.pair_lists import file_name, person_keypoints
from diffusion.randomness import pair_seed
from diffusion.schedulers import most_steps
from evaluation.batch_sampling import Batch, reproducible, sample_batch, select_rows
from evaluation.grids import comparison_grid, first_of_each_name, read_png, save_png
from evaluation.real_set import give_real_set
from evaluation.scores import Scorer
from evaluation.tables import BASELINE, json_numbers, score_table, skipped_lines, write_per_image, write_scores
from inference.drawing import save_image
from inference.generation import sampling_scheduler
from models import CFLD
from utils.errors import InputError

GRID_PAIRS = 8  # rows of the grid


@dataclass(frozen=True)
class Evaluation:
    """Results of an evaluation.

    Attributes:
        scores, baseline: mean scores by name, of the generated images and of the source images in their place.
        skipped: why a score is missing, by name.
        grid: source, pose, target, and generated images of a few pairs.
        per_image: one row per test image: its file name and its scores.
        made: number of images sampled in this run.
    """

    scores: dict[str, float]
    baseline: dict[str, float]
    skipped: dict[str, str]
    grid: Image.Image
    per_image: list[dict[str, str | float]]
    made: int

    def table(self) -> str:
        """Return the scores and the baseline as a table, and one line per missing score."""
        rows = {"generated": self.scores, BASELINE: self.baseline}
        return "\n".join([score_table(rows), *skipped_lines(self.skipped)])

    def write(self, folder: Path, meta: dict) -> None:
        """Write grid.png, metrics.json, metrics.csv, and metrics_per_image.csv."""
        folder.mkdir(parents=True, exist_ok=True)
        save_image(self.grid, folder / "grid.png")
        baseline = {f"baseline_{name}": value for name, value in json_numbers(self.baseline).items()}
        write_scores(folder, self.scores, {**meta, "images": len(self.per_image), **baseline, "skipped": self.skipped})
        write_per_image(folder, self.per_image)


class Evaluator:
    """Samples and scores a test set, any number of times.

    Args:
        cfg: a checked config.
        accelerator: its processes share the work; all of them must call `run`.
        dataset: the test pairs; TEST.NUM_PAIRS of them, evenly spaced, are used.
        real_images: returns the real set of FID; called only if FID can be computed.

    Raises:
        InputError: the scheduler has fewer steps than the config requests, or two pairs share a file name.
    """

    def __init__(
        self,
        cfg: CfgNode,
        accelerator: Accelerator,
        dataset: TestPairs,
        real_images: Callable[[], Sequence[Path]],
    ) -> None:
        self.cfg, self.accelerator, self.dataset, self.real_images = cfg, accelerator, dataset, real_images
        count = min(cfg.TEST.NUM_PAIRS or len(dataset), len(dataset))
        self.indices = [i * len(dataset) // count for i in range(count)]  # evenly spaced, to cover many persons
        self.first = first_of_each_name(dataset.pairs)
        self.size = tuple(cfg.TEST.IMG_SIZE)
        self.scheduler = sampling_scheduler(cfg)
        self._check_steps()
        self.scorer = Scorer(accelerator.device, cfg.TEST.METRICS_PATH)
        self.baseline_scorer = self.scorer.empty()
        self.baseline: dict[str, float] | None = None

    def _check_steps(self) -> None:
        timesteps = self.scheduler.config.num_train_timesteps
        for name, most in (
            ("MODEL.SCHEDULER_CONFIG.ORIGINAL_INFERENCE_STEPS", timesteps),
            ("TEST.NUM_INFERENCE_STEPS", most_steps(self.scheduler)),
            ("TEST.DDIM_INVERSION_STEPS", timesteps),
        ):
            if value_at(self.cfg, name) > most:
                raise InputError(f"{name} is {value_at(self.cfg, name)}; the scheduler has {most} timesteps")

    def check_best_score(self) -> None:
        """Raise `InputError` if ACCELERATE.BEST_SCORE cannot be computed for these image sizes and weights."""
        name, blank = self.cfg.ACCELERATE.BEST_SCORE, torch.zeros(1, 3, *self.size, dtype=torch.uint8)
        self.scorer.update(blank, blank, [0])
        self.scorer.reset()
        if name in self.scorer.skipped:
            raise InputError(
                f"ACCELERATE.BEST_SCORE is {name}, which cannot be computed: {self.scorer.skipped[name]}; "
                f"choose one of {', '.join(self.scorer.available)}"
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
        test, training = self.cfg.TEST, model.training
        give_real_set(
            self.scorer, self.real_images, self.size, test.METRICS_PATH, self.accelerator, test.NUM_WORKERS, stop
        )
        self.baseline_scorer.real = self.scorer.real
        self.scorer.reset()
        made, tiles = 0, {}
        model.eval()
        try:
            with self._progress() as bar:
                sample = partial(self._sample, model, stop)
                with reproducible(sample, test.MICRO_BATCH_SIZE, self.accelerator.device, bar) as sampler:
                    for batch in self._batches():
                        images, sampled = self._images(batch, sampler, folder)
                        bar.update(len(images) - sampled)  # the images that were read
                        made += sampled
                        tiles |= self._score(batch, images)
        finally:
            model.train(training)
        return self._gather(made, tiles)

    def _batches(self):
        """Return the batches of this process."""
        order = {"sampler": self._own(), "batch_size": self.cfg.TEST.MICRO_BATCH_SIZE}
        return loader(self.dataset, self.cfg.TEST.NUM_WORKERS, self.accelerator.device, **order)

    def _own(self) -> list[int]:
        """Return the indices of the pairs of this process."""
        return self.indices[self.accelerator.process_index :: self.accelerator.num_processes]

    def _progress(self) -> tqdm:
        """Return a progress bar over the pairs of this process, shown on the main process."""
        hidden = None if self.accelerator.is_main_process else True
        return tqdm(total=len(self._own()), desc="sampling", unit="image", disable=hidden, leave=False)

    def _sample(self, model: CFLD, stop: Callable[[], bool], batch: Batch) -> Tensor:
        """Sample the images (B, 3, *size) uint8 of a batch."""

        def check(*_) -> None:
            if stop():
                raise KeyboardInterrupt

        indices = batch["index"].tolist()
        seeds = [pair_seed(self.cfg.ACCELERATE.SEED, self.first[index]) for index in indices]
        with self.accelerator.autocast():
            on_device = to_device(batch, self.accelerator.device)
            images = sample_batch(model, on_device, deepcopy(self.scheduler), self.cfg, seeds, check)
        if not torch.isfinite(images).all():
            raise InputError(
                f"the samples of pairs {indices} are not finite; "
                "use ACCELERATE.MIXED_PRECISION no or another checkpoint"
            )
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
                save_png(image, folder / names[row])
        return images, len(missing)

    def _score(self, batch: Batch, images: list[Tensor]) -> dict[int, tuple[Tensor, ...]]:
        """Add a batch to the scores; return the grid rows of its pairs that the grid shows."""
        indices, at_size = batch["index"].tolist(), partial(self.scorer.protocol.at_size, size=self.size)
        pred, target, source = torch.stack(images), batch["img_gt"], at_size(batch["img_copy"])  # (B, 3, *size)
        frame = self.dataset.sizes.frame
        keypoints = torch.stack([person_keypoints(self.dataset.pairs[i], self.size, frame) for i in indices])
        self.scorer.update(pred, target, indices, keypoints)
        if self.baseline is None:
            self.baseline_scorer.update(source, target, indices, keypoints)
        # one less than an even spread: in lists that repeat the same views per person, an even one shows one view
        stride = max(1, len(self.indices) // GRID_PAIRS - 1)
        in_grid = set(self.indices[::stride][:GRID_PAIRS])
        if in_grid.isdisjoint(indices):
            return {}
        columns = (source, at_size(batch["pose_img_tgt"][:, :3]), at_size(target), pred)
        return {index: row for index, row in zip(indices, zip(*columns)) if index in in_grid}

    def _gather(self, made: int, tiles: dict[int, tuple[Tensor, ...]]) -> Evaluation:
        """Combine the results of all processes."""
        own = {"made": made, "tiles": tiles, "scores": self.scorer.state(), "baseline": self.baseline_scorer.state()}
        results = gather_object([own])
        self.scorer.merge(result["scores"] for result in results)
        self.baseline_scorer.merge(result["baseline"] for result in results)
        if self.baseline is None:
            self.baseline = self.baseline_scorer.compute()
        tiles = {index: row for result in results for index, row in result["tiles"].items()}
        return Evaluation(
            scores=self.scorer.compute(),
            baseline=self.baseline,
            skipped=dict(self.scorer.skipped),
            grid=comparison_grid([tiles[index] for index in sorted(tiles)]),
            per_image=[{"file": file_name(self.dataset.pairs[row.pop("index")]), **row} for row in self.scorer.table()],
            made=sum(result["made"] for result in results),
        )
