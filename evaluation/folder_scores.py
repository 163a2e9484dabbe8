"""Scores of folders of generated images, whoever made them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from PIL import Image
from tqdm import tqdm

from datasets import PairList, skeleton_image
from datasets.loaders import loader
from datasets.pair_lists import file_name
from datasets.pairs import Size
from evaluation.generated_images import GeneratedImages
from evaluation.scores import Scorer
from evaluation.tables import COLUMNS, confidence_intervals, write_per_image, write_scores
from utils.files import whole_file

from .grids import comparison_grid
from .test_set import give_real_set

RANKED_BY = ("LPIPS", "SSIM", "SSIM_256", "PSNR")  # the first one there is orders the picture's pairs
SHOWN = 3  # pairs of each kind in the picture


@dataclass
class Result:
    """The scores of one folder."""

    scores: dict[str, float]
    skipped: dict[str, str]
    table: list[dict[str, float]]  # of `Scorer.table`
    intervals: dict[str, tuple[float, float]] = field(init=False)

    def __post_init__(self) -> None:
        self.intervals = confidence_intervals(self.table)


class FolderScores:
    """Scores folders against one test set; every process must take part in `score`.

    Args:
        accelerator: of the processes.
        pairs: the test set.
        frame: (height, width) its keypoints refer to.
        size: (height, width) at which images are judged.
        protocol: its name.
        real_images: finds FID's real set; called only when FID can be computed.
        weights: folder of the networks' weights.
        batch_size, workers: images a step, and processes that read them; they change no score.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        pairs: PairList,
        frame: Size,
        size: Size,
        protocol: str,
        real_images: Callable[[], Sequence[Path]],
        weights: Path,
        batch_size: int,
        workers: int,
    ) -> None:
        self.pairs, self.frame, self.size = pairs, frame, size
        self.real_images, self.weights = real_images, weights
        self.batch_size, self.workers = batch_size, workers
        self.accelerator = accelerator
        self.scorer = Scorer(accelerator.device, weights, protocol)
        self.copies = self.scorer.empty()  # the sources in place of all images scored so far
        self._copied: set[int] = set()  # indices of those that this process has added

    def score(self, paths: Mapping[int, Path], title: str) -> Result:
        """Scores of generated images, by their pairs' indices."""
        give_real_set(self.scorer, self.real_images, self.size, self.weights, self.accelerator, self._load)
        scorer = self.scorer.empty()
        dataset = GeneratedImages(paths, self.pairs, self.size, self.frame, scorer.protocol)
        own = range(self.accelerator.process_index, len(dataset), self.accelerator.num_processes)
        batches = self._load(dataset, sampler=own, batch_size=self.batch_size)
        for batch in tqdm(batches, f"scoring {title}", leave=False, disable=self._hidden()):
            scorer.update(batch["pred"], batch["target"], batch["index"], batch["keypoints"])
            self._add_copies(batch)
        scorer.merge(gather_object([scorer.state()]))
        return Result(scorer.compute(), dict(scorer.skipped), scorer.table())

    def baseline(self) -> dict[str, float]:
        """Scores of copying the source in place of every image that was scored."""
        self.copies.real = self.scorer.real
        self.copies.merge(gather_object([self.copies.state()]))
        return self.copies.compute()

    def _add_copies(self, batch: dict[str, torch.Tensor]) -> None:
        rows = [row for row, index in enumerate(batch["index"].tolist()) if index not in self._copied]
        if rows:
            self.copies.update(*(batch[name][rows] for name in ("source", "target", "index", "keypoints")))
            self._copied.update(batch["index"].tolist())

    def picture(self, paths: Mapping[int, Path], result: Result) -> Image.Image | None:
        """The best, median and worst pairs, by the first score of `RANKED_BY` that there is; None without any."""
        name = next((name for name in RANKED_BY if result.table and name in result.table[0]), None)
        if name is None:
            return None
        ranked = sorted(result.table, key=lambda row: row[name], reverse=not COLUMNS[name].lower_is_better)
        count, middle = min(SHOWN, len(ranked)), max(0, len(ranked) // 2 - SHOWN // 2)
        kinds = {"best": ranked[:count], "median": ranked[middle : middle + count], "worst": ranked[-count:]}
        dataset = GeneratedImages(paths, self.pairs, self.size, self.frame, self.scorer.protocol)
        chosen = [(kind, row) for kind, rows in kinds.items() for row in rows]
        tiles = [self._tiles(dataset[dataset.indices.index(row["index"])]) for _, row in chosen]
        return comparison_grid(tiles, [f"{kind}: {name} {row[name]:.4f}" for kind, row in chosen])

    def write(self, folder: Path, label: str, paths: Mapping[int, Path], result: Result, meta: dict) -> None:
        """Write metrics.json, metrics.csv, metrics_per_image.csv and best_median_worst.png into `folder`."""
        intervals = {f"{name}_95": list(interval) for name, interval in result.intervals.items()}
        left_out = [file_name(pair) for index, pair in enumerate(self.pairs) if index not in paths]
        meta = {
            "method": label,
            **meta,
            "images": len(paths),
            **intervals,
            "skipped": result.skipped,
            "left_out": left_out,
        }
        write_scores(folder, result.scores, meta)
        rows = [{"file": file_name(self.pairs[row["index"]]), **row} for row in result.table]
        write_per_image(folder, [{name: value for name, value in row.items() if name != "index"} for row in rows])
        if picture := self.picture(paths, result):
            with whole_file(folder / "best_median_worst.png") as partial:
                picture.save(partial, format="PNG")

    def _tiles(self, item: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        """Source, pose, target and generated image (3, H, W) uint8."""
        keypoints = self.pairs[item["index"]].target_keypoints
        pose = torch.from_numpy(skeleton_image(keypoints, self.size, self.frame)).permute(2, 0, 1)
        return [item["source"], pose, (item["target"] * 255).round().to(torch.uint8), item["pred"]]

    def _load(self, dataset, **order):
        return loader(dataset, self.workers, self.accelerator.device, **order)

    def _hidden(self) -> bool | None:
        return None if self.accelerator.is_main_process else True
