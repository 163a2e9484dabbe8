"""The features of FID's real images: computed once, by all processes, and kept by the images' content."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from tqdm.contrib.concurrent import thread_map

from utils.errors import InputError
from utils.files import whole_file
from utils.image_files import open_image
from utils.image_tensors import resize_to_tensor

from .scores import NETWORK_BATCH, Scorer

CACHE = "real_sets"  # folder beside the networks' weights


class RealImages(Dataset):
    """Photos (3, *size) in [0, 1], size being (height, width), each with its place."""

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
    weights: Path,
    accelerator: Accelerator,
    load: Callable[..., DataLoader],
    stop: Callable[[], bool] = lambda: False,
) -> Tensor:
    """Features (N, d) of real images under the scorer's protocol; the same on all processes, which all must call.

    They are kept in `weights`/real_sets under a name that follows from the content of images and network, the
    size and the frame, and read from there the next time. A folder that cannot be written to keeps nothing.

    Args:
        scorer: whose network is used.
        paths: the images.
        size: (height, width) they are resized to.
        weights: folder of the networks' weights.
        load: makes a loader from a dataset, `sampler` and `batch_size`.
        stop: asked after every batch; true ends with KeyboardInterrupt.

    Raises:
        InputError: an image cannot be read.
    """
    own = range(accelerator.process_index, len(paths), accelerator.num_processes)
    hidden = not accelerator.is_main_process
    mine = paths[accelerator.process_index :: accelerator.num_processes]
    digests = thread_map(_digest, mine, desc="looking for known real images", leave=False, disable=hidden or None)
    everyone = sorted(gather_object(list(zip(own, digests, strict=True))))
    network = _digest(weights / scorer.protocol.inception.file)
    facts = [network, f"{tuple(size)} square={scorer.protocol.square} sRGB", *(digest for _, digest in everyone)]
    file = weights / CACHE / f"{_key(facts)}.safetensors"
    known = _read(file)
    if all(gather_object([known is not None])):
        return known
    parts: list[tuple[list[int], Tensor]] = []
    batches = load(RealImages(paths, size), sampler=own, batch_size=NETWORK_BATCH)
    for images, places in tqdm(batches, "real images of FID", leave=False, disable=hidden or None):
        parts.append((places.tolist(), scorer.features(images)))
        if stop():
            raise KeyboardInterrupt
    everything = gather_object(parts)
    order = torch.tensor([place for places, _ in everything for place in places]).argsort()
    features = torch.cat([part for _, part in everything])[order]
    if accelerator.is_local_main_process:
        _write(file, features)
    return features


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
        pass  # it will be computed again


def _key(facts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:32]
