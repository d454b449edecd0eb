"""What works on this machine, what does not, and the one command that mends it.

`run` goes through the areas (`machine`, `packages`, `files`, `backends`, `stages`); `report` holds what they found;
`layout` compares the shapes in a weight file with those of the network it is for.
"""
