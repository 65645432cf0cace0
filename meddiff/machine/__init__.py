"""What any long-running program needs: files, locks, devices, progress, shards."""
