"""The stages of the pipeline: each runs one of the tasks over the cases of a shard."""
