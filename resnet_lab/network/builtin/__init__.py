"""The components that come with the program, registered through the hooks like any plugin's."""
