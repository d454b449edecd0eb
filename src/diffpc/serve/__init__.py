"""`diffpc serve`: a queue in front of a pipeline, a REST API and a page on it."""
