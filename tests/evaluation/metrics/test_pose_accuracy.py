"""The percentage of correct keypoints, with an estimator whose answers are known."""

import numpy as np
import pytest
import torch
from inference.pose_estimation import DETECTOR, POSE

from datasets.keypoints import FRAME, MISSING
from evaluation.metrics.pose_accuracy import PoseAccuracy, head_length, pckh
from inference.pose_library import library
from utils.errors import InputError

STANDING = library()["standing_front"]


def test_within_half_a_head():
    head = head_length(STANDING)
    assert head == pytest.approx(np.linalg.norm(STANDING[0] - STANDING[1]))
    assert pckh(STANDING, STANDING) == 1
    moved = STANDING.copy()
    moved[4] += (0, 0.49 * head)
    assert pckh(STANDING, moved) == 1
    moved[4] += (0, 0.02 * head)
    moved[7] = MISSING
    count = (STANDING != MISSING).all(axis=1).sum()
    assert pckh(STANDING, moved) == pytest.approx(1 - 2 / count)
    assert pckh(STANDING, None) == 0


def test_what_was_not_asked_for_does_not_count():
    asked = STANDING.copy()
    asked[[4, 7]] = MISSING
    assert pckh(asked, STANDING) == 1


def test_heads_from_behind_and_without():
    back = library()["standing_back"]
    assert (back[0] == MISSING).all() and head_length(back) > 0
    bare = back.copy()
    bare[[0, 14, 15, 16, 17]] = MISSING
    assert head_length(bare) == pytest.approx(np.linalg.norm(bare[2] - bare[5]) / 2)
    assert np.isnan(pckh(np.full((18, 2), -1.0), STANDING))


def test_the_best_of_the_people_found(tmp_path, monkeypatch):
    pytest.importorskip("rtmlib")
    (tmp_path / POSE).touch()
    with pytest.raises(InputError, match=DETECTOR):
        PoseAccuracy(tmp_path / POSE)
    (tmp_path / DETECTOR).touch()
    score = PoseAccuracy(tmp_path / POSE)
    answers = iter([[STANDING + 100, STANDING], [], [STANDING]])
    monkeypatch.setattr(score.estimator, "people", lambda photo: next(answers))
    keypoints = torch.from_numpy(np.stack([np.stack([STANDING, STANDING])] * 3))
    keypoints[2, 1] = MISSING
    shares = score(torch.zeros(3, 3, *FRAME), torch.zeros(3, 3, *FRAME), keypoints)
    assert shares[:2].tolist() == [1, 0] and shares[2].isnan()
