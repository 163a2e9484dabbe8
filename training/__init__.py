"""Training and evaluation: run folder, schedule, moving average, saved state, loop, test-set sampling."""
