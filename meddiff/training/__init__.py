"""Training: the loop, its objectives, and what resumes it."""
