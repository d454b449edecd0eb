"""Training: data in memory, losses, one loop for every task."""
