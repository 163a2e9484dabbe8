"""Counted work, memory use and speed, the published way of working beside ours."""
