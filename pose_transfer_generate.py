"""Your photo, in the poses you ask for.

    python pose_transfer_generate.py --source me.jpg --pose standing_front --output outputs/me
    python pose_transfer_generate.py --source me.jpg --pose friend.jpg --fit --output outputs/me
    python pose_transfer_generate.py --source a.jpg b.jpg --pose walking_front dance.json --output outputs/us
    python pose_transfer_generate.py --source photos --pose poses --checkpoint outputs/CFLD/run/epochs_100/checkpoints \
        --preset fine --output outputs/all
    python pose_transfer_generate.py --list-poses

A pose is a name of the library, a photo of somebody in it (found with rtmlib), a keypoint file (an annotation
.csv in the frame of the checkpoint's training, one of its rows as FILE.csv:NAME, or an OpenPose .json), or a folder
of any of them. Every photo is made in every pose. The output folder gets <photo>_to_<pose>.png, skeletons/<pose>.png,
grid.png, and for several poses <photo>.gif and <photo>.mp4. Without --checkpoint the demo weights are used, which
know drawn people only.
"""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from os.path import isdir
from pathlib import Path

import numpy as np

from configs.arguments import Parser
from configs.errors import InputError, one_line_errors
from datasets.pair_lists import IMAGE_EXTENSIONS
from models.pipeline import CFLDPipeline
from poses import NamedPose, library
from poses.estimation import PoseEstimator, choose
from poses.making import Choices, Person, fitted, make_pictures, presets, shown_size
from poses.model_options import add_model_options, check_model_options, pipeline_of
from poses.photos import read_photo
from poses.pictures import draw_skeleton, picture_grid, save_gif, save_image, save_mp4
from poses.sources import PoseReader, files_in, photo_size


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
    try:
        if options.output.exists() and not options.output.is_dir():
            raise InputError(f"--output is {options.output}, a file; give a folder, it is made where it is not there")
    except OSError as error:
        raise InputError(f"--output is {options.output}: {error.strerror}; give a folder") from None
    if options.source_keypoints and not options.fit:
        raise InputError("--source-keypoints is read with --fit only; add --fit or leave it out")
    check_model_options(options)


def read_people(options: Namespace, reader: PoseReader) -> list[Person]:
    """The sources, with their keypoints where --fit needs them."""
    files = source_files(options.source)
    people = [Person(path.stem, read_photo(path), reader.frame) for path in files]
    if not options.fit:
        return with_own_names(people)
    if options.source_keypoints:
        given = reader.read(options.source_keypoints, [photo_size(path) for path in files])
        if len(given) != len(people):
            raise InputError(f"--source-keypoints has {len(given)} poses for {len(people)} photos; give one for each")
        keypoints = [pose.keypoints for pose in given]
    else:
        keypoints = [own_keypoints(person, reader) for person in people]
    return with_own_names([replace(person, keypoints=points) for person, points in zip(people, keypoints)])


def own_keypoints(person: Person, reader: PoseReader) -> np.ndarray:
    found = choose(reader.estimator.people(person.photo), reader.person, person.name)
    return person.framing.points(found)


def source_files(texts: Sequence[str]) -> list[Path]:
    """The photos of files and folders.

    Raises:
        InputError: a folder has none.
    """
    paths = map(Path, texts)
    return [file for path in paths for file in (files_in(path, IMAGE_EXTENSIONS) if isdir(path) else [path])]


def with_own_names(items: list) -> list:
    """People or poses, those of equal names numbered: no file is written twice."""
    given, taken = {item.name for item in items}, {}
    for item in items:
        name, number = item.name, 1
        while name in taken or (number > 1 and name in given):
            number += 1
            name = f"{item.name}_{number}"
        taken[name] = replace(item, name=name)
    return list(taken.values())


def write_pictures(pipe: CFLDPipeline, people: list[Person], poses: list[NamedPose], options: Namespace) -> None:
    """Make everything and write it to the output folder."""
    choices = Choices(options.seed, options.steps, options.guidance, options.preset, options.batch_size)
    folder, size = options.output, shown_size(pipe)
    own_poses = [fitted(person, poses) if options.fit else poses for person in people]
    rows = []
    for number, (person, own) in enumerate(zip(people, own_poses), start=1):
        pipe.set_progress_bar_config(desc=f"{person.name} ({number} of {len(people)})", unit="step", leave=False)
        pictures = make_pictures(pipe, person, own, choices)
        if options.photo_shape:
            pictures = [person.framing.restore(picture) for picture in pictures]
        (folder / "skeletons").mkdir(parents=True, exist_ok=True)
        for pose, picture in zip(own, pictures):
            save_image(picture, folder / f"{person.name}_to_{pose.name}.png")
            skeleton = f"{person.name}_{pose.name}.png" if options.fit else f"{pose.name}.png"
            save_image(draw_skeleton(pose.keypoints, size, pipe.pose_frame), folder / "skeletons" / skeleton)
        if len(poses) > 1:
            save_gif(pictures, folder / f"{person.name}.gif", options.fps)
            save_mp4(pictures, folder / f"{person.name}.mp4", options.fps)
        rows.append((person.framed, pictures))
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
    people = read_people(options, reader)
    try:
        write_pictures(pipe, people, poses, options)
    except OSError as error:
        raise InputError(f"{error.filename or options.output}: cannot be written ({error.strerror or error})") from None
    print(f"{len(people) * len(poses)} pictures, skeletons and grid.png in {options.output}")


if __name__ == "__main__":
    main()
