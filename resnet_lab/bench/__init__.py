"""What networks cost: counted, measured in turns, and held against what the device could do."""
