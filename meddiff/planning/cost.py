"""The cost model: seconds of each job and bytes of each stage. docs/cluster.md states it; past runs correct it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from meddiff.config import DENOISING_NETWORKS, FILTERS, ORIGINS, Config, Region
from meddiff.planning.jobs import Job
from meddiff.planning.scans import PAIR_MVOX, REGION_MVOX, SCAN_MVOX, Scans


@dataclass(frozen=True)
class Rate:
    """A number of the model, and where it is from."""

    value: float
    unit: str
    source: str


DEMO_1_MM = "measured: the demo's scans at 1 mm, one core of a Xeon with AMX"
DEMO = "measured: the demo's jobs on that core"
ASSUMED = "assumed, until a run has told"
RATES = {
    "start": Rate(20, "s a job", f"{ASSUMED}: program, imports, Snakemake"),
    "resample": Rate(0.1, "s/Mvox", DEMO_1_MM),
    "anatomy full": Rate(2.0, "s/Mvox", f"{ASSUMED}: 4 min for a whole body on a GPU, reading and writing included"),
    "anatomy fast": Rate(0.6, "s/Mvox", ASSUMED),
    "anatomy fastest": Rate(0.3, "s/Mvox", f"{DEMO_1_MM}, demo weights"),
    "regions": Rate(0.12, "s/Mvox of a whole body", DEMO_1_MM),
    "region": Rate(0.2, "s a scan of one region", DEMO_1_MM),
    "store": Rate(0.11, "s/Mvox", DEMO_1_MM),
    "qc": Rate(0.05, "s/Mvox", "measured: a phantom of 228 Mvox, 5 s for drawing and counting; reading is estimated"),
    "network": Rate(40, "TFLOP/s", f"{ASSUMED}: an eighth of the 312 of an A100 in bfloat16"),
    "nnU-Net": Rate(0.13, "s a step", f"{ASSUMED}: 9 h for its 250,000 steps on an A100"),
    "small nnU-Net": Rate(0.2, "s a step", DEMO),
    "RED-CNN": Rate(0.02, "s a step", ASSUMED),
    "MAP-NN": Rate(0.1, "s a step", f"{ASSUMED}; four steps of the critic included"),
    "Noise2Sim": Rate(1.0, "s a step", f"{ASSUMED}; 32 whole slices, 450 GFLOP each for a forward pass"),
    "filter": Rate(2.0, "s/Mvox", DEMO),
    "BM3D": Rate(150, "s/Mvox", DEMO),
    "pair": Rate(
        20, "s a low-dose scan", "measured: the demo's head, 8 s for 245 slices in DICOM; Mayo 2016 has 594 a scan"
    ),
    "low dose": Rate(85, "s/Mvox at 1 mm, inversely with the spacing", f"{DEMO}, at 5 mm"),
    "score": Rate(0.3, "s/Mvox", "measured: a phantom of 12 Mvox, one core; the feature network runs on a GPU"),
    "patch": Rate(10, "s a judged patch", ASSUMED),
    "table": Rate(60, "s", ASSUMED),
}
# Of a training step, a forward pass is a third; a ControlNet is the encoder's half of a network more.
STEP_PASSES, CONTROLLED = 3.0, 1.5
BYTES_PER_VOXEL = {"resample": 1.0, "anatomy": 0.02, "store": 0.5, "image": 1.0, "map": 3.0, "nnU-Net": 4.0}
FILTER_THREADS = 16  # of the rule: BM3D works on as many slices at a time
STATES_PER_CHECKPOINT = 4  # weights, their average and Adam's two moments, float32


@dataclass(frozen=True)
class CostModel:
    """What jobs take, for a configuration and its scans."""

    config: Config
    scans: Sequence[Scans]

    def seconds(self, job: Job) -> float | None:
        """Return how long a job takes on the GPUs that it asks for; None when the model does not know its rule."""
        work = _WORK.get(job.rule)
        return None if work is None else RATES["start"].value + work(self, job.wildcards)

    def tells(self, job: Job) -> bool:
        """Return whether a job's time says something of others: it has more to do than to start, and that scales."""
        work = _WORK.get(job.rule, _short)
        return work is not _short and work(self, job.wildcards) > 2 * RATES["start"].value

    def seconds_per_step(self, rule: str) -> float:
        """Return how long one optimizer step of a training rule takes."""
        return self._training(1, CONTROLLED if rule.startswith("finetune") else 1.0)

    def disk_gb(self) -> dict[str, float]:
        """Return what a whole run leaves on the disk, by what it is; the datasets themselves are not counted."""
        config, regions = self.config, self._regions_mvox(self.test_regions)
        models = 2 * len(config.models) + 2 * len(ORIGINS) * len(self.lesion_scans) + 2
        states = self.parameters * 4 * (1 + config.machine.keep_checkpoints * STATES_PER_CHECKPOINT)
        maps = self._regions_mvox(self.test_lesion_regions) * (1 + self._timesteps)
        mvox = {
            "resampled scans": self.scan_mvox * BYTES_PER_VOXEL["resample"],
            "anatomy": self.scan_mvox * BYTES_PER_VOXEL["anatomy"],
            "crop store": self.scan_mvox * BYTES_PER_VOXEL["store"],
            "synthetic scans": regions * len(config.models) * BYTES_PER_VOXEL["image"],
            "anomaly maps": maps * BYTES_PER_VOXEL["map"],
            "nnU-Net": self._regions_mvox(sum(s.count for s in self.lesion_scans)) * BYTES_PER_VOXEL["nnU-Net"],
        }
        return {name: value / 1e3 for name, value in mvox.items()} | {"models and runs": models * states / 1e9}

    @cached_property
    def parameters(self) -> int:
        """Parameters of the largest of the models."""
        from meddiff.model.info import parts

        return max(sum(p.parameters for p in parts(self.config.network(v.name))) for v in self.config.models)

    @cached_property
    def scan_mvox(self) -> float:
        return sum(s.count * self._scan_mvox(s) for s in self.scans)

    @property
    def lesion_scans(self) -> list[Scans]:
        return [s for s in self.scans if s.dataset.lesion]

    @property
    def training_regions(self) -> int:
        return sum(s.regions("train") for s in self.scans if s.dataset.role == "pretraining")

    @property
    def test_regions(self) -> int:
        return sum(s.regions("test") for s in self.scans if s.dataset.role == "pretraining")

    @property
    def test_lesion_regions(self) -> int:
        return sum(s.regions("test") for s in self.lesion_scans if s.dataset.lesion_organ)

    @property
    def test_pairs(self) -> int:
        """Scans that are denoised."""
        measured = sum(s.by_split["test"] for s in self.scans if s.dataset.low_dose)
        return measured or min(self.config.low_dose.scans, self.test_regions)

    @property
    def thick_scans(self) -> int:
        measured = sum(s.by_split["test"] for s in self.scans if s.dataset.thick)
        return measured or min(self.config.super_resolution.scans, self.test_regions)

    @property
    def measured_slices(self) -> int:
        """Scans whose measured thick slices are learned from."""
        return sum(s.count - s.by_split["test"] for s in self.scans if s.dataset.thick)

    @property
    def _timesteps(self) -> int:
        return max(len(self.config.anomaly.lung_timesteps), len(self.config.anomaly.liver_timesteps))

    def _scan_mvox(self, scans: Scans) -> float:
        return SCAN_MVOX[scans.dataset.region] / self.config.data.spacing_mm**3

    def _regions_mvox(self, regions: float) -> float:
        return regions * REGION_MVOX / self.config.data.spacing_mm**3

    @cached_property
    def _forward_flops(self) -> float:
        from meddiff.model.info import window_flops

        return float(sum(window_flops(self.config.network(self.config.models[0].name))))

    @property
    def _sampling_steps(self) -> int:
        return self.config.sampling.recipe(self.config.diffusion.prediction).steps

    def _shard(self, seconds: Callable[[Scans], float]) -> float:
        """Return the share of one shard of what all scans take, given what a scan of a dataset takes."""
        return sum(s.count * seconds(s) for s in self.scans) / self.config.machine.data_shards

    def _anatomy_of(self, mvox: float) -> float:
        return mvox * RATES[f"anatomy {self.config.anatomy.resolution}"].value

    def _regions_of(self, scans: Scans) -> float:
        if scans.dataset.region == Region.WHOLE_BODY:
            return self._scan_mvox(scans) * RATES["regions"].value
        return RATES["region"].value

    def _passes(self, patches: float) -> float:
        """Return the seconds of forward passes of one patch."""
        return patches * self._forward_flops / (RATES["network"].value * 1e12)

    def _training(self, steps: int, network: float = 1.0) -> float:
        training = self.config.training
        patches = steps * math.ceil(training.accumulation / self.config.machine.processes) * training.batch_size
        return self._passes(patches * STEP_PASSES * network)

    def _windows(self) -> int:
        """Windows of one region, as a cube."""
        patch = self.config.model.patch_vox
        overlap = self.config.sampling.overlap if self.config.sampling.windows == "averaged" else 0.0
        edge = (1e6 * self._regions_mvox(1)) ** (1 / 3)
        return (math.ceil(max(0.0, edge - patch) / (patch * (1 - overlap))) + 1) ** 3

    def _sampling(self, regions: float, steps: float, network: float = 1.0) -> float:
        """Return the seconds of `steps` estimates of whole regions."""
        return self._passes(regions * steps * network * self._windows()) / self.config.machine.gpus

    def _nnunet(self, trainings: int) -> float:
        settings = self.config.nnunet
        rate = RATES["small nnU-Net" if settings.small else "nnU-Net"].value
        return trainings * settings.epochs * settings.iterations * rate

    def _score(self, regions: float) -> float:
        return self._regions_mvox(regions) * RATES["score"].value

    def _denoise(self) -> float:
        config = self.config.denoising
        steps = config.reverse_steps + config.diffpir_steps + 1
        scored = self._pairs_mvox * len(DENOISING_NETWORKS) * RATES["score"].value
        return self._sampling(self.test_pairs, steps) + scored

    def _filter(self) -> float:
        rates = {"bm3d": RATES["BM3D"].value / FILTER_THREADS}
        return self._pairs_mvox * sum(rates.get(name, RATES["filter"].value) for name in FILTERS)

    @property
    def _pairs_mvox(self) -> float:
        """Voxels of the pairs that are tested, on their own grids."""
        measured = any(s.dataset.low_dose for s in self.scans)
        return self.test_pairs * PAIR_MVOX if measured else self._regions_mvox(self.test_pairs)

    def _low_dose(self) -> float:
        if pairs := sum(s.count for s in self.scans if s.dataset.low_dose):
            return pairs * RATES["pair"].value + self._anatomy_of(self._regions_mvox(self.test_pairs))
        simulated = min(3 * self.config.low_dose.scans, sum(s.count for s in self.scans))
        noise = self._regions_mvox(simulated) * RATES["low dose"].value / self.config.data.spacing_mm
        return noise + self._anatomy_of(self._regions_mvox(self.test_pairs))

    def _super_resolve(self, method: str) -> float:
        if method in ("controlnet", "diffpir"):
            return self._sampling(self.thick_scans, self.config.super_resolution.steps, CONTROLLED)
        return self._regions_mvox(self.thick_scans) * RATES["filter"].value

    def _draw_lesions(self, dataset: str) -> float:
        lesions = self.config.lesions
        patches = lesions.patches_per_case * self._test_scans(dataset)
        steps = self._sampling_steps + lesions.inpainting_steps * lesions.resampling
        return self._passes(patches * steps * CONTROLLED)

    def _test_scans(self, dataset: str) -> int:
        return sum(s.by_split["test"] for s in self.scans if s.dataset.name == dataset)

    def _augment(self, dataset: str) -> float:
        train = sum(s.by_split["train"] + s.by_split["val"] for s in self.scans if s.dataset.name == dataset)
        copies = train * self.config.lesions.augmentation_copies
        return self._nnunet(1) + self._passes(copies * self._sampling_steps * CONTROLLED)


def _judged(model: CostModel, dataset: str) -> float:
    kinds = 1 + 2 * len(ORIGINS)  # real; generated and inpainted by each model
    return kinds * model.config.lesions.patches_per_case * model._test_scans(dataset) * RATES["patch"].value


def _denoiser_training(model: CostModel, name: str) -> float:
    config = model.config
    steps_of = {"red-cnn": (config.red_cnn, "RED-CNN"), "map-nn": (config.map_nn, "MAP-NN")}
    recipe, rate = steps_of.get(name, (config.noise2sim, "Noise2Sim"))
    return recipe.steps * RATES[rate].value


_Work = Callable[[CostModel, Mapping[str, str]], float]
_short: _Work = lambda m, w: RATES["table"].value  # noqa: E731
_WORK: dict[str, _Work] = {
    "fetch": _short,
    "phantoms": _short,
    "index": _short,
    "extractor": _short,
    "anatomy_weights": _short,
    "tables": _short,
    "report": _short,
    "resample": lambda m, w: m._shard(lambda s: m._scan_mvox(s) * RATES["resample"].value),
    "anatomy": lambda m, w: m._shard(lambda s: m._anatomy_of(m._scan_mvox(s))),
    "regions": lambda m, w: m._shard(m._regions_of),
    "store": lambda m, w: m._shard(lambda s: m._scan_mvox(s) * RATES["store"].value),
    "qc": lambda m, w: m._shard(lambda s: m._scan_mvox(s) * RATES["qc"].value),
    "qc_page": _short,
    "pretrain": lambda m, w: m._training(m.config.training.steps_for(m.training_regions)),
    "finetune_lesions": lambda m, w: m._training(m.config.finetuning.steps, CONTROLLED),
    "finetune_super_resolution": lambda m, w: m._training(m.config.finetuning.steps, CONTROLLED),
    "synthesize": lambda m, w: m._sampling(m.test_regions / m.config.machine.sampling_shards, m._sampling_steps),
    "segment_synthetic": lambda m, w: m._anatomy_of(m._regions_mvox(m.test_regions)),
    "segment_real": lambda m, w: m._anatomy_of(m._regions_mvox(m.test_regions)),
    "evaluate": lambda m, w: m._score(m.test_regions / m.config.machine.sampling_shards),
    "gather_scores": _short,
    "draw_twins": lambda m, w: m._regions_mvox(m.test_regions) * RATES["qc"].value,
    "low_dose": lambda m, w: m._low_dose(),
    "train_denoiser": lambda m, w: _denoiser_training(m, w["denoiser"]),
    "filter": lambda m, w: m._filter(),
    "denoise": lambda m, w: m._denoise(),
    "anomaly_maps": lambda m, w: m._sampling(m.test_lesion_regions, m._timesteps * m.config.anomaly.draws),
    "supervised": lambda m, w: m._nnunet(len(m.lesion_scans)),
    "score_anomaly": lambda m, w: m._score(m.test_lesion_regions * (2 + m._timesteps)),
    "draw_lesions": lambda m, w: m._draw_lesions(w["dataset"]),
    "judge_lesions": lambda m, w: _judged(m, w["dataset"]),
    "augment_lesions": lambda m, w: m._augment(w["dataset"]),
    "thick_slices": lambda m, w: m._anatomy_of(m._regions_mvox(m.thick_scans)),
    "measured_slices": lambda m, w: m.measured_slices * RATES["pair"].value,
    "super_resolve": lambda m, w: m._super_resolve(w["resolver"]),
}
