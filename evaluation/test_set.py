"""Sampling a test set over all processes and scoring it: the one way in which this project does it.

The images depend on the seed and on a pair's index alone. On the CPU every image is computed on its own by
one thread, several threads at once, so that it is the same to the last bit for any batch size, number of
processes and number of threads. On a GPU every call has TEST.MICRO_BATCH_SIZE rows, the last batch being
filled up, so that images are the same for any number of processes; between batch sizes kernels may round
differently.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from diffusers import SchedulerMixin
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from yacs.config import CfgNode

from configs.values import value_at
from datasets import TestPairs
from datasets.loaders import loader, to_device
from datasets.pair_lists import file_name, person_keypoints
from diffusion.guidance import Branch
from diffusion.randomness import pair_generators, pair_seed
from diffusion.sampling import OnStep, invert
from diffusion.schedulers import load_scheduler, most_steps
from evaluation.protocols import SET_DISTANCES
from evaluation.real_set import real_features
from evaluation.scores import Scorer
from evaluation.tables import BASELINE, json_numbers, score_table, skipped_lines, write_per_image, write_scores
from inference.generation import generate, guided_denoiser, sampling_scheduler, starting_noise
from inference.sampling_settings import SamplingSettings
from models import CFLD
from models.vae import encode_image
from utils.errors import InputError
from utils.files import in_checkout, whole_file
from utils.processes import on_main

from .grids import comparison_grid, first_of_each_name, read_png, save_png

GRID_PAIRS = 8  # rows of the grid


@torch.no_grad()
def sample_batch(
    model: CFLD,
    batch: dict[str, Tensor],
    scheduler: SchedulerMixin,
    cfg: CfgNode,
    seeds: Sequence[int],
    on_step: OnStep | None = None,
) -> Tensor:
    """Images of the source persons in the target poses.

    Args:
        model: in evaluation mode.
        batch: img_cond (B, 3, h, w) in [-1, 1] and pose_img_tgt (B, 21, h', w'); for DDIM inversion also
            img_src (B, 3, H, W) and pose_img_src.
        scheduler: of TEST.NUM_INFERENCE_STEPS steps; its state changes.
        cfg: a checked config.
        seeds: B seeds, of each image's noise.
        on_step: as of `sample`.

    Returns:
        (B, 3, H, W) in [0, 1], of INPUT.GT.IMG_SIZE; NaN where the model's values are not finite.
    """
    generators = pair_generators(seeds)
    conditions = model.encode(batch["img_cond"], batch["pose_img_tgt"])
    if cfg.TEST.DDIM_INVERSION_STEPS > 0:
        latents = _inverted_source(model, batch, cfg)
    else:
        device = batch["img_cond"].device
        latents = starting_noise(model.unet, model.vae, cfg.INPUT.GT.IMG_SIZE, generators, device)
    settings = SamplingSettings.of(cfg)
    return generate(model, model.unet, model.vae, scheduler, conditions, latents, settings, generators, on_step)


def _inverted_source(model: CFLD, batch: dict[str, Tensor], cfg: CfgNode) -> Tensor:
    """The noise (B, 4, h, w) that DDIM finds behind the sources' latents."""
    test = cfg.TEST
    switches = {
        "prompt": not test.DDIM_INVERSION_UNCONDITIONAL,
        "pose": test.DDIM_INVERSION_DOWN_BLOCK_GUIDANCE,
        "appearance": test.DDIM_INVERSION_UP_BLOCK_GUIDANCE,
    }
    branch = Branch(kind for kind, on in switches.items() if on)
    conditions = model.encode(batch["img_cond"], batch["pose_img_src"])
    inverse = load_scheduler("ddim_inverse", cfg.MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH)
    latents = encode_image(model.vae, batch["img_src"]).float()
    denoise = guided_denoiser(model, model.unet, conditions, [(branch, 1.0)])
    return invert(denoise, inverse, latents, test.DDIM_INVERSION_STEPS)


@dataclass(frozen=True)
class Evaluation:
    """What came out of sampling a test set.

    Attributes:
        scores, baseline: means by name, of the generated images and of copying the source.
        skipped: why a score is not there, by name.
        grid: source, pose, target and generated image of a few pairs.
        per_image: a row for each test image: its file, then its scores.
        made: how many images were sampled now.
    """

    scores: dict[str, float]
    baseline: dict[str, float]
    skipped: dict[str, str]
    grid: Image.Image
    per_image: list[dict[str, str | float]]
    made: int

    def table(self, label: str = "generated") -> str:
        """The scores beside those of copying the source, and a line for each score that is not there."""
        return "\n".join([score_table({label: self.scores, BASELINE: self.baseline}), *skipped_lines(self.skipped)])

    def write(self, folder: Path, meta: dict) -> None:
        """Write grid.png, metrics.json, metrics.csv and metrics_per_image.csv."""
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(folder / "grid.png") as partial:
            self.grid.save(partial, format="PNG")
        baseline = {f"baseline_{name}": value for name, value in json_numbers(self.baseline).items()}
        write_scores(folder, self.scores, {**meta, "images": len(self.per_image), **baseline, "skipped": self.skipped})
        write_per_image(folder, self.per_image)


class Evaluator:
    """Samples and scores one test set, as often as asked.

    Args:
        cfg: a checked config.
        accelerator: its processes share the work; all of them must call `run`.
        dataset: the test pairs; TEST.NUM_PAIRS of them, evenly spaced, count.
        real_images: finds the real set of FID; called only when FID can be computed.

    Raises:
        InputError: more denoising steps are asked for than the scheduler has, or two pairs would be one file.
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
        self.indices = [i * len(dataset) // count for i in range(count)]  # evenly spaced: not one person's alone
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
        """Raise `InputError` when ACCELERATE.BEST_SCORE cannot be computed for these images and weights."""
        name, blank = self.cfg.ACCELERATE.BEST_SCORE, torch.zeros(1, 3, *self.size, dtype=torch.uint8)
        self.scorer.update(blank, blank, [0])
        self.scorer.reset()
        if name in self.scorer.skipped:
            raise InputError(
                f"ACCELERATE.BEST_SCORE is {name}, which cannot be computed: {self.scorer.skipped[name]}; "
                f"choose one of {', '.join(self.scorer.available)}"
            )

    def run(self, model: CFLD, folder: Path | None = None, stop: Callable[[], bool] = lambda: False) -> Evaluation:
        """Sample every test pair and score it.

        Args:
            model: not wrapped for distributed training.
            folder: where to keep one PNG a pair. Whole images of the right size that are there already are
                scored and not made again, unless TEST.OVERWRITE.
            stop: asked after every denoising step of this process and every batch of FID's real images; true
                ends with KeyboardInterrupt.

        Raises:
            InputError: an image cannot be read, or a sample is not finite.
        """
        self._load_real_images(stop)
        self.scorer.reset()
        state, training = {"rows": {}, "made": 0, "seen": 0}, model.training
        model.eval()
        try:
            with self._progress() as bar, self._sampler(model, stop, bar) as sampled:
                for batch in self._batches():
                    self._score(batch, sampled, folder, state)
                    bar.n = state["seen"]
                    bar.refresh()
        finally:
            model.train(training)
        return self._collect(state)

    def _batches(self):
        """The batches of this process."""
        return self._loader(self.dataset, sampler=self._own(), batch_size=self.cfg.TEST.MICRO_BATCH_SIZE)

    def _loader(self, dataset: Dataset, **order):
        return loader(dataset, self.cfg.TEST.NUM_WORKERS, self.accelerator.device, **order)

    def _own(self) -> list[int]:
        """Indices of the pairs of this process."""
        return self.indices[self.accelerator.process_index :: self.accelerator.num_processes]

    def _progress(self) -> tqdm:
        """A progress bar over the pairs of this process, seen on the main process."""
        hidden = None if self.accelerator.is_main_process else True
        return tqdm(total=len(self._own()), desc="sampling", unit="image", disable=hidden, leave=False)

    @contextmanager
    def _sampler(self, model: CFLD, stop: Callable[[], bool], bar: tqdm):
        """A function from a batch to its images (B, 3, *size) uint8, as the module's docstring says."""
        cfg, device = self.cfg, self.accelerator.device

        def check(*_) -> None:
            if stop():
                raise KeyboardInterrupt

        def sample_rows(batch: dict[str, Tensor], rows: list[int]) -> Tensor:
            seeds = [pair_seed(cfg.ACCELERATE.SEED, self.first[index]) for index in batch["index"][rows].tolist()]
            part = to_device({name: value[rows] for name, value in batch.items()}, device)
            with self.accelerator.autocast():
                images = sample_batch(model, part, deepcopy(self.scheduler), cfg, seeds, check)
            if not torch.isfinite(images).all():
                raise InputError(
                    f"the samples of pairs {batch['index'][rows].tolist()} are not finite; try "
                    "ACCELERATE.MIXED_PRECISION no, or another checkpoint"
                )
            bar.update(len(set(rows)))
            return self.scorer.protocol.at_size(images, self.size)

        if device.type != "cpu":
            micro = cfg.TEST.MICRO_BATCH_SIZE

            def sampled(batch: dict[str, Tensor]) -> Tensor:
                rows = list(range(len(batch["index"])))
                return sample_rows(batch, rows + rows[-1:] * (micro - len(rows)))[: len(rows)]

            yield sampled
            return

        threads = torch.get_num_threads()
        pool = ThreadPoolExecutor(
            min(threads, cfg.TEST.MICRO_BATCH_SIZE), initializer=torch.set_num_threads, initargs=(1,)
        )
        try:
            yield lambda batch: torch.cat(
                list(pool.map(partial(sample_rows, batch), [[row] for row in range(len(batch["index"]))]))
            )
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)

    def _score(self, batch: dict[str, Tensor], sampled: Callable, folder: Path | None, state: dict) -> None:
        """Make or read the images of a batch, and add them to scores and grid."""
        indices = batch["index"].tolist()
        paths = [folder / file_name(self.dataset.pairs[index]) if folder else None for index in indices]
        reuse = folder is not None and not self.cfg.TEST.OVERWRITE
        images = [read_png(path, self.size) if reuse else None for path in paths]
        todo = [row for row, image in enumerate(images) if image is None]
        if todo:
            for row, image in zip(todo, sampled({name: value[todo] for name, value in batch.items()})):
                images[row] = image
                if folder:
                    save_png(image, paths[row])
        state["made"] += len(todo)
        state["seen"] += len(indices)
        pred, target = torch.stack(images), batch["img_gt"]  # (B, 3, *size)
        at_size = partial(self.scorer.protocol.at_size, size=self.size)
        source = at_size(batch["img_copy"])
        pairs, frame = [self.dataset.pairs[index] for index in indices], self.dataset.sizes.frame
        keypoints = torch.stack([person_keypoints(pair, self.size, frame) for pair in pairs])
        self.scorer.update(pred, target, indices, keypoints)
        if self.baseline is None:
            self.baseline_scorer.update(source, target, indices, keypoints)
        # one less than an even spread: lists that hold every person's pairs alike would show one view only
        stride = max(1, len(self.indices) // GRID_PAIRS - 1)
        in_grid = set(self.indices[::stride][:GRID_PAIRS])
        if not in_grid.isdisjoint(indices):
            columns = (source, at_size(batch["pose_img_tgt"][:, :3]), at_size(target), pred)
            state["rows"].update({i: row for i, row in zip(indices, zip(*columns)) if i in in_grid})

    def _load_real_images(self, stop: Callable[[], bool]) -> None:
        """The features of FID's real set, once."""
        weights = in_checkout(self.cfg.TEST.METRICS_PATH)
        give_real_set(self.scorer, self.real_images, self.size, weights, self.accelerator, self._loader, stop)
        self.baseline_scorer.real = self.scorer.real

    def _collect(self, state: dict) -> Evaluation:
        """Put together what the processes have."""
        own = {**state, **{name: scorer.state() for name, scorer in self._scorers().items()}}
        everyone = gather_object([own])
        for name, scorer in self._scorers().items():
            scorer.merge(part[name] for part in everyone)
        if self.baseline is None:
            self.baseline = self.baseline_scorer.compute()
        rows = {index: row for part in everyone for index, row in part["rows"].items()}
        return Evaluation(
            scores=self.scorer.compute(),
            baseline=self.baseline,
            skipped=dict(self.scorer.skipped),
            grid=comparison_grid([rows[index] for index in sorted(rows)]),
            per_image=[{"file": file_name(self.dataset.pairs[row.pop("index")]), **row} for row in self.scorer.table()],
            made=sum(part["made"] for part in everyone),
        )

    def _scorers(self) -> dict[str, Scorer]:
        return {"scores": self.scorer, "baseline": self.baseline_scorer}


def give_real_set(
    scorer: Scorer,
    find: Callable[[], Sequence[Path]],
    size: Sequence[int],
    weights: Path,
    accelerator: Accelerator,
    load: Callable[..., DataLoader],
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Give a scorer FID's real set, unless it has one; where there is none, no FID. All processes must call this.

    Args:
        find: finds the images; called only when FID can be computed.
        size, weights, accelerator, load, stop: as of `real_features`.
    """
    if "FID" not in scorer.available or scorer.real is not None:
        return
    try:
        paths = on_main(accelerator, find)  # all processes do with or without FID
    except InputError as error:
        scorer.skipped |= dict.fromkeys(SET_DISTANCES, str(error))
    else:
        scorer.real = real_features(scorer, paths, size, weights, accelerator, load, stop)
