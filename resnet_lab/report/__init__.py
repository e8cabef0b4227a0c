"""Results as pages: formats what earlier rooms computed, computes nothing."""
