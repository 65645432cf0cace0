"""The diffusion process: schedule, solvers, and volumes drawn window by window."""
