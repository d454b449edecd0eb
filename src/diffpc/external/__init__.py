"""Files that diffpc does not ship: one table of them, fetching, verifying, their licences.

Standard library alone, so that `diffpc assets` starts at once: `table` lists, `places` knows where things lie, `whole`
and `verify` look at what is there, `fetch` brings what is not (`cached`, `download`, `unpack`), `licence` sums up.
"""
