"""Sample a test set and score generated images."""
