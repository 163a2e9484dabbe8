"""Loading the pretrained parts from local folders, or building them with random weights from their configs."""

from collections.abc import Iterator
from contextlib import contextmanager

import diffusers
import transformers

from configs.errors import InputError
from configs.files import in_checkout, read_record

LOGGING = (diffusers.utils.logging, transformers.utils.logging)
WEIGHT_NAMES = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)


def load_part(cls, folder: str, random_weights: bool):
    """A diffusers or transformers model from `folder`, in fp32.

    Args:
        cls: the model's class, with `from_pretrained` and `config_class` or `from_config`.
        folder: holds `config.json` and, unless `random_weights`, the weights.
        random_weights: build from `config.json` alone.

    Raises:
        InputError: the folder, its config or its weights are missing or do not load.
    """
    path = in_checkout(folder)
    if not (path / "config.json").is_file():
        raise InputError(f"{path}/config.json: no such file; {cls.__name__} is described there")
    settings = read_record(path / "config.json")
    if random_weights:
        try:
            if getattr(cls, "config_class", None) is not None:
                return cls(cls.config_class.from_dict(settings))
            return cls.from_config(settings)
        except Exception as error:  # of many kinds, for values that the part cannot use
            raise InputError(f"{path}/config.json: describes no {cls.__name__}: {one_line(error)}") from error
    weights = [name for name in WEIGHT_NAMES if (path / name).is_file()]
    if not weights:
        raise InputError(
            f"{path}: no weights ({WEIGHT_NAMES[0]}, ...) for {cls.__name__}; fetch them with "
            "`bash scripts/download_pretrained.sh`, or set MODEL.RANDOM_WEIGHTS True for a test without them"
        )
    options = {"use_safetensors": weights[0].endswith(".safetensors"), "local_files_only": True}
    if ".fp16." in weights[0]:
        options["variant"] = "fp16"
    try:
        with quiet_libraries():
            model, info = cls.from_pretrained(path, output_loading_info=True, **options)
    except Exception as error:  # the libraries raise many kinds for a damaged file
        raise InputError(f"{path}/{weights[0]}: cannot be read as {cls.__name__}: {one_line(error)}") from error
    if missing := sorted(info["missing_keys"]):  # the libraries would leave these at random
        raise InputError(
            f"{path}/{weights[0]}: not the whole {cls.__name__} of config.json: {len(missing)} tensors are missing "
            f"({', '.join(missing[:3])}); fetch it with `bash scripts/download_pretrained.sh`"
        )
    return model.float()


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Inside, diffusers and transformers neither warn nor show progress: what matters is checked."""
    before = [library.get_verbosity() for library in LOGGING]
    bars = transformers.utils.logging.is_progress_bar_enabled()
    for library in LOGGING:
        library.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        for library, verbosity in zip(LOGGING, before):
            library.set_verbosity(verbosity)
        if bars:
            transformers.utils.logging.enable_progress_bar()


def one_line(error: Exception) -> str:
    """The message of an exception on one line, shortened."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:297] + "..."
