"""The base model and what steers it: ID-Ctrl, ID-Injectors, the denoising loop."""
