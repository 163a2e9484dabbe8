"""The diffusion process: guidance, sampling and the training objective, without files or configs."""
