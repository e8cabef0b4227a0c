"""What every room needs: errors, files, what long work tells of itself, the run folder. Imports no torch."""
