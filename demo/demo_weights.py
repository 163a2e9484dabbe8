"""Make the demo weights from drawn people: the parts that replace public weights, and the finished checkpoint.

    python -m demo.demo_weights vae      --people 24000 --minutes 50
    python -m demo.demo_weights clip     --images DIR --minutes 5
    python -m demo.demo_weights init
    python -m demo.demo_weights encoder  --people 24000 --minutes 40
    python -m demo.demo_weights branches --checkpoint DIR
    python -m demo.demo_weights decoder  --checkpoint DIR --dataset DIR --minutes 40
    python -m demo.demo_weights split    --checkpoint DIR
    python -m demo.demo_weights student  --checkpoint DIR

`scripts/make_demo_weights.sh` runs all of them. The sizes are those of `pretrained_models/demo/*/config.json`.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from utils.command_line import Parser
from utils.errors import InputError, one_line_errors
from utils.files import check_writable
from utils.imports import large_imports

REQUIRED = {  # by command, the option that it requires
    "vae": None,
    "clip": "images",
    "init": None,
    "encoder": None,
    **dict.fromkeys(("branches", "decoder", "split", "student"), "checkpoint"),
}


def parsed(arguments: Sequence[str] | None) -> Namespace:
    parser = Parser(__doc__, prog="python -m demo.demo_weights")
    parser.add_argument("part", choices=list(REQUIRED), help="what to make")
    parser.add_argument("--images", type=Path, help="folder with drawn images (clip)")
    parser.add_argument(
        "--people", type=int, default=24_000, help="number of people to draw for training (vae, encoder)"
    )
    parser.add_argument("--minutes", type=float, default=15.0, help="wall-clock training time (all that train)")
    parser.add_argument(
        "--checkpoint", type=Path, help="folder of the trained checkpoint (branches, decoder, split, student)"
    )
    dataset = Path("outputs/demo_weights/fashion")
    parser.add_argument("--dataset", type=Path, default=dataset, help="prepared dataset to sample (decoder)")
    parser.add_argument("--parts", type=Path, default=Path("pretrained_models/demo"), help="folder of the parts")
    options = parser.parse_args(arguments)
    if (required := REQUIRED[options.part]) and getattr(options, required) is None:
        raise InputError(f"--{required} is missing; {options.part} requires it, see --help")
    check_writable(options.parts, "--parts")
    return options


@one_line_errors
def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    with large_imports():
        from demo import weight_making
    weight_making.make(options)


if __name__ == "__main__":
    main()
