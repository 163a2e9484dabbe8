"""The formats of keypoint files, each written from the same arrays (18, 2) of (y, x), -1 for missing."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from datasets.keypoints import MISSING
from datasets.pair_lists import ANNOTATION_HEADER

Size = tuple[int, int]  # height and width of the image of the keypoints
Given = Mapping[str, tuple[np.ndarray, Size]]  # by image name
Write = Callable[[Path, Given], Path]  # writes a folder; returns the file or folder for the command line


def annotations(change: Callable[[str], str] = str, encoding: str = "utf-8", number: type = float) -> Write:
    def write(folder: Path, given: Given) -> Path:
        lists = {
            name: [json.dumps(list(map(number, side))) for side in points.T.tolist()]
            for name, (points, _) in given.items()
        }
        rows = [ANNOTATION_HEADER, *(f"{name}:{y}:{x}" for name, (y, x) in lists.items())]
        folder.mkdir(parents=True)
        (folder / "keypoints.csv").write_bytes(change("\n".join(rows) + "\n").encode(encoding))
        return folder / "keypoints.csv"

    return write


def as_spreadsheets_save(text: str) -> str:
    """Quote every row, and add commas to the header, blanks, and empty rows."""
    header, *rows = text.splitlines()
    rows = ['"' + row.replace("[", " [").replace("]:", "] : ") + '" ,,' for row in rows]
    return "\r\n".join(["", header + ",,,,", *rows[:1], ",,,,", "", *rows[1:], " "])


def with_quoted_fields(text: str) -> str:
    return "".join(":".join(f'"{field}"' for field in row.split(":")) + "\n" for row in text.splitlines())


def json_files(document: Callable[[np.ndarray, Size], object], encoding: str = "utf-8") -> Write:
    def write(folder: Path, given: Given) -> Path:
        for name, (points, size) in given.items():
            file = (folder / name).with_suffix(".json")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(json.dumps(document(points, size)).encode(encoding))
        return folder

    return write


def triples(points: np.ndarray, missing: tuple = (0, 0, 0)) -> list[list]:
    """Return [x, y, confidence] of every keypoint."""
    found = (points != MISSING).all(axis=1)
    return [[*place, 0.9] if there else list(missing) for place, there in zip(points[:, ::-1].tolist(), found)]


def pairs(points: np.ndarray, missing: tuple = (-1, -1)) -> list[list]:
    return [triple[:2] for triple in triples(points, (*missing, 0))]


def scaled(points: np.ndarray, scale) -> np.ndarray:
    return np.where(points == MISSING, MISSING, points * scale)


def body_25(points: np.ndarray) -> np.ndarray:
    more = np.full((25, 2), 7.0)
    more[[*range(8), *range(9, 19)]] = points
    return more


def openpose(points: np.ndarray, canvas: Size | None = None, name="pose_keypoints_2d", missing=(0, 0, 0)) -> dict:
    sides = dict(zip(("canvas_height", "canvas_width"), canvas or ()))
    return {"people": [{name: sum(triples(points, missing), [])}], **sides}


def with_others(document: dict) -> dict:
    """Add people without a pose."""
    others = [None, {}, {"pose_keypoints_2d": []}, {"pose_keypoints_2d": None}, {"pose_keypoints_2d": [0] * 54}]
    return document | {"people": [*others[:3], *document["people"], *others[3:]]}


def editor(size: Size, keypoints: list, prefix: str = "") -> dict:
    return {f"{prefix}width": size[1], f"{prefix}height": size[0], "keypoints": keypoints}


FORMS: dict[str, Write] = {
    "annotations": annotations(),
    "annotations of Windows": annotations(lambda text: text.replace("\n", "\r\n"), "utf-8-sig"),
    "annotations in UTF-16": annotations(encoding="utf-16"),
    "annotations with null": annotations(lambda text: text.replace("-1.0", "null")),
    "annotations of spreadsheets": annotations(as_spreadsheets_save),
    "annotations in quotes": annotations(with_quoted_fields),
    "COCO": json_files(openpose),
    "COCO on a larger canvas": json_files(lambda points, size: openpose(scaled(points, 3), (size[0] * 3, size[1] * 3))),
    "BODY_25": json_files(lambda points, size: openpose(body_25(points), size)),
    "shares": json_files(lambda points, size: openpose(scaled(points, 1 / np.array(size)), size)),
    "shares of a larger canvas": json_files(
        lambda points, size: [openpose(scaled(points, 1 / np.array(size)), (size[0] * 7, size[1] * 7))]
    ),
    "a byte-order mark": json_files(openpose, "utf-8-sig"),
    "UTF-16": json_files(openpose, "utf-16"),
    "UTF-16 without a mark": json_files(openpose, "utf-16-le"),
    "OpenPose 1.0": json_files(lambda points, size: openpose(points, size, "pose_keypoints")),
    "null": json_files(lambda points, size: openpose(points, size, missing=(None, None, None))),
    "null with a confidence": json_files(lambda points, size: openpose(points, size, missing=(None, None, 0.9))),
    "people without a pose": json_files(lambda points, size: with_others(openpose(points, size))),
    "an editor": json_files(lambda points, size: editor(size, pairs(points))),
    "an editor's canvas": json_files(lambda points, size: [editor(size, pairs(points, (0, 0)), "canvas_")]),
    "an editor's people": json_files(lambda points, size: editor(size, [triples(points), [None] * 18])),
    "an editor's numbers": json_files(lambda points, size: editor(size, sum(pairs(points, (None, None)), []))),
}
