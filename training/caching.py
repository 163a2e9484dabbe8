"""The caches of a training set (INPUT.CACHE); all processes build the missing parts."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from diffusers import AutoencoderKL
from safetensors import SafetensorError
from torch.utils.data import Dataset
from tqdm import tqdm
from yacs.config import CfgNode

from datasets import TrainPairs
from datasets.loaders import loader
from datasets.pair_inputs import CachedInputs, FileInputs
from datasets.row_cache import RowCache, digest, tensors_digest
from models.vae import posterior
from utils.errors import InputError
from utils.files import read_record, sha256, write_text
from utils.image_tensors import normalize, unit_range
from utils.processes import on_main

BATCH_SIZE = 4  # of images that the VAE encodes; divides datasets.row_cache.SHARD_ROWS
INDEX = "files.json"
Row = Callable[[int], torch.Tensor]
Encode = Callable[[torch.Tensor], torch.Tensor]


class _Rows(Dataset):
    def __init__(self, row: Row) -> None:
        self.row = row

    def __getitem__(self, number: int) -> torch.Tensor:
        return self.row(number)


def cached_inputs(cfg: CfgNode, accelerator: Accelerator, dataset: TrainPairs, vae: AutoencoderKL) -> CachedInputs:
    """Return the inputs of a dataset from caches under INPUT.CACHE_DIR; every process must call this.

    Source images and skeletons are 8-bit arrays, and so are target images if INPUT.CACHE is `photos`. If it is
    `latents`, the mean and standard deviation of the VAE's posterior replace the target images in 16 bit: the variance
    of Stable Diffusion's VAE is below the smallest float16 number, the standard deviation is not.

    Raises:
        InputError: an image cannot be read, or the caches do not fit on the disk.
    """
    sizes, folder = dataset.sizes, Path(cfg.INPUT.CACHE_DIR)
    keypoints: dict[Path, np.ndarray] = {}
    for pair in dataset.pairs:
        keypoints[pair.source_path] = pair.source_keypoints
        keypoints[pair.target_path] = pair.target_keypoints
    paths = sorted(keypoints)
    contents = file_digests(paths, folder, accelerator)
    files = FileInputs(sizes)

    def build(kind: str, keys: Sequence[str], row: Row, encode: Encode = lambda rows: rows) -> RowCache:
        cache = RowCache(folder / kind, keys)
        fill(cache, row, encode, accelerator, cfg.INPUT.NUM_WORKERS)
        return cache

    def photos(size: tuple[int, int], row: Row) -> RowCache:
        return build(f"photos_{size[0]}x{size[1]}", contents, row)

    poses = [digest([keypoints[path].tolist(), sizes.frame]) for path in paths]
    skeletons = build(
        f"skeletons_{sizes.pose[0]}x{sizes.pose[1]}", poses, lambda i: files.skeleton(paths[i], keypoints[paths[i]])
    )
    cond = photos(sizes.cond, lambda i: files.photo(paths[i])) if dataset.min_scale == 1 else None
    if cfg.INPUT.CACHE == "photos":
        truths = photos(sizes.gt, lambda i: files.truth(paths[i]))
    else:
        weights = tensors_digest(vae.state_dict().items())[:12]
        kind = f"latents_{sizes.gt[0]}x{sizes.gt[1]}_{weights}"
        truths = build(kind, contents, lambda i: files.truth(paths[i]), _encoder(vae, accelerator.device))
    return CachedInputs({path: row for row, path in enumerate(paths)}, cond, skeletons, truths)


def _encoder(vae: AutoencoderKL, device: torch.device) -> Encode:
    vae.to(device)
    return lambda pixels: posterior(vae, normalize(unit_range(pixels.to(device)))).half()


@torch.no_grad()
def fill(cache: RowCache, row: Row, encode: Encode, accelerator: Accelerator, workers: int) -> None:
    """Build the missing and damaged shards, each by one process; then those that are missing on this machine.

    Args:
        row: returns a row by its number, before `encode`; loader processes call it.
        encode: turns a batch of rows into the stored rows.

    Raises:
        InputError: in every process if one of them raises it.
    """
    local = accelerator.local_process_index, int(os.environ.get("LOCAL_WORLD_SIZE", accelerator.num_processes))
    for check, (part, parts) in (
        (cache.is_whole, (accelerator.process_index, accelerator.num_processes)),
        (lambda shard: cache.shards[shard].is_file(), local),
    ):
        mine = [shard for shard in range(len(cache.shards))[part::parts] if not check(shard)]
        error = None
        try:
            _write(cache, mine, row, encode, accelerator, workers)
        except InputError as caught:
            error = str(caught)
        except (OSError, SafetensorError) as caught:
            reason = " ".join(str(caught).split())
            error = f"{cache.folder}: {reason}; set INPUT.CACHE_DIR to another folder, or INPUT.CACHE off"
        for message in filter(None, gather_object([error])):
            raise InputError(message)


def _write(
    cache: RowCache, shards: list[int], row: Row, encode: Encode, accelerator: Accelerator, workers: int
) -> None:
    order = [number for shard in shards for number in cache.rows(shard)]
    batches = iter(loader(_Rows(row), workers, accelerator.device, sampler=order, batch_size=BATCH_SIZE))
    hidden = not (order and accelerator.is_main_process)
    with tqdm(total=len(order), desc=f"caching {cache.folder.name}", unit="image", disable=hidden) as bar:
        for shard in shards:
            rows: list[torch.Tensor] = []
            while len(rows) < len(cache.rows(shard)):
                encoded = encode(next(batches)).cpu()
                rows += encoded
                bar.update(len(encoded))
            _check_space(cache, rows[0].nbytes * len(rows))
            cache.write(shard, torch.stack(rows))


def _check_space(cache: RowCache, needed: int) -> None:
    cache.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache.folder).free
    if free < 2 * needed:
        raise InputError(
            f"{cache.folder}: {free >> 20} MiB free on the disk, the cache needs "
            f"{needed * len(cache.shards) >> 20} MiB; make room, set INPUT.CACHE_DIR to a folder on another disk, or "
            "INPUT.CACHE off"
        )


def file_digests(paths: Sequence[Path], folder: Path, accelerator: Accelerator) -> list[str]:
    """Return the SHA-256 of each file. Files whose size and time are in `files.json` are not read again."""
    index = folder / INDEX
    known = _read_index(index)
    mine = paths[accelerator.process_index :: accelerator.num_processes]
    with ThreadPoolExecutor() as pool:
        own = dict(zip(map(_key, mine), pool.map(lambda path: _entry(path, known.get(_key(path))), mine)))
    facts = {key: entry for part in gather_object([own]) for key, entry in part.items()}
    for message in (entry for entry in facts.values() if isinstance(entry, str)):
        raise InputError(message)

    def write() -> None:
        if any(known.get(key) != entry for key, entry in facts.items()):
            write_text(index, json.dumps({**known, **facts}))

    on_main(accelerator, write)
    return [facts[_key(path)][2] for path in paths]


def _key(path: Path) -> str:
    return str(path.resolve())


def _read_index(path: Path) -> dict[str, list]:
    """Read `files.json`; empty if it is missing or damaged."""
    try:
        return read_record(path)
    except InputError:
        return {}


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
