"""Build and serve the page."""

import html
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

from utils.files import CHECKOUT

from .image_tab import image_tab
from .network import without_proxies
from .run_tab import run_tab
from .sequence_tab import sequence_tab
from .studio import Studio

FOLDER = Path(__file__).parent
UPLOADS = Path(get_upload_folder())
TITLE = "Pose transfer"
HEAD = """<div class="head"><h1>{title}</h1><p>Your photo in the pose you draw.</p>
<p class="weights">Weights: <b>{weights}</b>, trained on {trained_on}.</p></div>"""
MAX_UPLOAD = 20  # MB
MAX_QUEUE = 16  # waiting jobs; further jobs are rejected
FILE_AGE = 3600  # seconds until uploaded and generated files are deleted
THEME = gr.themes.Soft(
    primary_hue="indigo", neutral_hue="slate", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
)


def build_page(studio: Studio) -> gr.Blocks:
    """Build the page; `serve` starts it."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(FILE_AGE // 6, FILE_AGE)) as page:
        gr.HTML(head(studio))
        with gr.Tab("Image"):
            image_tab(studio)
        with gr.Tab("Sequence"):
            sequence_tab(studio)
        with gr.Tab("Training runs") as runs:
            run_tab(studio, runs)
        page.unload(studio.leave)
    return page.queue(max_size=MAX_QUEUE)


def head(studio: Studio) -> str:
    """Return the HTML of the title, with the weights and what they are trained on."""
    path, trained_on = Path(studio.weights), studio.pipe.config.trained_on or "unknown images"
    weights = path.relative_to(CHECKOUT) if path.is_relative_to(CHECKOUT) else path
    return HEAD.format(title=TITLE, weights=html.escape(str(weights)), trained_on=html.escape(trained_on))


def serve(page: gr.Blocks, host: str, port: int | None, root_path: str | None = None, block: bool = True) -> str:
    """Start the page and return its address.

    Args:
        root_path: path or full address of the page at a reverse proxy.
        block: print the address and return only when the page ends.
    """
    script = (FOLDER / "uploads.js").read_text(encoding="utf-8").partition("\n")[2].strip()  # without the comment
    with without_proxies():
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            root_path=root_path,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=f"{MAX_UPLOAD}mb",
            theme=THEME,
            css_paths=FOLDER / "page.css",
            js=f"() => ({script})({MAX_UPLOAD})",
            footer_links=[],
            ssr_mode=False,
        )
    if block:
        print(f"{TITLE}: {address} (press Ctrl-C to stop)", flush=True)
        page.block_thread()
    return address
