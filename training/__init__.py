"""Training: loop, run folder, checkpoints, log, caches, distillation."""
