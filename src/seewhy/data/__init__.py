"""Photos and datasets."""
