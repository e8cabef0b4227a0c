"""A network: its specification, its parts and plugins, how it is built, counted, stored and given weights."""
