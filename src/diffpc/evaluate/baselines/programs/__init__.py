"""Programs that draw with other systems; each runs alone, in the environment of its requirements file."""
