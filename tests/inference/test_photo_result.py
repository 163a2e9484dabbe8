from dataclasses import replace

import numpy as np
from PIL import Image

from datasets.keypoints import FRAME
from demo.appearance import sample_person
from demo.body_painter import draw
from demo.poses import sample_pose
from inference.blazepose import BlazePose
from inference.framer import Framer
from inference.photo_result import figure_mask, in_photo
from inference.placement import Placement
from tests.inference.estimators import Finds, NobodyFound, needs_blazepose

RNG = np.random.default_rng(3)
PERSON = sample_person(RNG)


def drawn(view: str) -> tuple[Image.Image, np.ndarray]:
    """Return a photo of the person, 550 x 375 pixels, and its keypoints in the frame."""
    pixels, points = draw(PERSON, sample_pose(RNG, PERSON, view=view, stance="standing"))
    keypoints = points[:, ::-1] * np.array(FRAME) / (1101, 750)
    return Image.fromarray(pixels).resize((375, 550)), np.where(np.isnan(keypoints), -1, keypoints)


PHOTO, FRONT = drawn("front")
PHOTO_POINTS = np.where(FRONT == -1, -1, FRONT * (550, 375) / FRAME)
IMAGE, POSE = drawn("back")


@needs_blazepose
def test_images_return_to_the_size_and_place_of_the_photo():
    landscape = Image.new("RGB", (1200, 700), PHOTO.getpixel((1, 1)))
    landscape.paste(PHOTO, (700, 100))
    reduced = landscape.resize((600, 350))
    person = Framer(BlazePose(), Placement.default(FRAME)).source("me", reduced)
    kept, whole = (
        np.asarray(in_photo(person, landscape, [IMAGE], [POSE], BlazePose(), keep)[0]) for keep in (True, False)
    )
    assert kept.shape == whole.shape == (700, 1200, 3)
    assert np.array_equal(kept[:, :600], np.asarray(landscape)[:, :600])
    change = np.abs(whole.astype(int) - np.asarray(landscape)).max(axis=2) > 20
    assert change[:, 700:1075].mean() > 5 * change[:, :650].mean()


@needs_blazepose
def test_a_figure_that_the_estimator_misses_is_cut_out_by_its_pose():
    mask = figure_mask(IMAGE, POSE, FRAME)
    [truth] = BlazePose().people(IMAGE)
    both, either = (mask > 0) & (truth.mask > 0.5), (mask > 0) | (truth.mask > 0.5)
    assert both.sum() / either.sum() > 0.8
    person = Framer(BlazePose(), Placement.default(FRAME)).source("me", PHOTO)
    [kept] = in_photo(person, PHOTO, [IMAGE], [POSE], NobodyFound(), keep=True)
    assert np.array_equal(np.asarray(kept)[:10], np.asarray(PHOTO)[:10]) and kept != PHOTO


def test_people_without_masks_are_cut_out_by_their_poses():
    """DWPose finds people whose masks BlazePose does not."""

    class NoMasks(Finds):
        def find(self, photos, fps=None):
            for people in super().find(photos, fps):
                yield [replace(person, mask=np.zeros_like(person.mask)) for person in people]

    framer = Framer(NoMasks(PHOTO_POINTS), Placement.default(FRAME))
    person = framer.source("me", PHOTO, needed=True)
    assert not person.mask.any()
    [kept] = in_photo(person, PHOTO, [IMAGE], [POSE], framer.estimator, keep=True)
    change = np.abs(np.asarray(kept, int) - np.asarray(PHOTO)).max(axis=2) > 20
    figure = figure_mask(PHOTO, PHOTO_POINTS, (PHOTO.height, PHOTO.width)) > 0
    assert change[figure].mean() > 0.1 and change[:10].mean() == 0


def test_a_figure_that_fills_the_image_or_lies_outside():
    assert figure_mask(IMAGE, POSE * 20 - 2000, FRAME).shape == (550, 375)
    assert figure_mask(IMAGE, np.where(POSE == -1, -1, POSE + 5000), FRAME).max() == 0
