"""The adapter on a rectified-flow transformer (SD3): what differs from the UNet's, and nothing else.

A first implementation at any size: it was never trained on a real base, and no weights of it are shipped
(docs/design/flow.md).
"""
