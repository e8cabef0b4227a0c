"""A trained network on images: predictions, figures about them, comparisons, and where it looks."""
