"""The scores themselves."""
