"""The view of a photo with the skeletons of its people, over the photo input."""

import json
from pathlib import Path

import gradio as gr

from datasets.keypoints import BONES
from utils.image_files import jpeg_url

from .editor import CSS_COLORS
from .photos import Photo

SIDE = 800  # pixels, of the shown photo
CSS = """
svg { position: absolute; inset: 0; width: 100%; height: 100%; background: var(--background-fill-primary); }
svg:empty { display: none; }
.person { outline: none; }
.person line { stroke-linecap: round; }
.person rect { fill: transparent; }
.person:not(.chosen) { opacity: .75; filter: drop-shadow(0 0 1px black) drop-shadow(0 0 1px black); }
.several .person { cursor: pointer; pointer-events: all; }
.several .person:not(.chosen):hover, .several .person:focus-visible { opacity: 1; }
.several .person:not(.chosen):hover rect, .several .person:focus-visible rect { fill: rgba(255, 255, 255, .3); }
"""


def people_view() -> gr.HTML:
    """Return the component; its value is that of `to_view`, and a click on a person triggers `select` with `number`."""
    return gr.HTML(
        to_view(None),
        html_template="<svg></svg>",
        css_template=CSS,
        js_on_load=Path(__file__).with_name("photo_view.js").read_text(encoding="utf-8"),
        elem_id="people",
        bones=BONES,
        colors=CSS_COLORS,
    )


def to_view(photo: Photo | None, number: int = 1) -> str:
    """Convert a photo and the number of the chosen person, 1 for the largest, to the JSON value of the view."""
    if photo is None:
        return "{}"
    people = [person.keypoints.round(1).tolist() for person in photo.people]
    size = photo.image.height, photo.image.width
    return json.dumps(
        {"photo": jpeg_url(photo.image, (SIDE, SIDE), quality=85), "size": size, "people": people, "number": number}
    )
