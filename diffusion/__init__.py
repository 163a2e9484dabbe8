"""The diffusion process: guidance, sampling and the training objective, all without files or config."""
