"""The networks, and the bundles in which they are kept."""
