"""Features of the real images for FID: computed once, by all processes, and cached by the content of the images."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm
from tqdm.contrib.concurrent import thread_map

from datasets.loaders import loader
from utils.errors import InputError
from utils.files import in_checkout, whole_file
from utils.image_files import open_image
from utils.image_tensors import resize_to_tensor
from utils.processes import on_main

from .protocols import SET_DISTANCES
from .scores import NETWORK_BATCH, Scorer

CACHE = "real_sets"  # subfolder of the weight folder


class RealImages(Dataset):
    """Images (3, height, width) in [0, 1] with their indices; `size` is (height, width)."""

    def __init__(self, paths: Sequence[Path], size: Sequence[int]) -> None:
        self.paths, self.size = paths, tuple(size)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return resize_to_tensor(open_image(self.paths[index]), self.size), index


def real_features(
    scorer: Scorer,
    paths: Sequence[Path],
    size: Sequence[int],
    weights: Path | str,
    accelerator: Accelerator,
    workers: int,
    stop: Callable[[], bool] = lambda: False,
) -> Tensor:
    """Return the features (N, d) of real images on every process; all processes must call this.

    Features are cached in `weights`/real_sets. The file name is a digest of the content of the images and of the
    network, the size, and the padding of the protocol. If the folder is not writable, nothing is cached.

    Args:
        scorer: provides the network and the protocol.
        paths: the images.
        size: (height, width) to which images are resized.
        weights: folder of the network weights.
        workers: number of processes that read images.
        stop: called after every batch; returning true raises KeyboardInterrupt.

    Raises:
        InputError: an image cannot be read.
    """
    own = range(accelerator.process_index, len(paths), accelerator.num_processes)
    bar = {"leave": False, "disable": None if accelerator.is_main_process else True}
    digests = thread_map(_digest, [paths[index] for index in own], desc="hashing real images", **bar)
    everyone = sorted(gather_object(list(zip(own, digests, strict=True))))
    weights = in_checkout(weights)
    network = _digest(weights / scorer.protocol.inception.file)
    facts = [network, f"{tuple(size)} square={scorer.protocol.square} sRGB", *(digest for _, digest in everyone)]
    key = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:32]
    file = weights / CACHE / f"{key}.safetensors"
    cached = _read(file)
    if all(gather_object([cached is not None])):
        return cached
    parts: list[tuple[list[int], Tensor]] = []
    batches = loader(RealImages(paths, size), workers, accelerator.device, sampler=own, batch_size=NETWORK_BATCH)
    for images, indices in tqdm(batches, "real images for FID", **bar):
        parts.append((indices.tolist(), scorer.features(images)))
        if stop():
            raise KeyboardInterrupt
    parts = gather_object(parts)
    order = torch.tensor([index for indices, _ in parts for index in indices]).argsort()
    features = torch.cat([part for _, part in parts])[order]
    if accelerator.is_local_main_process:
        _write(file, features)
    return features


def give_real_set(
    scorer: Scorer,
    find: Callable[[], Sequence[Path]],
    size: Sequence[int],
    weights: Path | str,
    accelerator: Accelerator,
    workers: int,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Give a scorer the real set of FID unless it has one; without real images, FID is skipped.

    All processes must call this.

    Args:
        find: returns the paths of the images; called only if FID can be computed.
        size, weights, accelerator, workers, stop: see `real_features`.
    """
    if "FID" not in scorer.available or scorer.real is not None:
        return
    try:
        paths = on_main(accelerator, find)  # so that all processes decide alike
    except InputError as error:
        scorer.skipped |= dict.fromkeys(SET_DISTANCES, str(error))
    else:
        scorer.real = real_features(scorer, paths, size, weights, accelerator, workers, stop)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _read(file: Path) -> Tensor | None:
    try:
        return load_file(file)["features"]
    except (OSError, SafetensorError, KeyError):
        return None


def _write(file: Path, features: Tensor) -> None:
    try:
        file.parent.mkdir(exist_ok=True)
        with whole_file(file) as partial:
            save_file({"features": features}, partial)
    except (OSError, SafetensorError):
        pass  # computed again next time
