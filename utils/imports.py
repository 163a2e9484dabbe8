"""Imports that wait until they are needed, and large ones."""

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any


def lazy_names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package that offers names of its modules, given the module of each name."""

    def attribute(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name]), name)

    return attribute


@contextmanager
def large_imports() -> Iterator[None]:
    """Context for the imports of a program: without garbage collection, which takes a sixth of their time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
