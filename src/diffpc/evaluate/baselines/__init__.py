"""Other systems on the same benchmark, each in a process and, where it needs one, an environment of its own."""
