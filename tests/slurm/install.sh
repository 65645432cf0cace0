#!/bin/sh
# Install Debian's SLURM where it is missing; where that cannot be done the tests say why they are skipped.
PATH=$PATH:/usr/sbin
command -v slurmctld >/dev/null && command -v munged >/dev/null && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "SLURM is not installed, and only root can install it with apt-get" >&2
    exit 0
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends slurm-wlm munge >/dev/null ||
    echo "apt-get could not install slurm-wlm and munge" >&2
