"""Accumulate the scores of a protocol over batches and processes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from configs.errors import InputError

from .fid import INCEPTION_FILE, InceptionFeatures, frechet_distance
from .image import psnr, ssim, ssim_256
from .lpips import ALEXNET_FILE, LPIPS
from .weights import FOLDER, weights_file

NETWORK_BATCH = 8  # networks always see this many images, so that how the data was batched changes no digit


@dataclass(frozen=True)
class Network:
    """A network that a score is measured with, and the file of its weights."""

    build: Callable[[Path], nn.Module]
    file: str


@dataclass(frozen=True)
class Protocol:
    """What is measured and how; scores under different protocols do not compare.

    Attributes:
        pixels: scores (B,) from predictions and targets (B, 3, H, W) in [0, 1], without a network.
        pairs: networks that give a distance (B,) from predictions and targets.
        sets: networks that give features (B, d) from images; the score is their Fréchet distance.
    """

    pixels: Mapping[str, Callable[[Tensor, Tensor], Tensor]]
    pairs: Mapping[str, Network]
    sets: Mapping[str, Network]

    @property
    def scores(self) -> tuple[str, ...]:
        return (*self.sets, *self.pairs, *self.pixels)


PROTOCOLS = {
    "cfld": Protocol(
        pixels={"SSIM": ssim, "SSIM_256": ssim_256, "PSNR": psnr},
        pairs={"LPIPS": Network(LPIPS, ALEXNET_FILE)},
        sets={"FID": Network(InceptionFeatures, INCEPTION_FILE)},
    ),
}


def quantise(images: Tensor) -> Tensor:
    """Images in [0, 1] as they come back from an 8-bit file, float32.

    Values are cut, not rounded, to 8 bits, as the published evaluation does; those of an 8-bit image stay as
    they are. Values outside [0, 1] are clamped.
    """
    return (images.float() * 255).clamp(0, 255).to(torch.uint8).float() / 255


class Scorer:
    """Scores of predictions against targets, image by image, under one protocol.

    Each image has an index in the data set. An index that comes twice, as from the padded last batch of a
    distributed sampler, counts once; means are taken in float64 in the order of the indices. The result does
    not depend on the batch size or on the number of processes.

    Args:
        device: where scores are computed; they are kept on the CPU.
        weights: folder of the networks' weights.
        protocol: name in `PROTOCOLS`.

    Attributes:
        skipped: for each score that cannot be given, why, in one line.

    Raises:
        InputError: there is no such protocol.
    """

    def __init__(
        self,
        device: torch.device | str,
        weights: Path | str = FOLDER,
        protocol: str = "cfld",
    ) -> None:
        if protocol not in PROTOCOLS:
            raise InputError(f"no evaluation protocol {protocol!r}; there are: {', '.join(PROTOCOLS)}")
        self.protocol = PROTOCOLS[protocol]
        self.device = torch.device(device)
        self.skipped: dict[str, str] = {}
        self._networks: dict[str, nn.Module] = {}
        for name, network in {**self.protocol.sets, **self.protocol.pairs}.items():
            try:
                path = weights_file(Path(weights), network.file)
                self._networks[name] = network.build(path).to(self.device)
            except InputError as error:
                self.skipped[name] = str(error)
        self._real: dict[str, dict[int, Tensor]] = {name: {} for name in self.protocol.sets}
        self.reset()

    @property
    def available(self) -> tuple[str, ...]:
        """Names of the scores that can be given."""
        return tuple(name for name in self.protocol.scores if name not in self.skipped)

    def reset(self) -> None:
        """Forget the predictions; the real set stays."""
        # score -> index of the image -> its value, or its features (d,)
        names = (*self.protocol.pairs, *self.protocol.pixels)
        self._values: dict[str, dict[int, float]] = {name: {} for name in names}
        self._features: dict[str, dict[int, Tensor]] = {name: {} for name in self.protocol.sets}

    @torch.no_grad()
    def update(self, pred: Tensor, target: Tensor, indices: Sequence[int] | Tensor) -> None:
        """Score a batch.

        Args:
            pred: (B, 3, H, W) uint8, or float in [0, 1], which is quantised to 8 bits first.
            target: (B, 3, H, W) uint8, or float in [0, 1], of the same size.
            indices: (B,) places of the images in the data set.

        Raises:
            InputError: sizes or counts differ, or a prediction is not finite.
        """
        numbers = _indices(indices, pred)
        if pred.shape != target.shape:
            raise InputError(f"predictions {tuple(pred.shape)} and targets {tuple(target.shape)} differ in size")
        if bad := [n for n, image in zip(numbers, pred, strict=True) if not torch.isfinite(image).all()]:
            raise InputError(f"predictions {bad} hold NaN or infinite values")
        pred, target = quantise(_unit(pred, self.device)), _unit(target, self.device)
        for name in self.available:
            if name in self.protocol.sets:
                _keep(self._features[name], numbers, self._run(name, pred))
            elif name in self.protocol.pairs:
                _keep(self._values[name], numbers, self._run(name, pred, target).tolist())
            else:
                self._pixels(name, pred, target, numbers)

    @torch.no_grad()
    def update_real(self, images: Tensor, indices: Sequence[int] | Tensor) -> None:
        """Add images (B, 3, H, W), uint8 or float in [0, 1], to FID's real set; `indices` as in `update`.

        Raises:
            InputError: the counts differ.
        """
        numbers = _indices(indices, images)
        for name in self.protocol.sets:
            if name not in self.skipped:
                _keep(self._real[name], numbers, self._run(name, _unit(images, self.device)))

    def state(self) -> dict[str, Any]:
        """All that was accumulated, as plain CPU objects to be gathered from the processes."""
        return {
            "values": self._values,
            "features": self._features,
            "real": self._real,
            "skipped": self.skipped,
        }

    def merge(self, states: Iterable[Mapping[str, Any]]) -> None:
        """Add the states of other processes (this one's own among them does no harm)."""
        for state in states:
            for mine, key in ((self._values, "values"), (self._features, "features"), (self._real, "real")):
                for name, entries in state[key].items():
                    mine[name] = {**entries, **mine[name]}
            self.skipped = {**state["skipped"], **self.skipped}

    def compute(self) -> dict[str, float]:
        """Means over the images, and Fréchet distances, of every score that can be given.

        A score that turns out to lack data (no real set, too few images) joins `skipped`.
        """
        result = {}
        for name in self.available:
            try:
                result[name] = self._distance(name) if name in self.protocol.sets else self._mean(name)
            except InputError as error:
                self.skipped[name] = str(error)
        return result

    def table(self) -> list[dict[str, float]]:
        """One row per image, in the order of the indices: `index`, then its scores."""
        columns = {name: values for name, values in self._values.items() if name not in self.skipped}
        numbers = sorted(set().union(*columns.values()))
        return [{"index": n, **{name: values[n] for name, values in columns.items() if n in values}} for n in numbers]

    def _run(self, name: str, *images: Tensor) -> Tensor:
        """Output (B, ...) on the CPU of a network, in float32 and in batches of one fixed size."""
        results = []
        with torch.autocast(self.device.type, enabled=False):
            for parts in zip(*(batch.split(NETWORK_BATCH) for batch in images), strict=True):
                missing = NETWORK_BATCH - len(parts[0])
                padded = [torch.cat([part, part[-1:].expand(missing, -1, -1, -1)]) for part in parts]
                results.append(self._networks[name](*padded)[: len(parts[0])].cpu())
        return torch.cat(results)

    def _pixels(self, name: str, pred: Tensor, target: Tensor, numbers: list[int]) -> None:
        """Score one image at a time: the order of a sum over a batch may depend on the batch's size."""
        score = self.protocol.pixels[name]
        try:
            pairs = zip(pred.split(1), target.split(1), strict=True)
            values = torch.cat([score(x, y) for x, y in pairs])  # (B,)
        except InputError as error:
            self.skipped[name] = str(error)
        else:
            _keep(self._values[name], numbers, values.tolist())

    def _mean(self, name: str) -> float:
        values = _in_order(self._values[name], "no image was scored")
        return torch.tensor(values, dtype=torch.float64).mean().item()

    def _distance(self, name: str) -> float:
        real = _in_order(self._real[name], "no real images were given to compare with")
        pred = _in_order(self._features[name], "no image was scored")
        return frechet_distance(torch.stack(real), torch.stack(pred))


def _keep(store: dict[int, Any], numbers: list[int], values: Iterable[Any]) -> None:
    """File values under their images' indices; the first one of an index stays."""
    for number, value in zip(numbers, values, strict=True):
        store.setdefault(number, value.clone() if isinstance(value, Tensor) else value)


def _in_order(store: Mapping[int, Any], empty: str) -> list[Any]:
    """Values in the order of the images' indices; an `InputError` that says `empty` if there are none."""
    if not store:
        raise InputError(empty)
    return [store[number] for number in sorted(store)]


def _indices(indices: Sequence[int] | Tensor, images: Tensor) -> list[int]:
    numbers = [int(n) for n in indices]
    if len(numbers) != len(images):
        raise InputError(f"{len(numbers)} indices for {len(images)} images")
    return numbers


def _unit(images: Tensor, device: torch.device) -> Tensor:
    """uint8 or float images as float32 in [0, 1] on the device."""
    images = images.to(device)
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()
