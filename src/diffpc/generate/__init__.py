"""`diffpc generate`: a request becomes a job, a job becomes portraits on disk."""
