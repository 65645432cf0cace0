"""A SLURM of two nodes on the loopback host, its daemons in a folder of their own; with or without accounting."""

import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
ACCOUNTING_PROGRAMS = ("slurmdbd", "sacct", "sacctmgr", "mariadbd", "mariadb", "mariadb-install-db")
ACCOUNT = "lab"
SYSTEM_CONF = Path("/etc/slurm/slurm.conf")
# Processes that share a training meet at the node that is first by name, which must lead somewhere. It has the GPUs.
NODES, GPUS = (socket.gethostname(), "zz-second"), 2
START_SECONDS = 60
ANSWER_SECONDS = 120  # a command of SLURM that takes longer, hangs
KILL_WAIT_SECONDS = 2  # between SIGTERM and SIGKILL
REQUEUE_SECONDS = 10  # that a preempted job waits at least

# A node claims more than this machine has, because the rules ask for what a cluster's node has.
SLURM_CONF = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={requeue}
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
KillWait={kill_wait}
SchedulerParameters=sched_interval=2,batch_sched_delay=0
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=DEFAULT CPUs=16 RealMemory=200000 State=UNKNOWN
NodeName={nodes[0]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[0]} Gres=gpu:{gpus}
NodeName={nodes[1]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=0
PartitionName=cpu Nodes={nodes[0]},{nodes[1]} Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes={nodes[0]} MaxTime=INFINITE State=UP
PartitionName=urgent Nodes={nodes[0]} MaxTime=INFINITE State=UP PriorityTier=2
"""
WITHOUT_ACCOUNTING = """\
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
"""
WITH_ACCOUNTING = """\
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge.socket
AccountingStorageEnforce=associations
"""
SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=slurm
StoragePass={password}
"""


def missing_programs(programs: tuple[str, ...] = PROGRAMS) -> list[str]:
    """Return those programs that are not installed."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    return [program for program in programs if shutil.which(program, path=path) is None]


class Cluster:
    """A running SLURM; leaving the context stops what was started, by process id.

    Args:
        folder: for its configuration, state and logs; a short path, since sockets lie in it.
        accounting: whether there is a database of jobs, and jobs need the account `ACCOUNT`.
    """

    def __init__(self, folder: Path, accounting: bool = False) -> None:
        self.folder = folder
        self.accounting = accounting
        self.environment = os.environ | {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
        }
        self.processes: list[subprocess.Popen] = []

    def __enter__(self) -> "Cluster":
        try:
            self._start_all()
        except BaseException:
            self.stop()
            raise
        return self

    def _start_all(self) -> None:
        for name in ("state", "munge"):
            (self.folder / name).mkdir()
        self._start_munge()
        text = self._start_accounting() if self.accounting else WITHOUT_ACCOUNTING
        controller_port, *node_ports = _free_ports(3)
        text += SLURM_CONF.format(
            folder=self.folder,
            host=socket.gethostname(),
            nodes=NODES,
            gpus=GPUS,
            kill_wait=KILL_WAIT_SECONDS,
            requeue=REQUEUE_SECONDS,
            controller_port=controller_port,
            ports=node_ports,
        )
        (self.folder / "slurm.conf").write_text(text)
        gpus = "".join(f"NodeName={NODES[0]} Name=gpu File={file}\n" for file in ("/dev/null", "/dev/zero"))
        (self.folder / "gres.conf").write_text(gpus)
        # Inside a job Snakemake starts `srun` without SLURM_CONF, so the configuration must lie where SLURM looks.
        SYSTEM_CONF.symlink_to(self.folder / "slurm.conf")
        if self.accounting:
            self.run("sacctmgr", "--immediate", "add", "cluster", "loopback")
            self.run("sacctmgr", "--immediate", "add", "account", ACCOUNT)
            self.run("sacctmgr", "--immediate", "add", "user", "root", f"account={ACCOUNT}")
        self._start("slurmctld", "-D")
        for node in reversed(NODES):
            self._start("slurmd", "-D", "-N", node)
        self._wait("the nodes", lambda: all(self.node_state(node) == "IDLE" for node in NODES))

    def _start_munge(self) -> None:
        key = self.folder / "munge" / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o600)
        own = [f"--{name}={self.folder / 'munge' / name}" for name in ("log-file", "pid-file", "seed-file")]
        socket_file = f"--socket={self.folder / 'munge.socket'}"
        self._start("munged", "--foreground", "--force", f"--key-file={key}", socket_file, *own)
        self._wait("munge", lambda: (self.folder / "munge.socket").exists())

    def _start_accounting(self) -> str:
        """Start MariaDB and slurmdbd, and return what slurm.conf needs to say of them."""
        port, database_port = _free_ports(2)
        data, socket_file, password = self.folder / "database", self.folder / "mariadb.socket", secrets.token_hex(16)
        self.run("mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}", "--skip-test-db")
        where = (f"--datadir={data}", f"--socket={socket_file}", f"--port={database_port}", "--bind-address=127.0.0.1")
        self._start("mariadbd", "--no-defaults", "--user=root", *where)
        self._wait("MariaDB", socket_file.exists)
        sql = f"CREATE USER slurm IDENTIFIED BY '{password}'; GRANT ALL ON slurm_acct_db.* TO slurm;"
        self.run("mariadb", "--no-defaults", f"--socket={socket_file}", f"--execute={sql}")
        conf = self.folder / "slurmdbd.conf"
        conf.touch(0o600)
        conf.write_text(
            SLURMDBD_CONF.format(
                folder=self.folder,
                host=socket.gethostname(),
                port=port,
                database_port=database_port,
                password=password,
            )
        )
        self._start("slurmdbd", "-D")
        self._wait("slurmdbd", lambda: _answers(port))
        return WITH_ACCOUNTING.format(folder=self.folder, port=port)

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Cancel all jobs and stop the daemons."""
        if self.node_state(NODES[0]):
            subprocess.run(("scancel", "--user=root"), env=self.environment, check=False, timeout=ANSWER_SECONDS)
            time.sleep(2 * KILL_WAIT_SECONDS)
        SYSTEM_CONF.unlink(missing_ok=True)
        while self.processes:
            _stop(self.processes.pop())

    def restart_node(self) -> None:
        """Stop the first node's slurmd, wait until its jobs are over, and start it again."""
        _stop(self.processes.pop())
        self._start("slurmd", "-D", "-N", NODES[0])

    def reach_time_limit(self, job: str) -> None:
        """Let a running job's time limit be over."""
        self.run("scontrol", "update", f"jobid={job}", "endtime=now")

    def run(self, *command: str) -> str:
        """Return what a command of SLURM prints."""
        return self._ask(command, check=True)

    def _ask(self, command: tuple[str, ...], check: bool) -> str:
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=check, timeout=ANSWER_SECONDS
        )
        return done.stdout

    def node_state(self, node: str) -> str:
        """Return a node's state, such as IDLE; empty while the controller does not answer."""
        return _words(self._ask(("scontrol", "show", "node", node, "--oneliner"), check=False)).get("State", "")

    def job(self, job: str) -> dict[str, str]:
        """Return what SLURM knows of a job, such as JobState, Reason and Restarts."""
        return _words(self.run("scontrol", "show", "job", job, "--oneliner"))

    def take_gpus(self) -> str:
        """Submit a job of somebody else, which needs both GPUs and is more urgent, and return its id."""
        command = ("sbatch", "--parsable", "--partition=urgent", f"--gpus={GPUS}", "--mem=100", "--output=/dev/null")
        return self.run(*command, "--wrap=sleep 600").strip()

    def jobs(self) -> dict[str, str]:
        """Return the comment, in which Snakemake writes the rule, of each running job by its id."""
        lines = self.run("squeue", "--noheader", "--states=RUNNING", "--format=%i|%k").splitlines()
        return dict(line.split("|", 1) for line in lines)

    def _start(self, program: str, *arguments: str) -> None:
        with (self.folder / f"{program}.out").open("a") as log:
            process = subprocess.Popen(
                (program, *arguments), env=self.environment, stdout=log, stderr=subprocess.STDOUT
            )
        self.processes.append(process)

    def _wait(self, what: str, ready) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            dead = [p.args for p in self.processes if p.poll() is not None]
            if dead or time.monotonic() > deadline:
                logs = "\n".join(path.read_text()[-1500:] for path in sorted(self.folder.glob("*.out")))
                raise RuntimeError(f"SLURM: {what} is not ready ({dead or 'time is up'})\n{logs}")
            time.sleep(0.5)


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()


def _words(line: str) -> dict[str, str]:
    return dict(re.findall(r"(\S+?)=(\S*)", line))


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
