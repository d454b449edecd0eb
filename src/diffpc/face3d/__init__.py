"""Photos to a 3D face, and its render I_3d."""
