"""Generate images of a person in your photo, in the poses you choose.

    python pose_transfer_generate.py --source me.jpg --pose standing_front --output outputs/me
    python pose_transfer_generate.py --source me.jpg --pose friend.jpg --fit --output outputs/me
    python pose_transfer_generate.py --source a.jpg b.jpg --pose walking_front dance.json --output outputs/us
    python pose_transfer_generate.py --source me.jpg --pose dance.mp4 --fps 8 --output outputs/dance
    python pose_transfer_generate.py --source photos --pose poses --preset fine --output outputs/all \\
        --checkpoint outputs/CFLD/run/epochs_100/checkpoints
    python pose_transfer_generate.py --list-poses

A pose is a library name, a photo of a person, a film (.mp4, .m4v, .mov, .webm, .mkv, .avi, .gif), a keypoint file (an
annotation .csv in the keypoint frame of the checkpoint, one row of it as FILE.csv:NAME, or an OpenPose .json), or a
folder of these. Every photo is generated in every pose. The output folder contains <photo>_to_<pose>.png,
skeletons/<pose>.png (with --fit skeletons/<photo>_to_<pose>.png), grid.png, and for several poses <photo>.gif and
<photo>.mp4. The default checkpoint is the demo, which is trained on drawn people only.

A film becomes poses <film>_0001, ... of one person, smoothed over time and framed together, and skeletons/<film>.mp4.
Every Nth frame is taken, so that the video has about --fps poses per second and the speed of the film. A folder of
OpenPose frames is a film, too, if all its files are <film>_<12 digits>_keypoints.json with consecutive numbers.
"""

from argparse import Namespace
from pathlib import Path

from inference.options import add_estimator_option, add_framing_option, add_model_options, presets
from utils.command_line import Parser
from utils.errors import one_line_errors
from utils.imports import large_imports


def arguments() -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--source", nargs="+", default=[], help="photos of people, or folders of photos")
    parser.add_argument("--pose", nargs="+", default=[], help="poses: names, photos, films, keypoint files, or "
                        "folders")  # fmt: skip
    parser.add_argument("--output", type=Path, help="output folder")
    add_model_options(parser)
    parser.add_argument("--list-poses", action="store_true", help="print the names of the library poses and exit")
    parser.add_argument("--preset", default="standard", choices=presets(), help="quality preset (default: standard)")
    parser.add_argument("--steps", type=int, help="number of denoising steps, overrides the preset")
    parser.add_argument("--guidance", type=float, help="guidance scale (default: that of the checkpoint)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise (default: 0)")
    parser.add_argument("--fit", action="store_true", help="fit poses to the bone lengths and position of the person")
    parser.add_argument("--source-keypoints", nargs="+", default=[], help="keypoint files of the photos, in order, for "
                        "--fit; .json in pixels of the photo")  # fmt: skip
    parser.add_argument("--person", type=int, help="rank by size of the person to use if a photo, .json, or the "
                        "first frame of a film shows several (default: 1, the largest)")  # fmt: skip
    add_estimator_option(parser)
    add_framing_option(parser)
    parser.add_argument("--photo-shape", action="store_true", help="put images back into their photo, at its size")
    parser.add_argument("--background", default="generated", choices=("generated", "keep"), help="keep puts the "
                        "generated person into the photo, in front of its background (default: generated)")  # fmt: skip
    parser.add_argument("--fps", type=float, help="poses per second in videos, 0.1 to 60 (default: 4; for films "
                        "about 12, at most the film's own rate; for OpenPose frames 25)")  # fmt: skip
    return parser.parse_args()


@one_line_errors
def main() -> None:
    options = arguments()
    if options.list_poses:
        from inference.pose_library import library

        print("\n".join(library()))
    else:
        with large_imports():
            from inference.batch_generation import generate_batch
        generate_batch(options)


if __name__ == "__main__":
    main()
