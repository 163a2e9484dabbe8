"""Drawn people and the demo weights made from them."""
