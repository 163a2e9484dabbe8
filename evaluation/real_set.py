"""Features of the real images for FID: computed once, by all processes, and cached by the content of the images."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
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
from utils.files import sha256, whole_file
from utils.image_files import Size, open_image
from utils.image_tensors import resize_to_tensor
from utils.processes import on_main

from .protocols import SET_DISTANCES
from .scores import NETWORK_BATCH, Scorer

CACHE = "real_sets"  # subfolder of the weight folder


class RealImages(Dataset):
    """Images (3, height, width) in [0, 1]; `size` is (height, width)."""

    def __init__(self, paths: Sequence[Path], size: Size) -> None:
        self.paths, self.size = paths, size

    def __getitem__(self, index: int) -> Tensor:
        return resize_to_tensor(open_image(self.paths[index]), self.size)


def give_real_set(
    scorer: Scorer,
    find: Callable[[], Sequence[Path]],
    size: Size,
    accelerator: Accelerator,
    workers: int,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Give a scorer the real set of FID unless it has one; without real images, FID is skipped.

    All processes must call this.

    Args:
        find: returns the paths of the images; called only if FID can be computed.
        size: (height, width) to which images are resized.
        check: called after every batch; may raise an error to stop.

    Raises:
        InputError: an image cannot be read.
    """
    if "FID" not in scorer.available or scorer.real is not None:
        return
    try:
        paths = on_main(accelerator, find)  # so that all processes decide alike
    except InputError as error:
        scorer.skipped |= dict.fromkeys(SET_DISTANCES, str(error))
    else:
        scorer.real = _features(scorer, paths, size, accelerator, workers, check)


def _features(
    scorer: Scorer, paths: Sequence[Path], size: Size, accelerator: Accelerator, workers: int, check: Callable
) -> Tensor:
    """Load or compute the features (N, d) of real images.

    They are cached in the folder of the weights, if it is writable. The file name is a digest of the content of images
    and network, the size, and the padding of the protocol.
    """
    own = range(len(paths))[accelerator.process_index :: accelerator.num_processes]
    bar = {"leave": False, "disable": None if accelerator.is_main_process else True}
    digests = on_main(accelerator, lambda: thread_map(sha256, paths, desc="hashing real images", **bar))
    network, square = sha256(scorer.weights / scorer.protocol.inception.file), scorer.protocol.square
    facts = [network, f"{tuple(size)} square={square} sRGB", *digests]
    key = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:32]
    file, cached = scorer.weights / CACHE / f"{key}.safetensors", None
    with suppress(OSError, SafetensorError, KeyError):
        cached = load_file(file)["features"]
    if all(gather_object([cached is not None])):
        return cached
    parts: list[Tensor] = []
    batches = loader(RealImages(paths, size), workers, accelerator.device, sampler=own, batch_size=NETWORK_BATCH)
    for images in tqdm(batches, "real images for FID", **bar):
        parts.append(scorer.features(images))
        check()
    order = torch.tensor(gather_object(list(own))).argsort()
    features = torch.cat(gather_object(parts))[order]
    if accelerator.is_local_main_process:
        with suppress(OSError, SafetensorError):  # computed again next time
            file.parent.mkdir(exist_ok=True)
            with whole_file(file) as partial:
                save_file({"features": features}, partial)
    return features
