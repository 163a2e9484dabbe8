"""Check a weight file: print the problem on one line and exit with status 1, or print nothing if the file is complete.

python scripts/check_weights.py FILE [first digits of its SHA-256]
"""

import hashlib
import sys
from pathlib import Path

from safetensors import SafetensorError, safe_open


def check_sha256(path: Path, prefix: str) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(prefix):
        raise ValueError(f"its SHA-256 begins with {digest[: len(prefix)]}, expected {prefix}")


def check_safetensors(path: Path) -> None:
    try:
        with safe_open(path, "np"):  # compares the header with the size of the file
            pass
    except SafetensorError as error:
        raise ValueError(f"it is truncated or not a safetensors file ({error})") from None


def check_torch(path: Path) -> None:
    import torch  # takes seconds; the other formats do not need it

    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many types
        raise ValueError(f"PyTorch cannot load it ({type(error).__name__})") from error


def check(path: Path, sha256: str = "") -> None:
    """Raise ValueError if the file, possibly with the extension .part, is not complete."""
    if sha256:
        check_sha256(path, sha256)
    elif ".safetensors" in path.suffixes:
        check_safetensors(path)
    else:
        check_torch(path)


if __name__ == "__main__":
    try:
        check(Path(sys.argv[1]), *sys.argv[2:])
    except ValueError as error:
        print(error)
        sys.exit(1)
