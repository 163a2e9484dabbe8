"""Your photo, in the poses you ask for.

    python pose_transfer_generate.py --source me.jpg --pose standing_front --output outputs/me
    python pose_transfer_generate.py --source me.jpg --pose friend.jpg --fit --output outputs/me
    python pose_transfer_generate.py --source a.jpg b.jpg --pose walking_front dance.json --output outputs/us
    python pose_transfer_generate.py --source photos --pose poses --preset fine --output outputs/all \\
        --checkpoint outputs/CFLD/run/epochs_100/checkpoints
    python pose_transfer_generate.py --list-poses

A pose is a name of the library, a photo of somebody in it (found with rtmlib), a keypoint file (an annotation
.csv in the frame of the checkpoint's training, one of its rows as FILE.csv:NAME, or an OpenPose .json), or a folder
of any of them. Every photo is made in every pose. The output folder gets <photo>_to_<pose>.png, skeletons/<pose>.png
(with --fit skeletons/<photo>_to_<pose>.png), grid.png, and for several poses <photo>.gif and <photo>.mp4. Without
--checkpoint the demo weights are used, which know drawn people only.
"""

import os
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os.path import isdir
from pathlib import Path

from datasets.keypoints import check_skeleton
from inference.drawing import draw_skeleton, picture_grid, save_films, save_image, tile
from inference.framing import read_photo
from inference.pipeline import CFLDPipeline
from inference.pipeline_options import add_model_options, check_model_options, pipeline_of
from inference.pose_estimation import PoseEstimator
from inference.pose_library import NamedPose, library
from inference.pose_sources import PoseReader, files_in
from inference.synthesis import Choices, Person, fitted, make_pictures, presets, shown_size
from utils.command_line import Parser
from utils.errors import InputError, one_line_errors
from utils.files import check_writable
from utils.image_files import IMAGE_EXTENSIONS, image_size

LONGEST_NAME = 255  # bytes of a file's name


def arguments() -> Namespace:
    parser = Parser(__doc__)
    parser.add_argument("--source", nargs="+", default=[], help="photos of people, or folders of photos")
    parser.add_argument("--pose", nargs="+", default=[], help="poses: names, photos, keypoint files, or folders")
    parser.add_argument("--output", type=Path, help="folder to write to")
    add_model_options(parser)
    parser.add_argument("--list-poses", action="store_true", help="print the names of the library and end")
    parser.add_argument("--preset", default="standard", help=f"how much care: {', '.join(presets())} (standard)")
    parser.add_argument("--steps", type=int, help="denoising steps, in place of the preset's")
    parser.add_argument("--guidance", type=float, help="guidance scale of everything (the checkpoint's own)")
    parser.add_argument("--seed", type=int, default=0, help="other seeds give other pictures (0)")
    parser.add_argument("--fit", action="store_true", help="give poses the person's bone lengths and place")
    parser.add_argument(
        "--source-keypoints",
        nargs="+",
        default=[],
        help="keypoint files of the sources, in order, for --fit; .json in their pixels",
    )
    parser.add_argument(
        "--person", type=int, help="which of several people in a photo or .json, 1 the largest (the largest)"
    )
    parser.add_argument("--photo-shape", action="store_true", help="cut pictures to the shape of their photo")
    parser.add_argument("--fps", type=float, default=4.0, help="poses a second of GIF and MP4, 0.1 to 60 (4)")
    return parser.parse_args()


def check(options: Namespace) -> None:
    """Raise `InputError` for what can be told before anything is loaded."""
    for name in ("source", "pose", "output"):
        if not getattr(options, name):
            raise InputError(f"command line: --{name} is missing; `--help` shows examples")
    if options.preset not in presets():
        raise InputError(f"--preset is {options.preset}, expected one of {', '.join(presets())}")
    if not 0.1 <= options.fps <= 60:
        raise InputError(f"--fps is {options.fps:g}, expected 0.1 to 60")
    if not 0 <= options.seed < 2**63:
        raise InputError(f"--seed is {options.seed}, expected 0 or more")
    check_writable(options.output, "--output")
    if options.source_keypoints and not options.fit:
        raise InputError("--source-keypoints is read with --fit only; add --fit or leave it out")
    check_model_options(options)


@dataclass(frozen=True)
class Source:
    """A photo that can be read, what its pictures are called after, and the poses of its person."""

    name: str
    path: Path
    poses: list[NamedPose]

    def picture(self, pose: NamedPose) -> str:
        """The file name of the picture in a pose."""
        return f"{self.name}_to_{pose.name}.png"


def read_sources(options: Namespace, reader: PoseReader, poses: list[NamedPose]) -> list[Source]:
    """The photos, each read once by now but not kept, with the poses as --fit has them.

    Raises:
        InputError: a photo cannot be read, or the poses cannot be fitted to its person.
    """
    files = source_files(options.source)
    given = reader.read(options.source_keypoints, [image_size(file) for file in files])
    if given and len(given) != len(files):
        raise InputError(f"--source-keypoints has {len(given)} poses for {len(files)} photos; give one for each")
    sources = []
    for number, file in enumerate(files):
        person, own = Person(file.stem, read_photo(file), reader.frame), poses
        if options.fit:
            keypoints = given[number].keypoints if given else reader.keypoints_in(person.photo, person.name)
            own = fitted(replace(person, keypoints=keypoints), poses)
            for pose in own:
                check_skeleton(pose.keypoints, reader.frame, f"{pose.name} fitted to {person.name}")
        sources.append(Source(file.stem, file, own))
    return with_own_names(sources)


def source_files(texts: Sequence[str]) -> list[Path]:
    """The photos of files and folders.

    Raises:
        InputError: a folder has none.
    """
    paths = map(Path, texts)
    return [file for path in paths for file in (files_in(path, IMAGE_EXTENSIONS) if isdir(path) else [path])]


def with_own_names(items: list) -> list:
    """Sources or poses, those of equal names numbered: no file is written twice."""
    given, taken = {item.name for item in items}, {}
    for item in items:
        name, number = item.name, 1
        while name in taken or (number > 1 and name in given):
            number += 1
            name = f"{item.name}_{number}"
        taken[name] = replace(item, name=name)
    return list(taken.values())


def check_names(sources: list[Source]) -> None:
    """Raise `InputError` where a picture's name is too long, or two would be one file: `a` to `b_to_c`, `a_to_b` to
    `c`.
    """
    names = [source.picture(pose) for source in sources for pose in source.poses]
    for name in names:
        if len(os.fsencode(name)) > LONGEST_NAME:
            raise InputError(f"{name}: too long for the name of a file; rename the file of the photo or of the pose")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"{twice[0]}: two pictures would have this name; rename the file of a photo or of a pose")


def write_pictures(pipe: CFLDPipeline, sources: list[Source], poses: list[NamedPose], options: Namespace) -> None:
    """Make everything and write it to the output folder; memory holds one photo at a time."""
    choices = Choices(options.seed, options.steps, options.guidance, options.preset, options.batch_size)
    folder, size = options.output, shown_size(pipe)
    rows = []
    for number, source in enumerate(sources, start=1):
        person = Person(source.name, read_photo(source.path), pipe.pose_frame)
        pipe.set_progress_bar_config(desc=f"{person.name} ({number} of {len(sources)})", unit="step", leave=False)
        pictures = make_pictures(pipe, person, source.poses, choices)
        if options.photo_shape:
            pictures = [person.framing.restore(picture) for picture in pictures]
        (folder / "skeletons").mkdir(parents=True, exist_ok=True)
        for pose, picture in zip(source.poses, pictures):
            save_image(picture, folder / source.picture(pose))
            skeleton = source.picture(pose) if options.fit else f"{pose.name}.png"
            save_image(draw_skeleton(pose.keypoints, size, pipe.pose_frame), folder / "skeletons" / skeleton)
        if len(poses) > 1:
            for problem in save_films(pictures, folder, person.name, options.fps).values():
                print(f"warning: {problem}", file=sys.stderr)
        rows.append((tile(person.framed, size), pictures))
    columns = [(pose.name, draw_skeleton(pose.keypoints, size, pipe.pose_frame)) for pose in poses]
    save_image(picture_grid(columns, rows), folder / "grid.png")


@one_line_errors
def main() -> None:
    options = arguments()
    if options.list_poses:
        print("\n".join(library()))
        return
    check(options)
    pipe = pipeline_of(options)
    reader = PoseReader(PoseEstimator(), pipe.pose_frame, options.person)
    poses = with_own_names(reader.read(options.pose))
    sources = read_sources(options, reader, poses)
    check_names(sources)
    write_pictures(pipe, sources, poses, options)
    print(f"{len(sources) * len(poses)} pictures, skeletons and grid.png in {options.output}")


if __name__ == "__main__":
    main()
