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
from PIL import Image
from torch.utils.data import Dataset, Sampler
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from configs.errors import InputError
from datasets.keypoints import pose_map
from datasets.pair_lists import Pair

Size = tuple[int, int]  # height, width

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


def open_image(path: str | Path) -> Image.Image:
    """A decoded RGB image.

    Raises:
        InputError: there is no such file, or it is not a whole image.
    """
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: cannot be read as an image ({error}); replace this file") from None


class Photos:
    """Photos at the sizes a model reads, the first `capacity` of them kept in memory as 8-bit pixels.

    Nothing random happens before the resize, so a kept photo equals a fresh one.
    """

    def __init__(self, capacity: int = 0) -> None:
        self.capacity = capacity
        self._kept: dict[tuple[Path, Size], torch.Tensor] = {}

    def at(self, path: Path, size: Size) -> torch.Tensor:
        """The photo (3, *size) in [-1, 1].

        Raises:
            InputError: it cannot be read.
        """
        key = path, tuple(size)
        pixels = self._kept.get(key)
        if pixels is None:
            pixels = resize_to_bytes(open_image(path), size)
            if len(self._kept) < self.capacity:
                self._kept[key] = pixels
        return normalize(pixels.float().div_(255))


def resize_to_tensor(image: Image.Image, size: Size) -> torch.Tensor:
    """Resize with PIL's antialiased bicubic filter; (3, height, width) float32 in [0, 1]."""
    return resize_to_bytes(image, size).float().div_(255)


def resize_to_bytes(image: Image.Image, size: Size) -> torch.Tensor:
    """As `resize_to_tensor`, (3, height, width) uint8."""
    return F.pil_to_tensor(F.resize(image, list(size), InterpolationMode.BICUBIC, antialias=True))


def normalize(image: torch.Tensor) -> torch.Tensor:
    """[0, 1] to [-1, 1]."""
    return image.sub(0.5).div_(0.5)


class TrainPairs(Dataset):
    """Training items, with the random changes of the condition photo.

    Args:
        pairs: what to load.
        sizes: of images, pose maps and keypoints.
        seed: of all random choices, together with the epoch and the index of an item.
        min_scale: least part of the source photo that the condition photo shows; 1 for all of it.
        mask: block masking of the condition photo; None for none.
        kept_photos: resized photos kept in memory by each process that loads items.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        sizes: PairSizes,
        seed: int,
        min_scale: float = 1.0,
        mask: MaskSettings | None = None,
        kept_photos: int = 0,
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
        self.photos = Photos(kept_photos)
        # In shared memory, so that workers that outlive an epoch see the next one's number.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Choose the random numbers of `epoch`; call it before iterating over the loader."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """One item; the same for the same seed, epoch and index.

        Returns:
            img_src, img_tgt (3, *sizes.gt), img_cond (3, *sizes.cond): float32 in [-1, 1];
            pose_img_src, pose_img_tgt (21, *sizes.pose): float32 in [0, 1];
            mask (patches down, patches across): bool, True where masked, only with mask settings;
            index: int64 scalar.

        Raises:
            InputError: an image cannot be read.
        """
        pair = self.pairs[index]
        rng = np.random.default_rng((ITEM_STREAM, self.seed, self._epoch.item(), index))
        item = {
            "img_src": self.photos.at(pair.source_path, self.sizes.gt),
            "img_tgt": self.photos.at(pair.target_path, self.sizes.gt),
            "img_cond": self._condition_photo(pair.source_path, rng),
            "pose_img_src": pose_map(pair.source_keypoints, self.sizes.pose, self.sizes.frame),
            "pose_img_tgt": pose_map(pair.target_keypoints, self.sizes.pose, self.sizes.frame),
            "index": torch.tensor(index),
        }
        if self.mask:
            item["mask"] = self._draw_mask(self.mask, rng)
        return item

    def _condition_photo(self, path: Path, rng: np.random.Generator) -> torch.Tensor:
        if self.min_scale < 1:
            source = open_image(path)
            aspect = self.sizes.cond[1] / self.sizes.cond[0]
            box = random_crop_box(
                (source.height, source.width), (self.min_scale, 1.0), (aspect * 3 / 4, aspect * 4 / 3), rng
            )
            photo = normalize(resize_to_tensor(F.crop(source, *box), self.sizes.cond))
        else:
            photo = self.photos.at(path, self.sizes.cond)
        return F.hflip(photo) if rng.random() < 0.5 else photo

    def _draw_mask(self, settings: MaskSettings, rng: np.random.Generator) -> torch.Tensor:
        choice = rng.integers(len(settings.ratios))
        ratio = settings.ratios[choice] + settings.ratio_vars[choice] * rng.uniform(-1, 1)
        grid = (self.sizes.cond[0] // settings.patch_size, self.sizes.cond[1] // settings.patch_size)
        return torch.from_numpy(block_mask(grid, ratio, settings.aspect_ratio, rng))


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
            img_gt (3, *test_size): the target, float32 in [0, 1].

        Raises:
            InputError: an image cannot be read.
        """
        pair = self.pairs[index]
        source, target = open_image(pair.source_path), open_image(pair.target_path)
        return {
            "img_src": normalize(resize_to_tensor(source, self.sizes.gt)),
            "img_tgt": normalize(resize_to_tensor(target, self.sizes.gt)),
            "img_gt": resize_to_tensor(target, self.test_size),
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
