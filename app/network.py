"""Reaching this machine itself, whatever proxy the environment names."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_proxies() -> Iterator[None]:
    """Inside, the proxies of the environment are not used: Gradio, which asks its own page whether it answers, reads
    them when it is imported and when it starts.
    """
    before = os.environ.get("no_proxy")
    os.environ["no_proxy"] = "*"
    try:
        yield
    finally:
        if before is None:
            del os.environ["no_proxy"]
        else:
            os.environ["no_proxy"] = before
