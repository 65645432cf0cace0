"""What a run will ask for, before it is started: jobs, GPU hours and disk. docs/cluster.md has the rates."""
