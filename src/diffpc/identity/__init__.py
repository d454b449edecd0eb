"""Who is on the reference photos, as tokens for ID-Ctrl."""
