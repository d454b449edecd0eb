"""Who is where in the photo, and the face as a vector.

The order of use: detect (`load_detector`, `choose_face`), matte (`load_matter`, `neutralise`), align
(`align`, `face_crop`, `cut_crop`), embed (`load_embedder`, `embed_faces`). Import from the modules: detect,
matte and align load no torch.
"""
