"""The skeleton editor of the page."""

import json
from pathlib import Path

import gradio as gr
import numpy as np

from datasets.keypoints import BONES, COLOURS, MISSING, NUM_KEYPOINTS, SHARES

NAMES = (
    "nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist",
    "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle", "right eye", "left eye",
    "right ear", "left ear",
)  # fmt: skip
CSS_COLORS = ["rgb({}, {}, {})".format(*color) for color in COLOURS]  # per keypoint and bone
HEIGHT = 256  # of the drawing area, in editor units; it has the aspect ratio of the keypoint frame
TEMPLATE = """
<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="pose; drag its joints"></svg>
<div class="tools">
  <button type="button" data-edit="undo" title="undo the last change">↶ Undo</button>
  <button type="button" data-edit="mirror" title="swap left and right">⇋ Mirror</button>
  <button type="button" data-edit="complete" title="add missing joints">+ Missing</button>
  <span class="joint-name"></span>
</div>
"""
CSS = """
svg { width: 100%; background: #11151c; border-radius: 10px; touch-action: none; user-select: none; display: block; }
line { stroke-width: 3.2; stroke-linecap: round; opacity: .72; }
.joint { cursor: grab; }
.joint.held { cursor: grabbing; }
.joint.held circle + circle { stroke: white; stroke-width: 1; }
.reach { fill: transparent; }
.joint:hover .reach { fill: rgba(255, 255, 255, .22); }
.tools { display: flex; gap: 6px; margin-top: 8px; align-items: center; flex-wrap: wrap; }
.tools button { padding: 5px 10px; border-radius: 8px; font-size: 13px; cursor: pointer;
    border: 1px solid var(--border-color-primary); background: var(--button-secondary-background-fill); }
.joint-name { font-size: 13px; opacity: .7; }
"""


def twins() -> list[int]:
    """Return the index of the opposite keypoint (left or right) of every keypoint."""
    sides = {"right": "left", "left": "right"}
    mirrored = [" ".join(sides.get(word, word) for word in name.split()) for name in NAMES]
    return [NAMES.index(name) for name in mirrored]


def drawing_area(frame: tuple[int, int]) -> tuple[float, float]:
    """Return the (height, width) of the drawing area in editor units."""
    return HEIGHT, HEIGHT * frame[1] / frame[0]


def skeleton_editor(keypoints: np.ndarray, frame: tuple[int, int]) -> gr.HTML:
    """Return the editor component; its value is that of `to_editor`, and every change triggers `input`."""
    height, width = drawing_area(frame)
    return gr.HTML(
        to_editor(keypoints, frame),
        html_template=TEMPLATE.format(height=height, width=width),
        css_template=CSS,
        js_on_load=Path(__file__).with_name("editor.js").read_text(encoding="utf-8"),
        elem_id="editor",
        bones=BONES,
        colours=CSS_COLORS,
        names=NAMES,
        twins=twins(),
        frame=[height, width],
    )


def to_editor(keypoints: np.ndarray, frame: tuple[int, int]) -> str:
    """Convert keypoints (18, 2) of (y, x) in a frame, -1 for missing, to JSON in editor units."""
    points = np.asarray(keypoints, float)
    return json.dumps(np.where(points == MISSING, MISSING, points * HEIGHT / frame[0]).tolist())


def from_editor(text: str, frame: tuple[int, int]) -> np.ndarray:
    """Convert a value of the editor to keypoints in a frame; invalid and distant points become missing."""
    keypoints = np.full((NUM_KEYPOINTS, 2), float(MISSING))
    try:
        points = np.array(json.loads(text), float)
    except (TypeError, ValueError):
        return keypoints
    if points.shape == keypoints.shape:
        shares = points / drawing_area(frame)
        near = (points != MISSING) & (shares >= SHARES[0]) & (shares <= SHARES[1])
        keypoints[near.all(axis=1)] = points[near.all(axis=1)] * frame[0] / HEIGHT
    return keypoints
