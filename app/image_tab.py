"""The tab that generates one image from a photo and a pose."""

from collections.abc import Iterator, Sequence
from functools import partial
from os.path import isfile
from pathlib import Path
from tempfile import TemporaryDirectory

import gradio as gr
from PIL import Image

from datasets.keypoints import FRAME
from inference.drawing import save_image
from inference.facing import BACK_WITH_FACE, is_back_with_face
from inference.framer import Person
from inference.options import FRAMINGS
from inference.photo_result import in_photo
from inference.pose_library import NamedPose, library
from inference.synthesis import Choices, generate_images
from utils.errors import InputError
from utils.image_files import open_image

from .editor import from_editor, skeleton_editor, to_editor
from .jobs import OnStep, note, problem, run_job
from .photo_view import people_view, to_view
from .photos import Photo
from .studio import PEOPLE_QUEUE, QUIET, Studio, photo_input, preset_choice, seed_choice, thumbnail

JOB = "image"  # name of the jobs of this tab
FIRST_POSE = "standing_front"
FIRST_LOOK = "fast"  # preset of the first look
HISTORY = 24  # images in the history
START = "Drop a photo that shows a person at least from head to hips."
FRAMING_CHOICES = [("Person", "person"), ("Whole photo", "photo")]
BACKGROUNDS = [("Generated", "generated"), ("Keep the photo's", "keep")]


def image_tab(studio: Studio) -> None:
    """Build the tab."""
    frame, thumbnails = studio.pipe.pose_frame, [thumbnail(pose, FRAME) for pose in library().values()]
    with gr.Row(elem_classes="three"):
        with gr.Column(min_width=260):
            gr.Markdown("#### 1 · Photo")
            with gr.Column(elem_classes="overlaid"):
                photo = photo_input("Photo", show_label=False, height=430, elem_id="photo")
                people = people_view()
        with gr.Column(min_width=260):
            gr.Markdown("#### 2 · Pose: drag the joints")
            editor = skeleton_editor(library(frame)[FIRST_POSE], frame)
            warning = gr.HTML(elem_id="pose-warning")
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
            with gr.Row():
                background = gr.Radio(BACKGROUNDS, value="generated", label="Background", elem_id="background")
                framing = gr.Radio(FRAMING_CHOICES, value="person", label="Framing", elem_id="framing")
            fit = gr.Checkbox(label="Fit the pose to the person")
            with gr.Accordion("Advanced", open=False):
                seed = seed_choice(elem_id="seed")
                steps = gr.Slider(0, 100, 0, step=1, label="Denoising steps (0: from the preset)")
                own = studio.pipe.sampling.guidance_scales.full
                guidance = gr.Slider(min(1, own), max(8, own), own, step=0.1, label="Guidance")
            gr.Markdown("#### History")
            history = gr.Gallery(
                label="History", show_label=False, columns=4, height=230, object_fit="contain", elem_id="history"
            )

    images, chosen = gr.State([]), gr.State(1)  # the number of the chosen person, 1 for the largest

    def make(
        path, number, framing, background, skeleton, preset, fit, seed, steps, guidance, earlier, request: gr.Request
    ) -> Iterator[dict]:
        stop = studio.jobs.start(request.session_hash, JOB)
        with TemporaryDirectory() as folder:  # Gradio keeps a copy and deletes it later
            try:
                keep = background == "keep"
                person = studio.person(path, number, framing, needed=fit or keep)
                pose = studio.pose_for(person, from_editor(skeleton, frame), fit)
                choices = Choices(int(seed or 0), int(steps) or None, None if guidance == own else guidance, preset)
                file = Path(folder) / f"{person.name}_posed.png"
                for look in looks(choices):
                    job = partial(generate_image, person, pose, look, path if keep else None)
                    save_image((yield from run_job(job, stop, status)), file)
                    kept = result.move_resource_to_block_cache(file)
                    if look is not choices:
                        yield {result: kept, status: note("Preview. The final image follows …")}
            except Exception as error:
                yield {status: problem(error), generate: gr.Button(interactive=True)}
                return
            earlier = [kept, *filter(isfile, earlier)][:HISTORY]  # Gradio deletes old files
            yield {
                result: kept,
                status: note("Done. Change the pose or try another seed.", "good"),
                images: earlier,
                history: earlier,
                download: gr.DownloadButton(value=str(file), interactive=True),
                generate: gr.Button(interactive=True),
            }

    def looks(choices: Choices) -> list[Choices]:
        """Return the choices, after those of a first look by the student, if there is one and they are others."""
        first = Choices(choices.seed, preset=FIRST_LOOK)
        return [first, choices] if studio.pipe_for(first) is not studio.pipe_for(choices) else [choices]

    def generate_image(
        person: Person, pose: NamedPose, choices: Choices, original: str | None, on_step: OnStep
    ) -> Image.Image:
        """Generate an image; with the path of the original photo, put the person in front of its background."""
        images = generate_images(studio.pipe_for(choices), person, [pose], choices, on_step)
        if original:
            images = in_photo(person, open_image(original), images, [pose.keypoints], studio.estimator, keep=True)
        return images[0]

    def show(path: str | None, framing: str) -> Iterator[dict]:
        """Show the people in a new photo, and the pose of the largest."""
        yield {people: to_view(None), chosen: 1, status: note("Looking for people …" if path else START)}
        if path:
            yield choose(path, 1, framing)

    def choose(path: str, number: int, framing: str) -> dict:
        """Choose a person; the editor shows the person's pose."""
        notes: list[str] = []
        try:
            shown = studio.photo(path)
            person = studio.person(path, number, framing, say=notes.append)
        except Exception as error:
            return {status: problem(error)}
        pose = {} if person.keypoints is None else {editor: to_editor(person.keypoints, frame)}
        return {people: to_view(shown, number), chosen: number, status: found(shown, notes), **pose}

    def clicked(event: gr.EventData, path: str, framing: str) -> dict:
        return choose(path, int(event.number), framing)

    def reframe(path: str | None, number: int, framing: str, skeleton: str) -> str:
        """Keep the pose at its place in the photo when the framing changes."""
        [before] = set(FRAMINGS) - {framing}
        return to_editor(studio.reframed(path, number, from_editor(skeleton, frame), before, framing), frame)

    def check(skeleton: str) -> str:
        return note(f"{BACK_WITH_FACE}.".capitalize(), "bad") if is_back_with_face(from_editor(skeleton, frame)) else ""

    def pose_of(path: str | None, photo: str | None, number: int, framing: str) -> dict:
        if not path:
            return {status: note(START)}
        try:
            pose = studio.poses_of(path)[0]
            keypoints = studio.reframed(photo, number, pose.keypoints, "person", framing)
        except Exception as error:
            return {status: problem(error)}
        return {editor: to_editor(keypoints, frame), status: note(f"Loaded the pose of {pose.name}.", "good")}

    def chosen_pose(event: gr.SelectData, path: str | None, number: int, framing: str) -> str:
        pose = list(library(frame).values())[event.index]
        return to_editor(studio.reframed(path, number, pose, "person", framing), frame)

    source = [photo, chosen, framing]
    inputs = [*source, background, editor, preset, fit, seed, steps, guidance, images]
    outputs = [result, status, images, history, download, generate]
    studio.run_on_click(JOB, make, inputs, outputs, generate, cancel, status)
    estimating = {"concurrency_id": PEOPLE_QUEUE, "concurrency_limit": 1, **QUIET}
    photo.change(show, [photo, framing], [people, chosen, editor, status], **estimating)
    people.select(clicked, [photo, framing], [people, chosen, editor, status], **QUIET)
    framing.change(reframe, [*source, editor], editor, **QUIET)
    gallery.select(chosen_pose, source, editor, **QUIET)
    other.change(pose_of, [other, *source], [editor, status], **estimating)
    file.upload(pose_of, [file, *source], [editor, status], **QUIET)
    editor.change(check, editor, warning, queue=False, **QUIET)


def found(photo: Photo, notes: Sequence[str]) -> str:
    """Return the status after a search for people, with the notes of the `Framer`."""
    if photo.problem:
        return problem(InputError(f"{photo.problem}; using the whole photo"))
    count = len(photo.people)
    counted = {
        0: "No person found; using the whole photo. Choose a pose.",
        1: "Here is your pose. Drag its joints or choose another, then press Generate.",
    }
    texts = [counted.get(count, f"{count} people found. Click the one to use, then drag the joints.")]
    texts += [f"{line.rpartition(': ')[2]}.".capitalize() for line in notes]
    return note(" ".join(texts), "good" if count else "")
