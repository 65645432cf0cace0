"""How a training starts: alone, or as processes of torchrun, one for each GPU, on one node or several."""


def launcher(processes: int, nodes: int) -> str:
    """Return the words of a shell command before the name of the package.

    On several nodes the command runs within a job of SLURM, as a step on one of the job's nodes. It starts torchrun
    once on every node beside itself (`--overlap`: its own step holds that node's cores and GPUs), and these meet at the
    first node. The step knows its own node only, so the job's nodes are asked for. The port derives from the job, so
    that two jobs on a node do not meet each other.

    Args:
        processes: of all nodes together.
        nodes: a divisor of `processes`.
    """
    if processes == 1:
        return "python -m"
    if nodes == 1:
        return f"torchrun --standalone --nproc-per-node {processes} -m"
    job = "${SLURM_JOB_ID:?machine.nodes needs a cluster, --workflow-profile profiles/slurm}"
    return (
        f"nodes=$(squeue --noheader --jobs {job} --format %N); SLURM_JOB_NODELIST=$nodes"
        f" srun --jobid $SLURM_JOB_ID --overlap --nodes {nodes} --ntasks {nodes} --ntasks-per-node 1 --cpu-bind none"
        f" torchrun --nnodes {nodes} --nproc-per-node {processes // nodes} --rdzv-id $SLURM_JOB_ID --rdzv-backend c10d"
        " --rdzv-endpoint $(scontrol show hostnames $nodes | head -n 1):$((20000 + SLURM_JOB_ID % 10000)) -m"
    )


def resources(processes: int, nodes: int, on_gpu: bool) -> dict[str, int | str]:
    """Return what a training job asks of a cluster: on one node so many GPUs, on several so many on each of them.

    On the CPU it asks for as many tasks, since SLURM's plugin asks for one otherwise, and one task has one node.

    SLURM's plugin makes `--gpus` of `gpu`, a number for the whole job, and asks for as many in the step on the first
    node, which has only its share; `--gres` counts for each node.
    """
    if nodes == 1:
        return {"gpu": processes if on_gpu else 0}
    each_node: dict[str, int | str] = {"gres": f"gpu:{processes // nodes}"} if on_gpu else {"tasks": nodes}
    return {"nodes": nodes} | each_node
