"""Caches of tensors computed from files, memory-mapped.

A cache is a folder of safetensors shards. The name of a shard is a digest of everything that determines its rows, and
shards are written atomically. An interrupted build therefore resumes, several runs may build at once, and changed
inputs get new shards. A run reads each shard once when it begins, to find damage. Outdated shards are never read;
remove the folder to free their space.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from utils.files import whole_file

SHARD_ROWS = 256
FORMAT = 2  # part of every name; incrementing it invalidates all caches
ROWS, CHECKSUM = "rows", "crc32"


class RowCache:
    """Tensors of equal shape, one per row, in a folder that is named after the processing of the files.

    `keys` has, for each row, text that changes with its file.
    """

    def __init__(self, folder: Path, keys: Sequence[str]) -> None:
        self.folder, self.length = folder, len(keys)
        self.shards = [
            folder / f"{digest([FORMAT, folder.name, *keys[start : start + SHARD_ROWS]])}.safetensors"
            for start in range(0, len(keys), SHARD_ROWS)
        ]
        self._open: dict[int, object] = {}

    def __len__(self) -> int:
        return self.length

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_open": {}}  # each process maps the files itself

    def rows(self, shard: int) -> range:
        """Return the indices of the rows in a shard."""
        return range(shard * SHARD_ROWS, min((shard + 1) * SHARD_ROWS, self.length))

    def write(self, shard: int, rows: torch.Tensor) -> None:
        """Store all rows of a shard."""
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = rows.contiguous()
        with whole_file(self.shards[shard], synced=True) as partial:
            save_file({ROWS: rows}, partial, metadata={CHECKSUM: _checksum(rows)})

    def exists(self, shard: int) -> bool:
        """Whether a shard has been stored."""
        return self.shards[shard].is_file()

    def is_whole(self, shard: int) -> bool:
        """Whether a shard exists and matches its checksum; reads all of it."""
        try:
            with safe_open(self.shards[shard], "pt") as file:
                rows = file.get_tensor(ROWS)
                return len(rows) == len(self.rows(shard)) and file.metadata()[CHECKSUM] == _checksum(rows)
        except (OSError, SafetensorError, KeyError, TypeError):
            return False

    def __getitem__(self, row: int) -> torch.Tensor:
        shard, place = divmod(row, SHARD_ROWS)
        if shard not in self._open:
            self._open[shard] = safe_open(self.shards[shard], "pt").get_slice(ROWS)
        return self._open[shard][place]


def digest(parts: Iterable[object]) -> str:
    """Return a digest of plain values, 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:32]


def tensors_digest(tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    """Return a digest of named tensors, 32 hexadecimal digits."""
    total = hashlib.sha256()
    for name, tensor in tensors:
        total.update(name.encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return total.hexdigest()[:32]


def _checksum(rows: torch.Tensor) -> str:
    return f"{zlib.crc32(rows.flatten().view(torch.uint8).numpy()):08x}"
