"""Does a change help, by how much, how sure is that, and at what cost: arms times seeds, paired, and what they say."""
