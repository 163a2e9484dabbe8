"""Accumulate the scores of a protocol over batches and processes."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import torch
import torchvision.transforms.functional as F
from accelerate.utils import gather_object
from torch import Tensor
from torchvision.transforms import InterpolationMode

from datasets.keypoints import MISSING
from utils.errors import InputError
from utils.files import in_checkout
from utils.image_files import Size
from utils.image_tensors import quantise, unit_range

from .protocols import PERSON, SET_DISTANCES, TRUTH_SCORES, WEIGHTS, protocol
from .tables import BASELINE, TRUTH

# images per call; always the same number, so that scores are bit-identical for any batch size
NETWORK_BATCH = 8
PIXEL_BATCH = {"cpu": 2}  # elsewhere NETWORK_BATCH
FEATURES = "features"  # of predictions, (d,) each, for the distances of sets


class Scorer:
    """Scores predictions against targets, image by image, under one protocol.

    Each image has an index in the dataset. An index that occurs twice, as in the padded last batch of a distributed
    sampler, counts once. Means are computed in float64 in the order of the indices. The result does not depend on the
    batch size or on the number of processes.

    Args:
        device: where scores are computed; they are stored on the CPU.
        weights: folder of the network weights.
        name: of the protocol.
        frame: (height, width) of the keypoints. Images of another aspect ratio are stretched; the scores of the person
            see them as they were. None: images are not stretched.
        only: a score that is computed alone, with its network; None computes all.

    Attributes:
        skipped: reason in one line for each score that cannot be computed.
        real: (N, d) features of the real set of FID, from `features`; None without FID.

    Raises:
        InputError: the protocol is unknown.
    """

    def __init__(
        self,
        device: torch.device | str,
        weights: Path | str = WEIGHTS,
        name: str = "cfld",
        frame: Size | None = None,
        only: str | None = None,
    ) -> None:
        self.protocol, self.frame = protocol(name), frame
        self.device = torch.device(device)
        self.weights = in_checkout(weights)
        self.real: Tensor | None = None
        scores = (*SET_DISTANCES, *self.protocol.pairs, *self.protocol.pixels, *PERSON)
        self.scores = tuple(score for score in scores if only in (None, score))
        self.skipped: dict[str, str] = {}
        self._networks: dict[str, Callable] = {}
        for network_name, network in {FEATURES: self.protocol.inception, **self.protocol.pairs, **PERSON}.items():
            scores = SET_DISTANCES if network_name == FEATURES else (network_name,)
            if not {*scores} & {*self.scores}:
                continue
            try:
                self._networks[network_name] = network.load(self.weights, self.device)
            except InputError as error:
                self.skipped |= dict.fromkeys(scores, str(error))
        self.reset()

    @property
    def available(self) -> tuple[str, ...]:
        """Names of the scores that can be computed."""
        return tuple(name for name in self.scores if name not in self.skipped)

    @property
    def provenance(self) -> dict[str, str]:
        """What the scores depend on beside the protocol: the name of the pose estimator of PCKh."""
        accuracy = self._networks.get("PCKh")
        return {"estimator": accuracy.estimator.name} if accuracy else {}

    def reset(self) -> None:
        """Discard the predictions; keep the real set."""
        self._scored: set[int] = set()
        self._values: dict[str, dict[int, float | Tensor]] = {name: {} for name in (FEATURES, *self.scores)}

    def empty(self) -> "Scorer":
        """Return an empty scorer with the same networks and real set."""
        other = copy(self)
        other.skipped = dict(self.skipped)
        other.reset()
        return other

    def references(self) -> dict[str, "Scorer"]:
        """Return scorers of source and target images in place of predictions, by label; of targets, `TRUTH_SCORES`."""
        truth = self.empty()
        truth.scores = TRUTH_SCORES
        truth._networks = {name: self._networks[name] for name in TRUTH_SCORES if name in self._networks}
        return {BASELINE: self.empty(), TRUTH: truth}

    @torch.no_grad()
    def update(
        self, pred: Tensor, target: Tensor, indices: Sequence[int] | Tensor, keypoints: Tensor | None = None
    ) -> None:
        """Score a batch; images whose index is scored already are ignored.

        Args:
            pred: (B, 3, H, W) uint8, or float in [0, 1], which is first quantized to 8 bits.
            target: (B, 3, H, W) uint8, or float in [0, 1], of the same size.
            indices: (B,) indices of the images in the dataset.
            keypoints: (B, 2, 18, 2): (y, x) pixels of the source's and the target's keypoints, -1 for missing;
                None skips the scores of the person.

        Raises:
            InputError: sizes or counts differ, or a prediction is not finite.
        """
        numbers = [int(n) for n in indices]
        if len(numbers) != len(pred):
            raise InputError(f"{len(numbers)} indices for {len(pred)} images")
        if pred.shape != target.shape:
            raise InputError(f"predictions {tuple(pred.shape)} and targets {tuple(target.shape)} differ in size")
        if bad := [n for n, image in zip(numbers, pred, strict=True) if not torch.isfinite(image).all()]:
            raise InputError(f"predictions {bad} contain NaN or infinite values")
        rows = [row for row, number in enumerate(numbers) if number not in self._scored]
        if not rows:
            return
        numbers = [numbers[row] for row in rows]
        self._scored.update(numbers)
        pred, target = quantise(self._unit(pred[rows])), self._unit(target[rows])
        if keypoints is not None:
            people = unstretched(pred, target, keypoints[rows], self.frame)
            for name in PERSON.keys() & self._networks.keys():
                self._keep(name, numbers, self._networks[name](*people))
        pred, target = self.protocol.framed(pred), self.protocol.framed(target)
        if FEATURES in self._networks:
            self._keep(FEATURES, numbers, self._run(FEATURES, pred))
        for name in self.protocol.pairs.keys() & self._networks.keys():
            self._keep(name, numbers, self._run(name, pred, target))
        size = PIXEL_BATCH.get(self.device.type, NETWORK_BATCH)
        for name in self.protocol.pixels.keys() & set(self.available):
            try:
                self._keep(name, numbers, in_batches(self.protocol.pixels[name], size, pred, target))
            except InputError as error:  # the images are too small for this score
                self.skipped[name] = str(error)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Compute features (B, d), on the CPU, of real images (B, 3, H, W), uint8 or float in [0, 1]."""
        return self._run(FEATURES, self.protocol.framed(self._unit(images)))

    def state(self) -> dict[str, Any]:
        """Return the accumulated state as CPU objects that processes can gather."""
        return {"values": self._values, "skipped": self.skipped}

    def merge(self, states: Iterable[Mapping[str, Any]]) -> None:
        """Merge the states of processes; the state of this process may be among them."""
        for state in states:
            self.skipped = {**state["skipped"], **self.skipped}
            for name, values in state["values"].items():
                self._values[name] = {**values, **self._values[name]}

    def gather(self) -> None:
        """Merge the states of all processes; all of them must call this."""
        self.merge(gather_object([self.state()]))

    def gathered(self) -> dict[str, float]:
        """Merge the states of all processes and compute the scores; all of them must call this."""
        self.gather()
        return self.compute()

    def compute(self) -> dict[str, float]:
        """Compute every available score; those without enough data are added to `skipped`."""
        result = {}
        for name in self.available:
            try:
                if name not in SET_DISTANCES:
                    result[name] = torch.tensor(self._in_order(name), dtype=torch.float64).mean().item()
                elif self.real is None:
                    raise InputError("no real images to compare with")
                else:
                    result[name] = SET_DISTANCES[name](self.real, torch.stack(self._in_order(FEATURES)))
            except InputError as error:
                self.skipped[name] = str(error)
        return result

    def table(self) -> list[dict[str, float]]:
        """Return one row per image in the order of the indices: `index`, then its scores."""
        columns = {name: values for name in self.available if (values := self._values[name])}
        numbers = sorted(set().union(*columns.values()))
        return [{"index": n, **{name: values[n] for name, values in columns.items() if n in values}} for n in numbers]

    def _unit(self, images: Tensor) -> Tensor:
        """Convert uint8 or float images to float32 in [0, 1] on the device."""
        images = images.to(self.device)
        return unit_range(images) if images.dtype == torch.uint8 else images.float()

    def _run(self, name: str, *images: Tensor) -> Tensor:
        """Run a network in float32; return its output (B, ...) on the CPU."""
        with torch.autocast(self.device.type, enabled=False):
            return in_batches(self._networks[name], NETWORK_BATCH, *images)

    def _keep(self, name: str, numbers: list[int], values: Tensor) -> None:
        """Store scores (B,) or features (B, d) by index; skip NaN, which means no score."""
        for number, value in zip(numbers, values, strict=True):
            if name == FEATURES:
                self._values[name].setdefault(number, value.clone())  # a view is pickled with its whole batch
            elif not math.isnan(value):
                self._values[name].setdefault(number, value.item())

    def _in_order(self, name: str) -> list:
        """Return the values of a score in the order of the indices."""
        if not (values := self._values[name]):
            raise InputError("no image has this score")
        return [values[number] for number in sorted(values)]


def gathered_rows(scorers: Mapping[str, Scorer]) -> dict[str, dict[str, float]]:
    """Return `gathered` of each scorer, by label, without scorers that have no scores."""
    rows = {label: scorer.gathered() for label, scorer in scorers.items()}
    return {label: row for label, row in rows.items() if row}


def unstretched(pred: Tensor, target: Tensor, keypoints: Tensor, frame: Size | None) -> tuple[Tensor, Tensor, Tensor]:
    """Enlarge one side of images (B, 3, H, W) in [0, 1] to the aspect ratio of the frame, and move their keypoints."""
    height, width = size = pred.shape[-2:]
    ratio = frame[0] / frame[1] / (height / width) if frame else 1
    wanted = [round(height * max(1, ratio)), round(width * max(1, 1 / ratio))]
    if wanted == [height, width]:
        return pred, target, keypoints
    scaled = torch.where(keypoints == MISSING, MISSING, keypoints * (torch.tensor(wanted) / torch.tensor(size)))
    pred, target = (F.resize(images, wanted, InterpolationMode.BICUBIC).clamp(0, 1) for images in (pred, target))
    return pred, target, scaled


def in_batches(function: Callable[..., Tensor], size: int, *images: Tensor) -> Tensor:
    """Apply a function to batches of exactly `size` rows, with the last one padded; return (B, ...) on the CPU."""
    results = []
    for parts in zip(*(batch.split(size) for batch in images), strict=True):
        rows = len(parts[0])
        if rows < size:
            parts = [torch.cat([part, part[-1:].expand(size - rows, -1, -1, -1)]) for part in parts]
        results.append(function(*parts)[:rows])
    return torch.cat(results).cpu()
