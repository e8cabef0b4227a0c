"""One training, from images to a run folder."""
