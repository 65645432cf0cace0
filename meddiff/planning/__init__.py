"""What a run will take, before it is started: jobs, cores, GPU hours, disk and time. docs/cluster.md has the model."""
