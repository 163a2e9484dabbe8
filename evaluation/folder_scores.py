"""Score folders of generated images of any method."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from evaluation.grids import comparison_grid
from evaluation.real_set import give_real_set
from evaluation.scores import Scorer
from evaluation.tables import COLUMNS, confidence_intervals, write_per_image, write_scores
from inference.drawing import save_image

RANKED_BY = ("LPIPS", "SSIM", "SSIM_256", "PSNR")  # the first available score ranks the examples
EXAMPLES = 3  # pairs of each rank


@dataclass(frozen=True)
class Result:
    """The scores of a folder; see `Scorer.table` and `confidence_intervals`."""

    scores: dict[str, float]
    skipped: dict[str, str]
    table: list[dict[str, float]]
    intervals: dict[str, tuple[float, float]]


@dataclass
class FolderScores:
    """Scores folders of images of one test set; all processes must call `score` and `baseline`.

    Args:
        accelerator: its processes share the work.
        pairs: the test set.
        frame: (height, width) of the keypoint frame.
        size: (height, width) at which images are scored.
        protocol: name of the protocol.
        real_images: returns the real set of FID; called only if FID can be computed.
        weights: folder of the network weights.
        batch_size, workers: batch size and number of processes that read images; they do not change scores.
    """

    accelerator: Accelerator
    pairs: PairList
    frame: Size
    size: Size
    protocol: str
    real_images: Callable[[], Sequence[Path]]
    weights: str
    batch_size: int
    workers: int

    def __post_init__(self) -> None:
        self.scorer = Scorer(self.accelerator.device, self.weights, self.protocol)
        self.baseline_scorer = self.scorer.empty()
        self._in_baseline: set[int] = set()  # indices that this process has added to the baseline

    def score(self, paths: Mapping[int, Path], title: str) -> Result:
        """Score generated images, given by index of their pair."""
        accelerator = self.accelerator
        give_real_set(self.scorer, self.real_images, self.size, self.weights, accelerator, self.workers)
        scorer, dataset = self.scorer.empty(), self._images(paths)
        own = range(accelerator.process_index, len(dataset), accelerator.num_processes)
        batches = loader(dataset, self.workers, accelerator.device, sampler=own, batch_size=self.batch_size)
        hidden = None if accelerator.is_main_process else True
        for batch in tqdm(batches, f"scoring {title}", leave=False, disable=hidden):
            scorer.update(batch["pred"], batch["target"], batch["index"], batch["keypoints"])
            self._add_to_baseline(batch)
        scorer.merge(gather_object([scorer.state()]))
        table = scorer.table()
        return Result(scorer.compute(), dict(scorer.skipped), table, confidence_intervals(table))

    def baseline(self) -> dict[str, float]:
        """Score the source images in place of all images scored so far."""
        self.baseline_scorer.real = self.scorer.real
        self.baseline_scorer.merge(gather_object([self.baseline_scorer.state()]))
        return self.baseline_scorer.compute()

    def _add_to_baseline(self, batch: dict[str, torch.Tensor]) -> None:
        rows = [row for row, index in enumerate(batch["index"].tolist()) if index not in self._in_baseline]
        if rows:
            self.baseline_scorer.update(*(batch[name][rows] for name in ("source", "target", "index", "keypoints")))
            self._in_baseline.update(batch["index"].tolist())

    def examples(self, paths: Mapping[int, Path], result: Result) -> Image.Image | None:
        """Draw the best, median, and worst pairs by the first available score of `RANKED_BY`; None without any."""
        name = next((name for name in RANKED_BY if result.table and name in result.table[0]), None)
        if name is None:
            return None
        ranked = sorted(result.table, key=lambda row: row[name], reverse=not COLUMNS[name].lower_is_better)
        count, middle = min(EXAMPLES, len(ranked)), max(0, len(ranked) // 2 - EXAMPLES // 2)
        ranks = {"best": ranked[:count], "median": ranked[middle : middle + count], "worst": ranked[-count:]}
        dataset = self._images(paths)
        chosen = [(rank, row) for rank, rows in ranks.items() for row in rows]
        tiles = [self._tiles(dataset[dataset.indices.index(row["index"])]) for _, row in chosen]
        return comparison_grid(tiles, [f"{rank}: {name} {row[name]:.4f}" for rank, row in chosen])

    def write(self, folder: Path, label: str, paths: Mapping[int, Path], result: Result, meta: dict) -> None:
        """Write metrics.json, metrics.csv, metrics_per_image.csv, and best_median_worst.png to a folder."""
        intervals = {f"{name}_95": list(interval) for name, interval in result.intervals.items()}
        left_out = [file_name(pair) for index, pair in enumerate(self.pairs) if index not in paths]
        meta = {"method": label, **meta, "images": len(paths), **intervals}
        write_scores(folder, result.scores, {**meta, "skipped": result.skipped, "left_out": left_out})
        rows = [{"file": file_name(self.pairs[row["index"]]), **row} for row in result.table]
        write_per_image(folder, [{name: value for name, value in row.items() if name != "index"} for row in rows])
        if examples := self.examples(paths, result):
            save_image(examples, folder / "best_median_worst.png")

    def _images(self, paths: Mapping[int, Path]) -> GeneratedImages:
        return GeneratedImages(paths, self.pairs, self.size, self.frame, self.scorer.protocol)

    def _tiles(self, item: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        """Return the source, pose, target, and generated image (3, H, W) uint8 of a pair."""
        keypoints = self.pairs[item["index"]].target_keypoints
        pose = torch.from_numpy(skeleton_image(keypoints, self.size, self.frame)).permute(2, 0, 1)
        return [item["source"], pose, (item["target"] * 255).round().to(torch.uint8), item["pred"]]
