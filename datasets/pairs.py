"""Pairs of photos as training and test items, and the order in which training goes through them.

Every random choice of a training item follows from (seed, epoch, index) alone, and every batch from (seed,
epoch, step): the number of workers, of processes and of accumulation steps changes nothing.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler
from torchvision.transforms import functional as F

from datasets.keypoints import gaussian_centres, gaussian_maps, pose_map
from datasets.pair_inputs import FileInputs, Inputs
from datasets.pair_lists import Pair
from utils.errors import InputError
from utils.image_files import Size, open_image
from utils.image_tensors import normalize, resize_to_bytes, resize_to_tensor, unit_range

SIDES = ("src", "tgt")  # of a pair: the source in its own pose, and the target
ITEM_STREAM, ORDER_STREAM = 1, 2  # keep the random numbers of items and of batch order apart


@dataclass(frozen=True)
class PairSizes:
    """The sizes (height, width) at which a pair reaches the model, and what its keypoints refer to.

    Attributes:
        gt: of the ground truths.
        cond: of the condition photo.
        pose: of the pose maps.
        frame: of the frame the keypoints lie in.
    """

    gt: Size
    cond: Size
    pose: Size
    frame: Size


@dataclass(frozen=True)
class MaskSettings:
    """Block masking of the condition photo (`INPUT.COND.PRED_*`).

    Attributes:
        patch_size: side of a patch in pixels of the condition photo.
        ratios, ratio_vars: a mask covers ratios[i] ± ratio_vars[i] of the patches, i drawn for every sample.
        aspect_ratio: least and greatest height / width of a block.
    """

    patch_size: int
    ratios: tuple[float, ...]
    ratio_vars: tuple[float, ...]
    aspect_ratio: tuple[float, float]

    def __post_init__(self) -> None:
        if not self.ratios or len(self.ratios) != len(self.ratio_vars):
            raise InputError(
                f"PRED_RATIO has {len(self.ratios)} values and PRED_RATIO_VAR "
                f"{len(self.ratio_vars)}; expected the same number, at least one"
            )
        if not 0 < self.aspect_ratio[0] <= self.aspect_ratio[1]:
            raise InputError(f"PRED_ASPECT_RATIO is {self.aspect_ratio}; expected 0 < least <= greatest")


def block_mask(grid: Size, ratio: float, aspect_ratio: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Mask about `ratio` of a grid of patches with rectangles (BEiT, arXiv 2106.08254, Algorithm 1).

    Args:
        grid: patches (down, across).
        ratio: part of the patches to mask; it is never exceeded.
        aspect_ratio: least and greatest height / width of a rectangle, drawn uniformly in the logarithm.
        rng: source of randomness.

    Returns:
        bool array of shape `grid`, True where masked.
    """
    rows, columns = grid
    least = (min(grid) // 3) ** 2
    log_aspect = np.log(aspect_ratio)
    wanted = ratio * rows * columns
    mask = np.zeros(grid, dtype=bool)

    def add_block(left: float) -> bool:
        """Mask one rectangle that adds at least one and at most `left` patches; False after ten attempts."""
        for _ in range(10):
            area = least + (left - least) * rng.random()
            aspect = math.exp(rng.uniform(*log_aspect))
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if height >= rows or width >= columns:
                continue
            top, start = rng.integers(rows - height + 1), rng.integers(columns - width + 1)
            block = mask[top : top + height, start : start + width]
            if 0 < block.size - block.sum() <= left:
                block[:] = True
                return True
        return False

    while mask.sum() < wanted and add_block(wanted - mask.sum()):
        pass
    return mask


def random_crop_box(
    size: Size, scale: tuple[float, float], ratio: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """A box covering a random part of an image, as torchvision's RandomResizedCrop draws it.

    Args:
        size: (height, width) of the image.
        scale: least and greatest part of its area.
        ratio: least and greatest width / height, drawn uniformly in the logarithm.
        rng: source of randomness.

    Returns:
        top, left, height, width in pixels; when ten draws do not fit, the largest centred box that does.
    """
    height, width = size
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(*np.log(ratio)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
    return (height - h) // 2, (width - w) // 2, h, w


class TrainPairs(Dataset):
    """Training items, with the random changes of the condition photo.

    Args:
        pairs: what to load.
        sizes: of images, pose maps and keypoints.
        seed: of all random choices, together with the epoch and the index of an item.
        min_scale: least part of the source photo that the condition photo shows; 1 for all of it.
        mask: block masking of the condition photo; None for none.
        sides: those of a pair that are trained, some of SIDES; items hold nothing of the others.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        sizes: PairSizes,
        seed: int,
        min_scale: float = 1.0,
        mask: MaskSettings | None = None,
        sides: Sequence[str] = SIDES,
    ) -> None:
        if not 0 < min_scale <= 1:
            raise InputError(f"MIN_SCALE is {min_scale}; expected more than 0 and at most 1")
        if mask and any(side % mask.patch_size for side in sizes.cond):
            raise InputError(
                f"the condition photo of {sizes.cond[0]} x {sizes.cond[1]} pixels does not divide "
                f"into patches of {mask.patch_size}"
            )
        self.pairs = pairs
        self.sizes = sizes
        self.seed = seed
        self.min_scale = min_scale
        self.mask = mask
        self.sides = sides
        self.inputs: Inputs = FileInputs(sizes.gt, sizes.cond, sizes.pose, sizes.frame)  # or cached ones
        # In shared memory, so that workers that outlive an epoch see the next one's number.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Choose the random numbers of `epoch`; call it before iterating over the loader."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """One item, as small as it can be; the same for the same seed, epoch and index. `unpack` takes batches.

        Returns:
            img_src, img_tgt (3, *sizes.gt): uint8; where the inputs have posteriors, posterior_src and
            posterior_tgt (2, C, h, w) instead;
            img_cond (3, *sizes.cond): uint8, to be mirrored where flip is True;
            skeleton_src, skeleton_tgt (3, *sizes.pose): uint8;
            keypoints_src, keypoints_tgt (18, 2): where to put the Gaussians, see `gaussian_centres`;
            mask (patches down, patches across): bool, True where masked, only with mask settings;
            index: int64 scalar.

        Raises:
            InputError: an image cannot be read.
        """
        pair = self.pairs[index]
        rng = np.random.default_rng((ITEM_STREAM, self.seed, self._epoch.item(), index))
        item = {"img_cond": self._condition_photo(pair.source_path, rng), "flip": torch.tensor(rng.random() < 0.5)}
        photos = {
            "src": (pair.source_path, pair.source_keypoints),
            "tgt": (pair.target_path, pair.target_keypoints),
        }
        for side in self.sides:
            path, keypoints = photos[side]
            truth = self.inputs.truth(path)
            item["img_" + side if truth.dtype == torch.uint8 else "posterior_" + side] = truth
            item["skeleton_" + side] = self.inputs.skeleton(path, keypoints)
            item["keypoints_" + side] = gaussian_centres(keypoints, self.sizes.pose, self.sizes.frame)
        item["index"] = torch.tensor(index)
        if self.mask:
            item["mask"] = self._draw_mask(self.mask, rng)
        return item

    def _condition_photo(self, path: Path, rng: np.random.Generator) -> torch.Tensor:
        if self.min_scale == 1:
            return self.inputs.photo(path)
        source = open_image(path)
        aspect = self.sizes.cond[1] / self.sizes.cond[0]
        box = random_crop_box(
            (source.height, source.width), (self.min_scale, 1.0), (aspect * 3 / 4, aspect * 4 / 3), rng
        )
        return resize_to_bytes(F.crop(source, *box), self.sizes.cond)

    def _draw_mask(self, settings: MaskSettings, rng: np.random.Generator) -> torch.Tensor:
        choice = rng.integers(len(settings.ratios))
        ratio = settings.ratios[choice] + settings.ratio_vars[choice] * rng.uniform(-1, 1)
        grid = (self.sizes.cond[0] // settings.patch_size, self.sizes.cond[1] // settings.patch_size)
        return torch.from_numpy(block_mask(grid, ratio, settings.aspect_ratio, rng))


def unpack(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A batch of training items as the model takes it, computed on the device it is on.

    Returns:
        img_src, img_tgt (B, 3, *sizes.gt) and img_cond (B, 3, *sizes.cond): float32 in [-1, 1];
        pose_img_src, pose_img_tgt (B, 21, *sizes.pose): float32 in [0, 1]; what else is in `batch` as it is.
        Of a side that the items do not hold, nothing.
    """
    batch = dict(batch)
    flip = batch.pop("flip").view(-1, 1, 1, 1)
    for name in ("img_src", "img_tgt", "img_cond"):
        if name in batch:
            batch[name] = normalize(unit_range(batch[name]))
    batch["img_cond"] = torch.where(flip, batch["img_cond"].flip(-1), batch["img_cond"])
    for side in SIDES:
        if f"skeleton_{side}" in batch:
            skeleton = unit_range(batch.pop(f"skeleton_{side}"))  # (B, 3, h', w')
            gaussians = gaussian_maps(batch.pop(f"keypoints_{side}"), skeleton.shape[2:])  # (B, 18, h', w')
            batch[f"pose_img_{side}"] = torch.cat([skeleton, gaussians], dim=1)
    return batch


class TestPairs(Dataset):
    """Test items; nothing random. The names of item i are those of `pairs[i]`.

    Args:
        pairs: what to load.
        sizes: of images, pose maps and keypoints.
        test_size: (height, width) at which generated images are judged.
    """

    __test__ = False  # no test case of pytest

    def __init__(self, pairs: Sequence[Pair], sizes: PairSizes, test_size: Size) -> None:
        self.pairs = pairs
        self.sizes = sizes
        self.test_size = test_size

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """One item.

        Returns:
            as `TrainPairs` without mask, the condition photo unchanged, and
            img_gt, img_copy (3, *test_size): target, and the source in its place, float32 in [0, 1].

        Raises:
            InputError: an image cannot be read.
        """
        pair = self.pairs[index]
        source, target = open_image(pair.source_path), open_image(pair.target_path)
        return {
            "img_src": normalize(resize_to_tensor(source, self.sizes.gt)),
            "img_tgt": normalize(resize_to_tensor(target, self.sizes.gt)),
            "img_gt": resize_to_tensor(target, self.test_size),
            "img_copy": resize_to_tensor(source, self.test_size),
            "img_cond": normalize(resize_to_tensor(source, self.sizes.cond)),
            "pose_img_src": pose_map(pair.source_keypoints, self.sizes.pose, self.sizes.frame),
            "pose_img_tgt": pose_map(pair.target_keypoints, self.sizes.pose, self.sizes.frame),
            "index": torch.tensor(index),
        }


class GlobalBatchSampler(Sampler[list[int]]):
    """Micro-batches of one process, such that optimizer step k sees the same pairs in any arrangement.

    An epoch is one permutation of all pairs, cut into global batches; a last one that is not full is left
    out. A global batch is cut into `accumulation` micro-batches, each of them into one contiguous part a
    process.

    Args:
        n: number of pairs.
        global_batch: pairs an optimizer step, over all processes and accumulation steps.
        rank, world: this process, and how many there are.
        accumulation: micro-batches an optimizer step.
        seed: of the permutations, together with the epoch.

    Raises:
        InputError: the global batch does not divide, or there are not enough pairs for one.
    """

    def __init__(self, n: int, global_batch: int, rank: int, world: int, accumulation: int, seed: int) -> None:
        if global_batch < 1 or global_batch % (world * accumulation):
            parts = world * accumulation
            raise InputError(
                f"a batch of {global_batch} does not divide over {world} processes x "
                f"{accumulation} accumulation steps; choose a multiple of {parts}"
            )
        if n < global_batch:
            raise InputError(f"{n} pairs are fewer than a batch of {global_batch}; choose a smaller batch")
        self.n, self.global_batch = n, global_batch
        self.rank, self.world, self.accumulation = rank, world, accumulation
        self.seed = seed
        self.epoch = 0
        self.first_step = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the permutation of `epoch`, from its first step."""
        self.epoch = epoch
        self.first_step = 0

    def skip(self, steps: int) -> None:
        """Leave out the first `steps` optimizer steps of the present epoch, to go on where a run stopped."""
        self.first_step = steps

    def __len__(self) -> int:
        """Micro-batches of a whole epoch."""
        return self.n // self.global_batch * self.accumulation

    def global_batches(self, epoch: int) -> np.ndarray:
        """(steps, global batch) indices of the pairs of every optimizer step of an epoch."""
        rng = np.random.default_rng((ORDER_STREAM, self.seed, epoch))
        steps = self.n // self.global_batch
        return rng.permutation(self.n)[: steps * self.global_batch].reshape(steps, -1)

    def __iter__(self) -> Iterator[list[int]]:
        batches = self.global_batches(self.epoch)
        parts = batches.reshape(len(batches), self.accumulation, self.world, -1)  # (steps, A, world, batch)
        for micro_batch in parts[self.first_step :, :, self.rank].reshape(-1, parts.shape[-1]):
            yield micro_batch.tolist()
