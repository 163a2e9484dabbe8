"""The page: its three tabs, its look, and its limits."""

from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

from .image_tab import picture_tab
from .network import without_proxies
from .run_tab import run_tab
from .sequence_tab import sequence_tab
from .studio import Studio

FOLDER = Path(__file__).parent
UPLOADS = Path(get_upload_folder())
TITLE = "Pose transfer"
HEAD = f'<div class="head"><h1>{TITLE}</h1><p>Your photo, in the pose you draw.</p></div>'
LARGEST_UPLOAD = 20  # MB
LONGEST_QUEUE = 16  # pieces of work that wait; more are turned away
KEPT = 3600  # seconds for which uploaded and made files stay
THEME = gr.themes.Soft(
    primary_hue="indigo", neutral_hue="slate", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
)


def build_page(studio: Studio) -> gr.Blocks:
    """The page over a studio; `serve` starts it."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(KEPT // 6, KEPT)) as page:
        gr.HTML(HEAD)
        with gr.Tab("Picture"):
            picture_tab(studio)
        with gr.Tab("Sequence"):
            sequence_tab(studio)
        with gr.Tab("Training runs") as runs:
            run_tab(studio, runs)
        page.unload(studio.leave)
    return page.queue(max_size=LONGEST_QUEUE)


def serve(page: gr.Blocks, host: str, port: int | None, root_path: str | None = None, block: bool = True) -> str:
    """Start the page and give its address; returns when it ends, or at once where it is not to `block`.

    Args:
        root_path: the path, or the whole address, under which a reverse proxy shows the page.
    """
    script = (FOLDER / "uploads.js").read_text(encoding="utf-8").partition("\n")[2].strip()  # without the remark
    with without_proxies():
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            root_path=root_path,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=f"{LARGEST_UPLOAD}mb",
            theme=THEME,
            css_paths=FOLDER / "page.css",
            js=f"() => ({script})({LARGEST_UPLOAD})",
            footer_links=[],
            ssr_mode=False,
        )
    if block:
        print(f"{TITLE}: {address} (Ctrl-C ends it)", flush=True)
        page.block_thread()
    return address
