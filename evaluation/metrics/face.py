"""Identity preservation: face similarity according to a face-recognition network."""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from utils.errors import InputError

FACE_FILE = "face.onnx"
FACE_SIDE = 112
INPUT = (1, 3, FACE_SIDE, FACE_SIDE)
LANDMARKS = (0, 14, 15)  # nose, right eye, and left eye of the 18 keypoints
CROP_LANDMARKS = np.array([[71.74, 56.03], [51.70, 38.29], [51.50, 73.53]])  # (y, x) in the ArcFace crop


class FaceSimilarity:
    """Computes the cosine similarity in [-1, 1] of the faces of predictions and targets.

    Faces are aligned by the nose and eyes of the target, as ArcFace (Deng et al. 2019) and its successors expect. Pairs
    whose source or target lacks one of these keypoints have no score.

    Args:
        weights: ONNX file of a network from RGB faces (1, 3, 112, 112) in [-1, 1] to embeddings (1, d).
    """

    def __init__(self, weights: Path) -> None:
        try:
            self.network = cv2.dnn.readNetFromONNX(str(weights))
            self._embed(torch.zeros(3, FACE_SIDE, FACE_SIDE), np.eye(2, 3))  # fails if it expects other faces
        except cv2.error:
            raise InputError(f"{weights}: not an ONNX network of faces {INPUT} that OpenCV can run") from None

    def __call__(self, pred: Tensor, target: Tensor, keypoints: Tensor) -> Tensor:
        """Return similarities (B,) of images (B, 3, H, W) in [0, 1]; NaN if a face is not visible.

        Args:
            keypoints: (B, 2, 18, 2): (y, x) pixels of the keypoints of source and target, -1 for missing.
        """
        faces = keypoints[:, :, LANDMARKS]  # (B, 2, 3, 2)
        result = torch.full((len(pred),), torch.nan, dtype=torch.float64)
        for row in (faces >= 0).all((1, 2, 3)).nonzero().flatten().tolist():  # visible in source and target
            to_crop = face_transform(faces[row, 1].double().numpy())
            result[row] = self._embed(pred[row], to_crop) @ self._embed(target[row], to_crop)
        return result

    def _embed(self, image: Tensor, to_crop: np.ndarray) -> Tensor:
        """Compute the normalized embedding (d,) of the face in an image (3, H, W)."""
        pixels = image.permute(1, 2, 0).cpu().numpy() * 2 - 1
        face = cv2.warpAffine(pixels, to_crop, (FACE_SIDE, FACE_SIDE), flags=cv2.INTER_CUBIC)
        self.network.setInput(np.ascontiguousarray(face.transpose(2, 0, 1)[None]))
        embedding = torch.from_numpy(self.network.forward()).double().flatten()
        return embedding / embedding.norm()


def face_transform(landmarks: np.ndarray) -> np.ndarray:
    """Fit the similarity transform (2, 3) of (x, y) from nose and eyes (3, 2) (y, x) to `CROP_LANDMARKS`."""
    points, crop_points = (yx @ (1j, 1) for yx in (landmarks, CROP_LANDMARKS))  # x + iy, transformed to a (x + iy) + b
    a, b = np.linalg.lstsq(np.column_stack([points, np.ones(3)]), crop_points, rcond=None)[0]
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
