"""Training and test items of image pairs, and the order of pairs in training.

The random choices of a training item depend on (seed, epoch, index) alone, and a batch depends on (seed, epoch, step)
alone: the number of workers, processes and accumulation steps changes nothing.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler
from torchvision.transforms import functional as F

from datasets.pair_inputs import FileImage, FileInputs, PairSizes
from datasets.pair_lists import Pair
from datasets.pose_maps import gaussian_centres, pose_map, pose_maps
from utils.errors import InputError
from utils.image_files import Size, open_image
from utils.image_tensors import normalize, resize_to_bytes, resize_to_tensor, signed_range

SIDES = ("src", "tgt")  # of a pair: the source image in its own pose, and the target image
ITEM_STREAM, ORDER_STREAM = 1, 2  # separate the random numbers of items and of the order


@dataclass(frozen=True)
class MaskSettings:
    """Block masking of the source image (`INPUT.COND.PRED_*`)."""

    patch_size: int  # side of a patch in pixels of the source image
    ratios: Sequence[float]  # a mask covers ratios[i] ± ratio_vars[i] of the patches, with i drawn for each item
    ratio_vars: Sequence[float]
    aspect_ratio: Sequence[float]  # minimum and maximum height / width of a block


def block_mask(grid: Size, ratio: float, aspect_ratio: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Mask up to `ratio` of a `grid` (rows, columns) of patches with rectangles (BEiT, arXiv 2106.08254, Algorithm 1).

    The height / width of a rectangle is drawn log-uniformly between the two values of `aspect_ratio`.

    Returns:
        bool array of shape `grid`, True for masked patches.
    """
    rows, columns = grid
    least = (min(grid) // 3) ** 2
    target = ratio * rows * columns
    mask = np.zeros(grid, dtype=bool)
    attempts = 0  # since the last rectangle
    while mask.sum() < target and attempts < 10:
        attempts += 1
        left = target - mask.sum()
        area = least + (left - least) * rng.random()
        aspect = math.exp(rng.uniform(*np.log(aspect_ratio)))
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if height >= rows or width >= columns:
            continue
        top, start = rng.integers(rows - height + 1), rng.integers(columns - width + 1)
        block = mask[top : top + height, start : start + width]
        if 0 < block.size - block.sum() <= left:
            block[:] = True
            attempts = 0
    return mask


def random_crop_box(
    size: Size, scale: tuple[float, float], ratio: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draw a crop box like torchvision's RandomResizedCrop, whose `scale` and `ratio` (width / height) it shares.

    Returns:
        top, left, height, width in pixels; if ten draws do not fit, the largest centered box.
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


@dataclass(eq=False)
class TrainPairs(Dataset):
    """Training items, with augmentation of the source image."""

    pairs: Sequence[Pair]
    sizes: PairSizes
    seed: int  # of all random choices, together with the epoch and the index of an item
    min_scale: float = 1.0  # minimum share of the source image that a random crop keeps; 1 does not crop
    mask: MaskSettings | None = None  # block masking of the source image
    sides: Sequence[str] = SIDES  # the trained sides of a pair; items contain nothing of the others

    def __post_init__(self) -> None:
        self.inputs = FileInputs(self.sizes)
        # in shared memory, so that loader processes kept between epochs see the next epoch
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Select the random numbers of `epoch`; call it before iterating over the loader."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Return one item in compact form, which `unpack` expands; it depends on seed, epoch and index alone.

        Returns:
            img_src, img_tgt (3, *sizes.gt): uint8, or posterior_src, posterior_tgt (2, C, h, w) if the inputs have
            posteriors;
            img_cond (3, *sizes.cond): uint8, to be mirrored if flip is True;
            skeleton_src, skeleton_tgt (3, *sizes.pose): uint8;
            keypoints_src, keypoints_tgt (18, 2): centers of the Gaussians, see `gaussian_centres`;
            mask (rows, columns): bool, True for masked patches, only with mask settings;
            index: int64 scalar.

        Raises:
            InputError: an image cannot be read.
        """
        pair = self.pairs[index]
        rng = np.random.default_rng((ITEM_STREAM, self.seed, self._epoch.item(), index))
        images = {
            "src": self.inputs.image(pair.source_path, pair.source_keypoints),
            "tgt": self.inputs.image(pair.target_path, pair.target_keypoints),
        }
        truth = "img" if self.inputs.latents == "none" else "posterior"
        item = {"img_cond": self._source_image(images["src"], rng), "flip": torch.tensor(rng.random() < 0.5)}
        for side in self.sides:
            image = images[side]
            item[f"{truth}_{side}"] = image.truth
            item[f"skeleton_{side}"] = image.skeleton
            item[f"keypoints_{side}"] = gaussian_centres(image.keypoints, self.sizes.pose, self.sizes.frame)
        item["index"] = torch.tensor(index)
        if self.mask:
            item["mask"] = self._draw_mask(self.mask, rng)
        return item

    def _source_image(self, image: FileImage, rng: np.random.Generator) -> torch.Tensor:
        if self.min_scale == 1:
            return image.photo
        source = image.pixels
        aspect = self.sizes.cond[1] / self.sizes.cond[0]
        size, scale, ratio = (source.height, source.width), (self.min_scale, 1.0), (aspect * 3 / 4, aspect * 4 / 3)
        box = random_crop_box(size, scale, ratio, rng)
        return resize_to_bytes(F.crop(source, *box), self.sizes.cond)

    def _draw_mask(self, settings: MaskSettings, rng: np.random.Generator) -> torch.Tensor:
        choice = rng.integers(len(settings.ratios))
        ratio = settings.ratios[choice] + settings.ratio_vars[choice] * rng.uniform(-1, 1)
        grid = (self.sizes.cond[0] // settings.patch_size, self.sizes.cond[1] // settings.patch_size)
        return torch.from_numpy(block_mask(grid, ratio, settings.aspect_ratio, rng))


def unpack(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Expand a batch of training items on its device to the input of the model.

    Returns:
        img_src, img_tgt (B, 3, *sizes.gt) and img_cond (B, 3, *sizes.cond): float32 in [-1, 1];
        pose_img_src, pose_img_tgt (B, 21, *sizes.pose): float32 in [0, 1]; for the sides that the items contain;
        all other values of `batch`, unchanged.
    """
    batch = dict(batch)
    flip = batch.pop("flip").view(-1, 1, 1, 1)
    batch["img_cond"] = torch.where(flip, batch["img_cond"].flip(-1), batch["img_cond"])
    for name in ("img_src", "img_tgt", "img_cond"):
        if name in batch:
            batch[name] = signed_range(batch[name])
    for side in SIDES:
        if f"skeleton_{side}" in batch:
            skeletons, centres = batch.pop(f"skeleton_{side}"), batch.pop(f"keypoints_{side}")
            batch[f"pose_img_{side}"] = pose_maps(skeletons, centres)
    return batch


@dataclass(eq=False)
class TestPairs(Dataset):
    """Test items, without augmentation. Item i belongs to `pairs[i]`."""

    __test__ = False  # not a pytest class

    pairs: Sequence[Pair]
    sizes: PairSizes
    test_size: Size  # (height, width) at which generated images are evaluated

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Return the values of `unpack` without mask and batch dimension, with the whole source image as img_cond, and
        img_gt, img_copy (3, *test_size): the target image, and the source image in its place, float32 in [0, 1].

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


@dataclass(eq=False)
class GlobalBatchSampler(Sampler[list[int]]):
    """Micro-batches of one process such that an optimizer step has the same pairs for any number of processes.

    An epoch is a permutation of all pairs, split into global batches; an incomplete last one is dropped. A global batch
    is split into `accumulation` micro-batches, and each of these into one contiguous part per process.

    Raises:
        InputError: the global batch is not divisible, or there are not enough pairs for one.
    """

    n: int  # number of pairs
    global_batch: int  # pairs per optimizer step, over all processes and accumulation steps
    rank: int  # of this process
    world: int  # number of processes
    accumulation: int  # micro-batches per optimizer step
    seed: int  # of the permutations, together with the epoch

    def __post_init__(self) -> None:
        parts = self.world * self.accumulation
        if self.global_batch < 1 or self.global_batch % parts:
            split = f"{self.world} processes x {self.accumulation} accumulation steps; choose a multiple of {parts}"
            raise InputError(f"a batch of {self.global_batch} is not divisible by {split}")
        if self.n < self.global_batch:
            raise InputError(f"{self.n} pairs are fewer than a batch of {self.global_batch}; choose a smaller batch")
        self.epoch = self.first_step = 0

    def set_epoch(self, epoch: int) -> None:
        """Select the permutation of `epoch`, from its first step."""
        self.epoch, self.first_step = epoch, 0

    def skip(self, steps: int) -> None:
        """Skip the first `steps` optimizer steps of the current epoch, to resume a run."""
        self.first_step = steps

    def __len__(self) -> int:
        """Return the number of micro-batches in a whole epoch."""
        return self.n // self.global_batch * self.accumulation

    def global_batches(self, epoch: int) -> np.ndarray:
        """Return the pair indices (steps, global batch) of every optimizer step of an epoch."""
        rng = np.random.default_rng((ORDER_STREAM, self.seed, epoch))
        steps = self.n // self.global_batch
        return rng.permutation(self.n)[: steps * self.global_batch].reshape(steps, -1)

    def __iter__(self) -> Iterator[list[int]]:
        batches = self.global_batches(self.epoch)
        parts = batches.reshape(len(batches), self.accumulation, self.world, -1)  # (steps, A, world, batch)
        for micro_batch in parts[self.first_step :, :, self.rank].reshape(-1, parts.shape[-1]):
            yield micro_batch.tolist()
