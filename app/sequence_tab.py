"""The second tab: one photo, many poses, a film."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import gradio as gr
import numpy as np

from datasets.keypoints import MISSING
from inference.drawing import save_films
from inference.pose_library import NamedPose, library
from inference.synthesis import Choices, make_pictures
from utils.errors import InputError

from .cancellable import CancelledError, note, problem, reported, watched
from .studio import MODEL_QUEUE, QUIET, Studio, photo_input, preset_choice, readable, seed_choice, thumbnail

SEQUENCE = "sequence"  # this tab's name among a visitor's pieces of work
FIRST_POSES = ["standing_front", "standing_turned_right", "standing_right", "walking_right"]
MOST_FRAMES = 120


def sequence_tab(studio: Studio) -> None:
    """Lay the tab out and connect it."""
    frame = studio.pipe.pose_frame
    with gr.Row():
        with gr.Column(scale=1, min_width=260):
            photo = photo_input("Photo", show_label=False, height=360, elem_id="sequence-photo")
        with gr.Column(scale=2, min_width=300):
            names = gr.Dropdown(
                [(readable(name), name) for name in library()], value=FIRST_POSES, multiselect=True,
                label="Poses, in order", elem_id="sequence-poses",
            )  # fmt: skip
            files = gr.File(
                label="… then those of files (OpenPose .json, annotation .csv, photos)", file_count="multiple",
                file_types=[".json", ".csv", "image"], height=170,
            )  # fmt: skip
            with gr.Row():
                between = gr.Slider(0, 8, 1, step=1, label="Pictures between two poses")
                fps = gr.Slider(1, 24, 4, step=1, label="Pictures a second")
            with gr.Row():
                preset = preset_choice("fast")
                seed = seed_choice()
            fit = gr.Checkbox(label="Fit the poses to the person (needs the pose networks)")
    with gr.Row(elem_classes="actions"):
        generate = gr.Button("Make the film", variant="primary", elem_id="sequence-generate", scale=3)
        cancel = gr.Button("Cancel", elem_id="sequence-cancel", scale=1)
        download = gr.DownloadButton("Download GIF", elem_id="sequence-download", interactive=False, scale=1)
    status = gr.HTML(note("Drop a photo of one person, choose at least two poses."), elem_id="sequence-status")
    with gr.Row():
        film = gr.Video(label="Film", show_label=False, height=420, autoplay=True, loop=True, elem_id="film")
        strip = gr.Gallery(
            label="Skeletons", show_label=False, height=420, allow_preview=False, buttons=[], elem_classes="skeletons"
        )

    def make(path, names, files, between, fps, preset, seed, fit, request: gr.Request) -> Iterator[dict]:
        stop = studio.visitors.start(request.session_hash, SEQUENCE)
        yield {status: note("Waiting for the model …"), generate: gr.Button(interactive=False)}
        with TemporaryDirectory() as folder:  # Gradio takes copies, and deletes them in time
            try:
                person = studio.person(path, known=fit)
                poses = [NamedPose(name, library(frame)[name]) for name in names or []]
                poses += [pose for file in files or [] for pose in studio.poses_of(file)]
                keypoints = in_between([pose.keypoints for pose in poses], int(between))
                frames = [studio.pose_for(person, points, fit) for points in keypoints]
                yield {strip: [thumbnail(pose.keypoints, frame) for pose in frames]}
                choices = Choices(int(seed or 0), preset=preset, batch_size=studio.batch_size)
                work = watched(lambda on_step: make_pictures(studio.pipe, person, frames, choices, on_step), stop)
                pictures = yield from reported(work, status)
                problems = save_films(pictures, Path(folder), person.name, fps)
            except Exception as error:
                yield {status: problem(error), generate: gr.Button(interactive=True)}
                return
            mp4, gif = (None if kind in problems else f"{folder}/{person.name}.{kind}" for kind in ("mp4", "gif"))
            done = note(f"Done: {len(pictures)} pictures.", "good")
            yield {
                film: mp4,
                download: gr.DownloadButton(value=gif, interactive=gif is not None),
                status: note("; ".join(problems.values()), "bad") if problems else done,
                generate: gr.Button(interactive=True),
            }

    def cancelled(request: gr.Request) -> dict:
        studio.visitors.stop(request.session_hash, SEQUENCE)
        return {status: problem(CancelledError()), generate: gr.Button(interactive=True)}

    work = generate.click(
        make, [photo, names, files, between, fps, preset, seed, fit], [film, strip, status, download, generate],
        concurrency_id=MODEL_QUEUE, concurrency_limit=1, **QUIET,
    )  # fmt: skip
    cancel.click(cancelled, outputs=[status, generate], cancels=work, queue=False, **QUIET)


def in_between(poses: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
    """The poses with `count` more between each two: joints on straight lines, those missing in one left out.

    Raises:
        InputError: fewer than two poses, or more pictures than `MOST_FRAMES`.
    """
    total = (len(poses) - 1) * (count + 1) + 1
    if len(poses) < 2:
        raise InputError("a film needs at least two poses")
    if total > MOST_FRAMES:
        raise InputError(f"the film would have {total} pictures; at most {MOST_FRAMES} are made at once")
    result = []
    for start, end in zip(poses, poses[1:]):
        hidden = ((start == MISSING) | (end == MISSING)).any(axis=1, keepdims=True)
        for share in np.arange(count + 1) / (count + 1):
            result.append(start if share == 0 else np.where(hidden, MISSING, start + share * (end - start)))
    return [*result, poses[-1]]
