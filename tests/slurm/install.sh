#!/bin/sh
# Install Debian's SLURM, and a database for its accounting, where they are missing; where that cannot be done the tests
# say why they are skipped.
PATH=$PATH:/usr/sbin
missing() {
    for program in slurmctld munged slurmdbd mariadbd mariadb; do
        command -v "$program" >/dev/null || return 0
    done
    return 1
}
missing || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "SLURM is not installed, and only root can install it with apt-get" >&2
    exit 0
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
    slurm-wlm munge slurmdbd mariadb-server-core mariadb-client-core >/dev/null ||
    echo "apt-get could not install SLURM" >&2
