"""Where the pipeline's results lie below its output folder, and what they were made with."""

from dataclasses import dataclass
from pathlib import Path

from meddiff.config import Config
from meddiff.datasets import REGISTRY
from meddiff.datasets.index import Case
from meddiff.datasets.inventory import shortfalls
from meddiff.machine.files import read_json

PREPARATION = ("resample", "anatomy", "regions", "store")


@dataclass(frozen=True)
class Results:
    """The output folder as the rules of `workflow/` fill it."""

    root: Path

    @property
    def manifest(self) -> Path:
        return self.root / "data" / "manifest.tsv"

    @property
    def prepared(self) -> dict[str, list[Path]]:
        """The shard indices of each preparation stage."""
        return {stage: sorted((self.root / "data" / stage).glob("shard-*.tsv")) for stage in PREPARATION}

    @property
    def qc(self) -> Path:
        return self.root / "qc"

    @property
    def checked(self) -> list[Path]:
        """The shard indices of quality control."""
        return sorted(self.qc.glob("shard-*.tsv"))

    @property
    def extractor_source(self) -> Path:
        return self.root / "models" / "extractor" / "source.json"

    @property
    def tables(self) -> Path:
        return self.root / "tables"

    @property
    def figures(self) -> Path:
        return self.root / "figures"

    def figure(self, name: str) -> Path:
        """The folder of one of the report's figures."""
        return self.figures / name

    @property
    def twins(self) -> Path:
        """The index of the pictures of synthetic scans."""
        return self.figures / "twins" / "index.tsv"

    @property
    def report(self) -> Path:
        return self.root / "report"

    @property
    def pairs(self) -> Path:
        return self.root / "low_dose" / "index.tsv"

    @property
    def anomaly_maps(self) -> Path:
        return self.root / "anomaly_maps"

    def denoised(self, method: str) -> Path:
        return self.root / "denoise" / method

    @property
    def anomaly_metrics(self) -> Path:
        return self.root / "metrics" / "score_anomaly.csv"

    def denoising_metrics(self, method: str) -> Path:
        return self.root / "metrics" / "denoise" / f"{method}.csv"

    def lesions(self, dataset: str, origin: str) -> Path:
        return self.root / "draw_lesions" / dataset / origin

    @property
    def thick_scans(self) -> Path:
        return self.root / "thick_slices" / "index.tsv"

    def super_resolved(self, method: str) -> Path:
        return self.root / "super_resolve" / method

    def lesion_metrics(self, dataset: str) -> Path:
        return self.root / "metrics" / "judge_lesions" / f"{dataset}.csv"

    def augmentation_metrics(self, dataset: str) -> Path:
        return self.root / "metrics" / "augment_lesions" / f"{dataset}.csv"

    def super_resolution_metrics(self, method: str) -> Path:
        return self.root / "metrics" / "super_resolve" / f"{method}.csv"

    def metrics(self, method: str) -> Path:
        return self.root / "metrics" / f"{method}.csv"

    def features(self, method: str) -> Path:
        return self.root / "metrics" / f"{method}.npz"

    def synthetic(self, model: str) -> Path:
        return self.root / "synthesize" / model

    def training_statistics(self, model: str) -> Path:
        run = read_json(self.root / "models" / model / "config.json")["training"]["run"]
        return self.root / "runs" / run / "stats.jsonl"


def scans_and_anatomy(config: Config, cases: list[Case]) -> str:
    """Return what the scans are, where their anatomy comes from, who divided them, and what is wrong with them."""
    providers = {REGISTRY[case.dataset].provider if case.dataset in REGISTRY else "disk" for case in cases}
    data = {"demo": "demo scans", "phantom": "phantoms", "disk": "own data"}
    named = " and ".join(sorted(data[provider] for provider in providers))
    scans = f"{named} at {config.data.spacing_mm:g} mm"
    anatomy = f"anatomy: TotalSegmentator with {config.anatomy.weights} weights"
    return "; ".join([scans, anatomy, divided_by(cases), *shortfalls(cases)])


def divided_by(cases: list[Case]) -> str:
    """Return how the test set came about: of most datasets, and of those where it was otherwise."""
    datasets: dict[str, list[str]] = {}
    for case in cases:
        names = datasets.setdefault(case.split_origin, [])
        if case.dataset not in names:
            names.append(case.dataset)
    usual, *others = sorted(datasets.items(), key=lambda pair: -len(pair[1])) or [("nobody", [])]
    exceptions = [f"that of {', '.join(names)} by {origin}" for origin, names in others]
    return f"test set by {', '.join([usual[0], *exceptions])}"


def made_with(config: Config, cases: list[Case], extractor_source: Path) -> str:
    """Return one line that names data, anatomy weights and extractor behind the numbers."""
    evaluation = config.evaluation
    parts = [
        scans_and_anatomy(config, cases).replace("anatomy:", "anatomy and judge:"),
        f"features: {read_json(extractor_source)['made_with']}"
        + (f", {evaluation.tiles**3} parts of each scan" if evaluation.tiles > 1 else ""),
        f"MS-SSIM with {evaluation.ms_ssim_scales} scales",
    ]
    return "; ".join(parts)
