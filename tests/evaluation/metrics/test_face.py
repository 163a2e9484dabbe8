"""Faces cut out and compared by a small network that the test makes."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from evaluation.metrics.face import CROP_LANDMARKS, FACE_FILE, FACE_SIDE, FaceSimilarity, face_transform
from evaluation.scores import Scorer
from utils.errors import InputError

EYES_AND_NOSE = [[30.0, 40.0], [22.0, 34.0], [22.0, 46.0]]  # nose, right eye, left eye


def write_network(path: Path, side: int) -> Path:
    """Write a network for faces of `side` pixels whose embedding is the face's mean over 16 x 16 blocks."""
    blocks, rng = side // 16, np.random.default_rng(0)
    flat = numpy_helper.from_array(np.array([1, 3 * blocks * blocks], np.int64), "flat")
    projection = numpy_helper.from_array(rng.normal(size=(3 * blocks * blocks, 32)).astype(np.float32), "projection")
    nodes = [
        helper.make_node("AveragePool", ["face"], ["blocks"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Reshape", ["blocks", "flat"], ["row"]),
        helper.make_node("MatMul", ["row", "projection"], ["embedding"]),
    ]
    values = [helper.make_tensor_value_info("face", TensorProto.FLOAT, [1, 3, side, side])]
    out = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, 32])]
    graph = helper.make_graph(nodes, "face", values, out, [flat, projection])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_network(tmp_path_factory.mktemp("weights") / FACE_FILE, FACE_SIDE)


def keypoints(source=True, target=True):
    result = torch.full((1, 2, 18, 2), -1)
    for person, seen in enumerate((source, target)):
        if seen:
            result[0, person, [0, 14, 15]] = torch.tensor(EYES_AND_NOSE).long()
    return result


def test_frame_takes_the_landmarks_to_their_places():
    turn = np.deg2rad(30)
    rotation = 0.4 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    landmarks = CROP_LANDMARKS @ rotation + [20, 50]
    frame = face_transform(landmarks)
    there = (frame @ np.c_[landmarks[:, ::-1], np.ones(3)].T).T[:, ::-1]
    np.testing.assert_allclose(there, CROP_LANDMARKS, atol=1e-9)


def test_similarity_of_faces(weights):
    score = FaceSimilarity(weights)
    image = torch.rand(1, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    assert score(image, image, keypoints()).item() == pytest.approx(1, abs=1e-6)
    elsewhere = image.clone()
    elsewhere[..., 50:, :] = 0  # below the face
    assert score(elsewhere, image, keypoints()).item() == pytest.approx(1, abs=1e-6)
    assert score(image.flip(1), image, keypoints()).item() < 0.99
    for unseen in ({"source": False}, {"target": False}):
        assert score(image, image, keypoints(**unseen)).isnan().all()


def test_only_pairs_with_two_faces_count(weights):
    scorer = Scorer("cpu", weights.parent)
    images = torch.randint(0, 256, (2, 3, 64, 80), dtype=torch.uint8)
    scorer.update(images, images, [0, 1], torch.cat([keypoints(), keypoints(source=False)]))
    assert scorer.compute()["FaceSim"] == pytest.approx(1, abs=1e-6)
    assert ["FaceSim" in row for row in scorer.table()] == [True, False]


def test_something_else_than_a_network(tmp_path):
    (tmp_path / FACE_FILE).write_bytes(b"no network")
    with pytest.raises(InputError, match="not an ONNX network"):
        FaceSimilarity(tmp_path / FACE_FILE)
    assert "not an ONNX network" in Scorer("cpu", tmp_path).skipped["FaceSim"]


def test_a_network_of_larger_faces(tmp_path):
    """It is found out at the start, not at the first face."""
    with pytest.raises(InputError, match="not an ONNX network"):
        FaceSimilarity(write_network(tmp_path / FACE_FILE, 160))
