"""Say what is wrong with a file of weights, on one line with exit status 1; nothing where it is whole.

python scripts/check_weights.py FILE [first digits of its SHA-256]
"""

import hashlib
import sys
from pathlib import Path

from safetensors import SafetensorError, safe_open


def check_sha256(path: Path, prefix: str) -> None:
    """Raises ValueError unless the file's SHA-256 begins with `prefix`."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(prefix):
        raise ValueError(f"its SHA-256 begins with {digest[: len(prefix)]}, expected {prefix}")


def check_safetensors(path: Path) -> None:
    """Raises ValueError unless the file is as long as its header says. Reads the header alone."""
    try:
        with safe_open(path, "np"):
            pass
    except SafetensorError as error:
        raise ValueError(f"it is cut off, or no safetensors file ({error})") from None


def check_torch(path: Path) -> None:
    """Raises ValueError unless PyTorch can load the file without running code from it."""
    import torch  # takes seconds, and the other formats do without

    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # from OSError to pickle's own
        raise ValueError(f"PyTorch cannot load it ({type(error).__name__})") from error


def check(path: Path, sha256: str = "") -> None:
    """Raises ValueError if the file `path`, possibly still called *.part, is not whole."""
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
