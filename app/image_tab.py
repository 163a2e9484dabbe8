"""The first tab: one photo, one pose, one picture."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import gradio as gr

from inference.drawing import save_image
from inference.pose_library import library
from inference.synthesis import Choices, make_pictures

from .cancellable import CancelledError, note, problem, reported, watched
from .editor import from_editor, skeleton_editor, to_editor
from .studio import MODEL_QUEUE, QUIET, Studio, gallery_of_poses, photo_input, preset_choice, seed_choice

PICTURE = "picture"  # this tab's name among a visitor's pieces of work
FIRST_POSE = "standing_front"
HISTORY = 24  # pictures that are kept on the page
START = "Drop a photo of one person, from head to hip at least, choose a pose, press Generate."


def picture_tab(studio: Studio) -> None:
    """Lay the tab out and connect it."""
    frame = studio.pipe.pose_frame
    with gr.Row(elem_classes="three"):
        with gr.Column(min_width=260):
            gr.Markdown("#### 1 · Photo")
            photo = photo_input("Photo", show_label=False, height=430, elem_id="photo")
        with gr.Column(min_width=260):
            gr.Markdown("#### 2 · Pose: drag its joints")
            editor = skeleton_editor(library(frame)[FIRST_POSE], frame)
        with gr.Column(min_width=260):
            gr.Markdown("#### 3 · Picture")
            result = gr.Image(
                label="Picture",
                show_label=False,
                interactive=False,
                format="png",
                height=430,
                elem_id="result",
                buttons=["fullscreen"],
            )
    with gr.Row(elem_classes="actions"):
        generate = gr.Button("Generate", variant="primary", elem_id="generate", scale=3)
        cancel = gr.Button("Cancel", elem_id="cancel", scale=1)
        download = gr.DownloadButton("Download", elem_id="download", interactive=False, scale=1)
    status = gr.HTML(note(START), elem_id="status")
    with gr.Row():
        with gr.Column(scale=3, min_width=300):
            gallery = gr.Gallery(
                gallery_of_poses(), label="Poses", show_label=False, columns=9, height=450, allow_preview=False,
                elem_id="poses", elem_classes="skeletons", buttons=[],
            )  # fmt: skip
            with gr.Accordion("Pose from another photo, or from a keypoint file", open=False):
                with gr.Row():
                    other = photo_input("Somebody in the pose you want", height=220, elem_id="other")
                    file = gr.File(label="OpenPose .json, or annotation .csv", file_types=[".json", ".csv"], height=220)
        with gr.Column(scale=2, min_width=280):
            preset = preset_choice("standard")
            fit = gr.Checkbox(label="Fit the pose to the person (needs the pose networks)")
            with gr.Accordion("Advanced", open=False):
                seed = seed_choice(elem_id="seed")
                steps = gr.Slider(0, 100, 0, step=1, label="Denoising steps (0: as the preset says)")
                own = studio.pipe.sampling.guidance_scales.full
                guidance = gr.Slider(1, 8, own, step=0.1, label="Guidance")
            gr.Markdown("#### History")
            history = gr.Gallery(
                label="History", show_label=False, columns=4, height=230, object_fit="contain", elem_id="history"
            )

    made = gr.State([])

    def make(path, skeleton, preset, fit, seed, steps, guidance, earlier, request: gr.Request) -> Iterator[dict]:
        stop = studio.visitors.start(request.session_hash, PICTURE)
        yield {status: note("Waiting for the model …"), generate: gr.Button(interactive=False)}
        with TemporaryDirectory() as folder:  # Gradio takes a copy, and deletes it in time
            try:
                person = studio.person(path, known=fit)
                pose = studio.pose_for(person, from_editor(skeleton, frame), fit)
                choices = Choices(int(seed or 0), int(steps) or None, guidance, preset)
                work = watched(lambda on_step: make_pictures(studio.pipe, person, [pose], choices, on_step), stop)
                [picture] = yield from reported(work, status)
                file = Path(folder) / f"{person.name}_posed.png"
                save_image(picture, file)
            except Exception as error:
                yield {status: problem(error), generate: gr.Button(interactive=True)}
                return
            earlier = [picture, *earlier][:HISTORY]
            yield {
                result: picture,
                status: note("Done. Change the pose, or try another seed.", "good"),
                made: earlier,
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
        return {editor: to_editor(pose.keypoints, frame), status: note(f"Pose taken from {pose.name}.", "good")}

    def cancelled(request: gr.Request) -> dict:
        studio.visitors.stop(request.session_hash, PICTURE)
        return {status: problem(CancelledError()), generate: gr.Button(interactive=True)}

    def chosen_pose(event: gr.SelectData) -> str:
        return to_editor(list(library(frame).values())[event.index], frame)

    work = generate.click(
        make, [photo, editor, preset, fit, seed, steps, guidance, made],
        [result, status, made, history, download, generate],
        concurrency_id=MODEL_QUEUE, concurrency_limit=1, **QUIET,
    )  # fmt: skip
    cancel.click(cancelled, outputs=[status, generate], cancels=work, queue=False, **QUIET)
    gallery.select(chosen_pose, outputs=editor, **QUIET)
    other.change(pose_of, other, [editor, status], **QUIET)
    file.upload(pose_of, file, [editor, status], **QUIET)
