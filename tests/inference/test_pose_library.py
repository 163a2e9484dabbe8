import json

import numpy as np

from datasets.keypoints import FRAME, MISSING
from demo.make_pose_library import make_library
from inference.pose_library import LIBRARY, library


def test_the_file_is_what_the_prior_gives():
    assert json.loads(LIBRARY.read_text()) == make_library()


def test_poses_of_every_kind():
    poses = library()
    assert len(poses) >= 24 and "standing_front" in poses
    for view in ("front", "back", "left", "turned_left"):
        for cut in ("", "half_"):
            assert f"{cut}standing_{view}" in poses
    for name, pose in poses.items():
        found = (pose != MISSING).all(axis=1)
        assert (pose[found] >= 0).all() and (pose[found] < FRAME).all(), name
        assert found[[1, 2, 5, 8, 11]].all(), name  # neck, shoulders, hips
        assert found[[10, 13]].any() != name.startswith("half_"), name
    assert (poses["standing_back"][0] == MISSING).all()  # no nose from behind
    assert poses["standing_front"][2, 1] < poses["standing_front"][5, 1]  # the right shoulder is on the left
    assert poses["walking_left"][0, 1] < poses["walking_left"][1, 1]  # looks to the left of the picture


def test_nobody_is_stretched_into_a_frame_of_another_shape():
    narrow = library((128, 64))
    for name, pose in library().items():
        found = (pose != MISSING).all(axis=1)
        sides = np.ptp(narrow[name][found], axis=0) / np.ptp(pose[found], axis=0)
        assert np.allclose(sides, 64 / FRAME[1]) and (narrow[name][~found] == MISSING).all(), name
        assert (narrow[name][found] < (128, 64)).all(), name


def test_poses_differ():
    poses = np.stack(list(library().values()))
    distances = np.abs(poses[:, None] - poses[None]).max(axis=(2, 3))
    assert (distances + 100 * np.eye(len(poses)) > 3).all()
