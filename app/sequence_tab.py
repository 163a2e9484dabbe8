"""The tab that generates a video from a photo and a sequence of poses."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import gradio as gr
import numpy as np

from datasets.keypoints import MISSING
from inference.drawing import save_videos
from inference.pose_library import NamedPose, library
from inference.synthesis import Choices, generate_images
from utils.errors import InputError

from .jobs import note, problem, run_job
from .studio import Studio, photo_input, preset_choice, seed_choice, thumbnail

JOB = "sequence"  # name of the jobs of this tab
FIRST_POSES = ["standing_front", "standing_turned_right", "standing_right", "walking_right"]
MAX_FRAMES = 120


def sequence_tab(studio: Studio) -> None:
    """Build the tab."""
    frame = studio.pipe.pose_frame
    with gr.Row():
        with gr.Column(scale=1, min_width=260):
            photo = photo_input("Photo", show_label=False, height=360, elem_id="sequence-photo")
        with gr.Column(scale=2, min_width=300):
            names = gr.Dropdown(
                [(name.replace("_", " "), name) for name in library()], value=FIRST_POSES, multiselect=True,
                label="Poses, in order", elem_id="sequence-poses",
            )  # fmt: skip
            files = gr.File(
                label="Further poses from files (OpenPose .json, annotation .csv, photos, films)",
                file_count="multiple",
                file_types=[".json", ".csv", "image", "video"], height=170,
            )  # fmt: skip
            with gr.Row():
                between = gr.Slider(0, 8, 1, step=1, label="Images between two poses")
                fps = gr.Slider(1, 24, 4, step=1, label="Images per second")
            with gr.Row():
                preset = preset_choice("fast")
                seed = seed_choice()
            fit = gr.Checkbox(label="Fit the poses to the person")
    with gr.Row(elem_classes="actions"):
        generate = gr.Button("Generate video", variant="primary", elem_id="sequence-generate", scale=3)
        cancel = gr.Button("Cancel", elem_id="sequence-cancel", scale=1)
        download = gr.DownloadButton("Download GIF", elem_id="sequence-download", interactive=False, scale=1)
    status = gr.HTML(note("Drop a photo of one person and choose at least two poses."), elem_id="sequence-status")
    with gr.Row():
        video = gr.Video(label="Video", show_label=False, height=420, autoplay=True, loop=True, elem_id="film")
        skeletons = gr.Gallery(
            label="Skeletons", show_label=False, height=420, allow_preview=False, buttons=[], elem_classes="skeletons"
        )

    def make(path, names, files, between, fps, preset, seed, fit, request: gr.Request) -> Iterator[dict]:
        stop = studio.jobs.start(request.session_hash, JOB)
        with TemporaryDirectory() as folder:  # Gradio copies the files and deletes the copies later
            try:
                person = studio.person(path, needed=fit)
                poses = [NamedPose(name, library(frame)[name]) for name in names or []]
                wanted = fps / (between + 1)  # poses per second
                poses += [pose for file in files or [] for pose in studio.poses_of(file, wanted, MAX_FRAMES)]
                fps *= next((pose.clip.fps / wanted for pose in poses if pose.clip), 1)  # the speed of a film stays
                keypoints = interpolate([pose.keypoints for pose in poses], int(between))
                poses = [studio.pose_for(person, points, fit) for points in keypoints]
                yield {skeletons: [thumbnail(pose.keypoints, frame) for pose in poses]}
                choices = Choices(int(seed or 0), preset=preset, batch_size=studio.batch_size)
                job = partial(generate_images, studio.pipe_for(choices), person, poses, choices)
                images = yield from run_job(job, stop, status)
                problems = save_videos(images, Path(folder), person.name, fps)
            except Exception as error:
                yield {status: problem(error), generate: gr.Button(interactive=True)}
                return
            mp4, gif = (None if kind in problems else f"{folder}/{person.name}.{kind}" for kind in ("mp4", "gif"))
            done = note(f"Done: {len(images)} images.", "good")
            yield {
                video: mp4,
                download: gr.DownloadButton(value=gif, interactive=gif is not None),
                status: note("; ".join(problems.values()), "bad") if problems else done,
                generate: gr.Button(interactive=True),
            }

    inputs = [photo, names, files, between, fps, preset, seed, fit]
    studio.run_on_click(JOB, make, inputs, [video, skeletons, status, download, generate], generate, cancel, status)


def interpolate(poses: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
    """Insert `count` linearly interpolated poses between consecutive poses, without joints that one of them lacks.

    Raises:
        InputError: there are fewer than two poses, or more frames than `MAX_FRAMES`.
    """
    total = (len(poses) - 1) * (count + 1) + 1
    if len(poses) < 2:
        raise InputError("a video requires at least two poses")
    if total > MAX_FRAMES:
        raise InputError(f"the video would have {total} images, expected at most {MAX_FRAMES}; choose fewer")
    result = []
    for start, end in zip(poses, poses[1:]):
        missing = ((start == MISSING) | (end == MISSING)).any(axis=1, keepdims=True)
        for share in np.arange(count + 1) / (count + 1):
            result.append(start if share == 0 else np.where(missing, MISSING, start + share * (end - start)))
    return [*result, poses[-1]]
