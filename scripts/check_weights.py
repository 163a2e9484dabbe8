"""Check a weight file: print the problem on one line and exit with status 1, or print nothing if the file is complete.

python scripts/check_weights.py FILE [first digits of its SHA-256]
"""

import hashlib
import sys
from pathlib import Path

from safetensors import SafetensorError, safe_open


def problem_of(path: Path, prefix: str = "") -> str:
    """Return why a file, possibly with the extension .part, is not complete; an empty text if it is."""
    if prefix:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[: len(prefix)]
        return "" if digest == prefix else f"its SHA-256 begins with {digest}, expected {prefix}"
    try:
        if ".safetensors" in path.suffixes:
            with safe_open(path, "np"):  # compares the header with the size of the file
                return ""
        import torch  # takes seconds; the other formats do not need it

        torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        return f"it is truncated or not a safetensors file ({error})"
    except Exception as error:  # torch.load raises many types
        return f"PyTorch cannot load it ({type(error).__name__})"
    return ""


if __name__ == "__main__":
    if problem := problem_of(Path(sys.argv[1]), *sys.argv[2:]):
        print(problem)
        sys.exit(1)
