"""The caches of a training set (INPUT.CACHE); all processes build the missing parts."""

import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from diffusers import AutoencoderKL
from safetensors import SafetensorError
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm
from yacs.config import CfgNode

from datasets import TrainPairs
from datasets.loaders import loader
from datasets.pair_inputs import CachedInputs, FileImage, FileInputs
from datasets.row_cache import RowCache, digest, tensors_digest
from models.vae import downscale_factor, posterior
from utils.errors import InputError, file_error, reason_of
from utils.files import check_writable, read_record, sha256, write_text
from utils.image_tensors import signed_range
from utils.processes import on_main

BATCH_SIZE = 4  # of images that the VAE encodes; divides datasets.row_cache.SHARD_ROWS
INDEX = "files.json"
QUIET_SECONDS = 5  # before a progress bar is shown
SPARED = 2  # INPUT.CACHE auto takes at most 1 / SPARED of the free space
Missing = Mapping[int, Sequence[str]]  # names of the caches that lack a shard, by its number


class CacheError(InputError):
    """The caches cannot be written."""


def training_inputs(
    cfg: CfgNode, accelerator: Accelerator, dataset: TrainPairs, vae: AutoencoderKL
) -> tuple[FileInputs, str]:
    """Return the inputs of a dataset by INPUT.CACHE, and a line about them; every process must call this.

    `auto` caches latents if there is room for them, and never fails because of the disk.

    Raises:
        InputError: see `cached_inputs`.
    """
    if cfg.INPUT.CACHE == "off":
        return FileInputs(dataset.sizes), ""
    try:
        inputs = cached_inputs(cfg, accelerator, dataset, vae)
    except CacheError as error:
        if cfg.INPUT.CACHE != "auto":
            raise
        return FileInputs(dataset.sizes), f"INPUT.CACHE auto: reading image files, which is slower: {error}"
    size = sum(shard.stat().st_size for cache in inputs.caches.values() for shard in cache.shards)
    place = f"{cache_folder(cfg)}, {size / 2**30:.2f} GiB"
    return inputs, f"caches of {len(inputs.rows):,} images: {place}; INPUT.CACHE off reads the image files instead"


def cached_inputs(cfg: CfgNode, accelerator: Accelerator, dataset: TrainPairs, vae: AutoencoderKL) -> CachedInputs:
    """Return the inputs of a dataset from caches in the `cache_folder`; every process must call this.

    Source images and skeletons are 8-bit arrays, and so are target images if INPUT.CACHE is `photos`. Otherwise, the
    mean and standard deviation of the VAE's posterior replace the target images.

    Raises:
        InputError: an image cannot be read.
        CacheError: the caches cannot be written, or do not fit on the disk.
    """
    sizes, folder, auto = dataset.sizes, cache_folder(cfg), cfg.INPUT.CACHE == "auto"
    images = {}
    for pair in dataset.pairs:
        images[pair.source_path] = FileImage(pair.source_path, pair.source_keypoints, sizes)
        images[pair.target_path] = FileImage(pair.target_path, pair.target_keypoints, sizes)
    images = [images[path] for path in sorted(images)]
    _together(accelerator, lambda: check_writable(folder, "INPUT.CACHE_DIR"))
    contents = file_digests([image.path for image in images], folder, accelerator)
    poses = [digest([image.keypoints.tolist(), sizes.frame]) for image in images]
    gt, cond, pose = (f"{height}x{width}" for height, width in (sizes.gt, sizes.cond, sizes.pose))
    caches = {"skeleton": RowCache(folder / f"skeletons_{pose}", poses)}
    if dataset.min_scale == 1:
        caches["photo"] = RowCache(folder / f"photos_{cond}", contents)
    if cfg.INPUT.CACHE == "photos":
        latents, encoder = "none", None
        caches["truth"] = RowCache(folder / f"photos_{gt}", contents)
    else:
        latents, encoder = "float32", vae.to(accelerator.device)
        weights = tensors_digest(vae.state_dict().items())[:12]
        caches["truth"] = RowCache(folder / f"posteriors_{gt}_{weights}", contents)
    builder = Builder(accelerator, cfg.INPUT.NUM_WORKERS, folder, caches, images, encoder)
    _together(accelerator, lambda: builder.check_room(SPARED if auto else 1))
    builder.build(keep=not auto)
    rows = {image.path: row for row, image in enumerate(images)}
    return CachedInputs(sizes, latents, rows=rows, caches=caches)


def cache_folder(cfg: CfgNode) -> Path:
    """Return INPUT.CACHE_DIR, which by default is in ACCELERATE.OUTPUT_DIR."""
    return Path(cfg.INPUT.CACHE_DIR or Path(cfg.ACCELERATE.OUTPUT_DIR) / "cache")


def _together(accelerator: Accelerator, check: Callable[[], None]) -> None:
    """Run a check of the disk in every process; if one fails, raise its error as a `CacheError` in all of them."""
    error = None
    try:
        check()
    except InputError as caught:
        error = str(caught)
    for message in filter(None, gather_object([error])):
        raise CacheError(message)


@dataclass
class _Rows(Dataset):
    images: Sequence[FileImage]

    def __getitem__(self, number_and_names: tuple[int, Sequence[str]]) -> dict[str, Tensor]:
        number, names = number_and_names
        image = replace(self.images[number])  # a copy, with which its pixels are forgotten
        return {name: getattr(image, name) for name in names}


@dataclass
class Builder:
    """Builds the missing and damaged shards of caches of the same images, each by one process.

    An image is decoded once for all its rows; with `encoder`, the rows of `truth` become posteriors.
    """

    accelerator: Accelerator
    workers: int  # loader processes of each process
    folder: Path  # of the folders of the caches
    caches: Mapping[str, RowCache]  # by the property of `FileImage` that they contain
    images: Sequence[FileImage]  # of the rows
    encoder: AutoencoderKL | None

    def check_room(self, spared: int) -> None:
        """Raise `CacheError` if what is missing on this machine takes more than 1 / `spared` of the free space."""
        needed, there = self._needed(), self.folder.absolute()
        free = shutil.disk_usage(next(parent for parent in (there, *there.parents) if parent.exists())).free
        if free < spared * needed:
            most = f" and may take {free // spared >> 20} MiB" if spared > 1 else ""
            raise CacheError(
                f"{self.folder}: {free >> 20} MiB free on the disk, the caches need {needed >> 20} MiB{most}; make "
                "room, set INPUT.CACHE_DIR to a folder on another disk, or INPUT.CACHE off"
            )

    def _needed(self) -> int:
        """Return the bytes of the missing shards: 8-bit pixels, and posteriors in float32."""
        (height, width), sizes = self.images[0].sizes.gt, self.images[0].sizes
        truth = 3 * height * width
        if self.encoder:
            cells = height * width // downscale_factor(self.encoder) ** 2
            truth = 2 * 4 * self.encoder.config.latent_channels * cells
        row = {"skeleton": 3 * math.prod(sizes.pose), "photo": 3 * math.prod(sizes.cond), "truth": truth}
        return sum(
            row[name] * len(cache.rows(shard))
            for name, cache in self.caches.items()
            for shard in range(len(cache.shards))
            if not cache.exists(shard)
        )

    def build(self, keep: bool) -> None:
        """Build the caches on all processes, then what is missing on this machine, then what this process lacks.

        Raises:
            InputError: an image cannot be read.
            CacheError: a shard cannot be written. Unless `keep`, what this call has written is removed.
        """
        world, written = self.accelerator.num_processes, []
        every = self.accelerator.process_index, world
        local = self.accelerator.local_process_index, int(os.environ.get("LOCAL_WORLD_SIZE", world))
        for is_there, (part, parts) in (
            (RowCache.is_whole, every),
            (RowCache.exists, local),
            (RowCache.exists, (0, 1)),  # processes of a machine may have folders of their own
        ):
            error = None
            try:
                self._write(self._missing(is_there, part, parts), written)
            except InputError as caught:
                error = InputError(str(caught))
            except (OSError, SafetensorError) as caught:
                advice = "set INPUT.CACHE_DIR to another folder, or INPUT.CACHE off"
                error = CacheError(f"{self.folder}: {reason_of(caught)}; {advice}")
            for found in filter(None, gather_object([error])):
                if isinstance(found, CacheError) and not keep:
                    _remove(written)
                raise found

    def _missing(self, is_there: Callable[[RowCache, int], bool], part: int, parts: int) -> Missing:
        """Return what is missing of every `parts`-th shard from `part` on."""
        shards = range(part, len(next(iter(self.caches.values())).shards), parts)
        wanted = [(shard, name) for shard in shards for name in self.caches]
        with ThreadPoolExecutor() as pool:
            found = list(pool.map(lambda entry: is_there(self.caches[entry[1]], entry[0]), wanted))
        missing: dict[int, list[str]] = {}
        for (shard, name), there in zip(wanted, found):
            if not there:
                missing.setdefault(shard, []).append(name)
        return missing

    @torch.no_grad()
    def _write(self, missing: Missing, written: list[Path]) -> None:
        """Write what is missing and add its paths to `written`."""
        if not missing:
            return
        first = next(iter(self.caches.values()))
        order = [(number, names) for shard, names in missing.items() for number in first.rows(shard)]
        device = self.accelerator.device
        batches = iter(loader(_Rows(self.images), self.workers, device, sampler=order, batch_size=BATCH_SIZE))
        hidden = not self.accelerator.is_main_process
        desc = f"INPUT.CACHE: writing {self._needed() / 2**30:.2f} GiB to {self.folder}"
        with tqdm(total=len(order), desc=desc, unit="image", disable=hidden, delay=QUIET_SECONDS) as bar:
            for shard, names in missing.items():
                rows: dict[str, list[Tensor]] = {name: [] for name in names}
                for _ in range(0, len(first.rows(shard)), BATCH_SIZE):
                    batch = next(batches)
                    bar.update(len(batch[names[0]]))
                    for name, values in batch.items():
                        rows[name].append(self._encoded(values) if name == "truth" else values)
                for name in names:
                    self.caches[name].write(shard, torch.cat(rows[name]))
                    written.append(self.caches[name].shards[shard])

    def _encoded(self, pixels: Tensor) -> Tensor:
        if self.encoder is None:
            return pixels
        return posterior(self.encoder, signed_range(pixels.to(self.accelerator.device))).float().cpu()


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()


def file_digests(paths: Sequence[Path], folder: Path, accelerator: Accelerator) -> list[str]:
    """Return the SHA-256 of each file. Files whose size and time are in `files.json` are not read again."""
    index, keys = folder / INDEX, [str(path.resolve()) for path in paths]
    try:
        known = read_record(index)
    except InputError:  # missing or damaged
        known = {}
    mine = slice(accelerator.process_index, None, accelerator.num_processes)
    with ThreadPoolExecutor() as pool:
        own = list(pool.map(_entry, paths[mine], map(known.get, keys[mine])))
    entries: list = [None] * len(paths)
    for rank, part in enumerate(gather_object([own])):
        entries[rank :: accelerator.num_processes] = part
    for message in (entry for entry in entries if isinstance(entry, str)):
        raise InputError(message)
    facts = dict(zip(keys, entries))

    def write() -> str | None:
        try:
            if any(known.get(key) != entry for key, entry in facts.items()):
                write_text(index, json.dumps({**known, **facts}))
        except OSError as error:
            return str(file_error(error) or error)

    if error := on_main(accelerator, write):
        raise CacheError(error)
    return [entry[2] for entry in entries]


def _entry(path: Path, known: object) -> list | str:
    """Return size, time and SHA-256 of a file, or the reason why it cannot be read."""
    try:
        stat = path.stat()
        match known:
            case [stat.st_size, stat.st_mtime_ns, str()]:
                return known
        return [stat.st_size, stat.st_mtime_ns, sha256(path)]
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror}); replace this file"
