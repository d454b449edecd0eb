"""From photos of persons to a training set with same-person pairs (the paper's Sec. 4.6).

The way of a photo:

1. `sources` lists what there is; a list of addresses is downloaded first (`download`). The list is cut into parts.
2. `stages` look at one photo alone, each a pure function Record -> Record | Reject. A worker (`worker`) takes one
   part through them and writes one file by one rename (`parts`). Parts are all that an engine (`engine`) deals
   out, so a kill costs a part at most, and the number of workers changes nothing: what is random in a photo derives
   from (seed, key).
3. `choose` looks at all photos of a person and at all persons: copies, wrong persons, too few photos. It reads the
   numbers of all parts, no pixels, and runs in one process.
4. `caption` says what is seen in the photos that are left, again part by part.
5. `shards` writes them sorted by person, one tar and one table per shard, each by one rename; `report` draws.
"""
