"""Score a finished run of a recipe, image by image.

    python -m demo.recipes.recipe_scores outputs/recipes/no_app_seed0

Reads the checkpoint and the test images of the run, and writes recipe_scores.csv: the scores of metrics_per_image.csv
and the squared error of the velocity at `TIMESTEPS`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm
from yacs.config import CfgNode

from configs import load_config
from datasets import TrainPairs, load_pairs
from datasets.loaders import loader, pair_sizes, to_device
from datasets.pair_lists import file_name
from datasets.pairs import unpack
from demo.cloth import choices
from diffusion.objective import CLEAN, diffuse, roots
from models import CFLD, load_model
from training.run_folder import RunFolder
from utils.command_line import Parser
from utils.errors import InputError, one_line_errors
from utils.files import whole_file

SCORES, CLOTH = "recipe_scores.csv", "cloth.csv"
TIMESTEPS = (50, 200, 400, 600, 800, 950)
BATCH = 8


@torch.no_grad()
def velocity_errors(model: CFLD, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the mean squared error of the velocity (Salimans and Ho, 2022) at each of `TIMESTEPS`: (B, T).

    The velocity follows from any prediction type: its error is that of x_0 divided by sqrt(1 - a_t). The batch is one
    of `CFLD.forward` with one side.
    """
    latents, noise, conditions, _ = model.denoising_samples(batch)
    errors = []
    for timestep in TIMESTEPS:
        t = torch.full((len(latents),), timestep)
        signal, sigma = roots(t, model.alphas_cumprod, latents.device)
        noisy, _ = diffuse(latents, noise, t, model.alphas_cumprod, "epsilon")
        predicted = model.denoise(noisy, t.to(latents.device), conditions).float()
        clean = CLEAN[model.settings.prediction_type](noisy, predicted, signal, sigma)
        errors.append(((clean - latents) / sigma).square().mean(dim=(1, 2, 3)))
    return torch.stack(errors, dim=1)


def velocity_table(cfg: CfgNode, files: Sequence[str]) -> pd.DataFrame:
    """Return `velocity_errors` of the checkpoint and the test pairs of a config, by name of the generated image."""
    pairs = {file_name(pair): pair for pair in load_pairs(cfg.INPUT.ROOT_DIR, "test", cfg.INPUT.DATASET)}
    dataset = TrainPairs([pairs[file] for file in files], pair_sizes(cfg), seed=0, sides=("tgt",))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_model(cfg)[0].to(device).eval()

    def rows() -> Iterator[torch.Tensor]:
        for batch in tqdm(loader(dataset, 0, device, batch_size=BATCH), desc="velocity", leave=False):
            seeds = batch.pop("index").numpy()
            batch = unpack(to_device(batch, device)) | {"seed": seeds}
            yield velocity_errors(model, batch).cpu()

    return pd.DataFrame(torch.cat(list(rows())).numpy(), files, [f"v{t}" for t in TIMESTEPS])


def scored(run: RunFolder) -> pd.DataFrame:
    """Return the scores of the images of a run, by name of the image, without those of `score_cloth`."""
    checkpoint = run.newest()
    if checkpoint is None:
        raise InputError(f"{run.root}: no checkpoint; `python -m demo.recipes` trains it")
    cfg = load_config(checkpoint / "config.yaml", ["MODEL.PRETRAINED_PATH", str(checkpoint)])
    table = pd.read_csv(run.generated(cfg.TEST.IMG_SIZE) / "metrics_per_image.csv", index_col="file")
    return table.join(velocity_table(cfg, list(table.index)))


def score_cloth(runs: Sequence[RunFolder], size: Sequence[int], dataset: Path) -> None:
    """Write cloth.csv to runs: the share of garments in the right cloth (`demo.cloth`) and the number of the person.

    `size` is the (height, width) of the generated images.
    """
    run_of = {run.generated(size): run for run in runs}
    table = pd.DataFrame(choices(list(run_of), dataset))
    for folder, found in table.groupby("folder"):
        images = found.groupby("file")
        with whole_file(run_of[folder].root / CLOTH) as partial:
            pd.DataFrame({"person": images["person"].first(), "cloth": images["right"].mean()}).to_csv(partial)


def all_scores(run: RunFolder) -> pd.DataFrame:
    """Return the scores of a finished run by name of the image; `person` is the number of the person."""
    return pd.read_csv(run.root / SCORES, index_col="file").join(pd.read_csv(run.root / CLOTH, index_col="file"))


@one_line_errors
def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__, prog="python -m demo.recipes.recipe_scores")
    parser.add_argument("run", type=Path, help="folder of the run")
    run = RunFolder(parser.parse_args(arguments).run)
    with whole_file(run.root / SCORES) as partial:
        scored(run).to_csv(partial)


if __name__ == "__main__":
    main()
