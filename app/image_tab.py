"""The tab that generates one image from a photo and a pose."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import gradio as gr

from datasets.keypoints import FRAME
from inference.drawing import save_image
from inference.pose_library import library
from inference.synthesis import Choices, generate_images

from .editor import from_editor, skeleton_editor, to_editor
from .jobs import CancelledError, note, problem, run_job
from .studio import MODEL_QUEUE, QUIET, Studio, photo_input, preset_choice, seed_choice, thumbnail

JOB = "image"  # name of the jobs of this tab
FIRST_POSE = "standing_front"
HISTORY = 24  # images in the history
START = "Drop a photo of one person, at least from head to hip, choose a pose, and press Generate."


def image_tab(studio: Studio) -> None:
    """Build the tab."""
    frame, thumbnails = studio.pipe.pose_frame, [thumbnail(pose, FRAME) for pose in library().values()]
    with gr.Row(elem_classes="three"):
        with gr.Column(min_width=260):
            gr.Markdown("#### 1 · Photo")
            photo = photo_input("Photo", show_label=False, height=430, elem_id="photo")
        with gr.Column(min_width=260):
            gr.Markdown("#### 2 · Pose: drag the joints")
            editor = skeleton_editor(library(frame)[FIRST_POSE], frame)
        with gr.Column(min_width=260):
            gr.Markdown("#### 3 · Image")
            result = gr.Image(
                label="Image", show_label=False, interactive=False, format="png", height=430, elem_id="result",
                buttons=["fullscreen"],
            )  # fmt: skip
    with gr.Row(elem_classes="actions"):
        generate = gr.Button("Generate", variant="primary", elem_id="generate", scale=3)
        cancel = gr.Button("Cancel", elem_id="cancel", scale=1)
        download = gr.DownloadButton("Download", elem_id="download", interactive=False, scale=1)
    status = gr.HTML(note(START), elem_id="status")
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            gallery = gr.Gallery(
                thumbnails, label="Poses", show_label=False, columns=9, height=450, allow_preview=False,
                elem_id="poses", elem_classes="skeletons", buttons=[],
            )  # fmt: skip
            with gr.Accordion("Pose from another photo or a keypoint file", open=False):
                with gr.Row():
                    other = photo_input("Photo with the target pose", height=220, elem_id="other")
                    file = gr.File(label="OpenPose .json or annotation .csv", file_types=[".json", ".csv"], height=220)
        with gr.Column(scale=2, min_width=280):
            preset = preset_choice("standard")
            fit = gr.Checkbox(label="Fit the pose to the person (requires the pose networks)")
            with gr.Accordion("Advanced", open=False):
                seed = seed_choice(elem_id="seed")
                steps = gr.Slider(0, 100, 0, step=1, label="Denoising steps (0: from the preset)")
                own = studio.pipe.sampling.guidance_scales.full
                guidance = gr.Slider(1, 8, own, step=0.1, label="Guidance")
            gr.Markdown("#### History")
            history = gr.Gallery(
                label="History", show_label=False, columns=4, height=230, object_fit="contain", elem_id="history"
            )

    images = gr.State([])

    def make(path, skeleton, preset, fit, seed, steps, guidance, earlier, request: gr.Request) -> Iterator[dict]:
        stop = studio.jobs.start(request.session_hash, JOB)
        yield {status: note("Waiting for the model …"), generate: gr.Button(interactive=False)}
        with TemporaryDirectory() as folder:  # Gradio copies the file and deletes the copy later
            try:
                person = studio.person(path, needed=fit)
                pose = studio.pose_for(person, from_editor(skeleton, frame), fit)
                choices = Choices(int(seed or 0), int(steps) or None, guidance, preset)
                job = partial(generate_images, studio.pipe, person, [pose], choices)
                [image] = yield from run_job(job, stop, status)
                file = Path(folder) / f"{person.name}_posed.png"
                save_image(image, file)
            except Exception as error:
                yield {status: problem(error), generate: gr.Button(interactive=True)}
                return
            earlier = [image, *earlier][:HISTORY]
            yield {
                result: image,
                status: note("Done. Change the pose or try another seed.", "good"),
                images: earlier,
                history: earlier,
                download: gr.DownloadButton(value=str(file), interactive=True),
                generate: gr.Button(interactive=True),
            }

    def pose_of(path: str | None) -> dict:
        if not path:
            return {status: note(START)}
        try:
            pose = studio.poses_of(path)[0]
        except Exception as error:
            return {status: problem(error)}
        return {editor: to_editor(pose.keypoints, frame), status: note(f"Loaded the pose of {pose.name}.", "good")}

    def cancelled(request: gr.Request) -> dict:
        studio.jobs.stop(request.session_hash, JOB)
        return {status: problem(CancelledError()), generate: gr.Button(interactive=True)}

    def chosen_pose(event: gr.SelectData) -> str:
        return to_editor(list(library(frame).values())[event.index], frame)

    work = generate.click(
        make, [photo, editor, preset, fit, seed, steps, guidance, images],
        [result, status, images, history, download, generate],
        concurrency_id=MODEL_QUEUE, concurrency_limit=1, **QUIET,
    )  # fmt: skip
    cancel.click(cancelled, outputs=[status, generate], cancels=work, queue=False, **QUIET)
    gallery.select(chosen_pose, outputs=editor, **QUIET)
    other.change(pose_of, other, [editor, status], **QUIET)
    file.upload(pose_of, file, [editor, status], **QUIET)
