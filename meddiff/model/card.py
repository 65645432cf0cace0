"""The card of a bundle: the header that the Hugging Face hub reads, and what a person needs to know."""

from collections.abc import Sequence
from typing import Any

from meddiff.datasets import REGISTRY

TAGS = ["medical", "ct", "3d", "diffusion"]
OWN_SCANS = "the owner's"
INTENDED_USE = (
    "Intended use: research on CT images. Not for diagnosis or treatment. The licences of the training data apply to "
    "what is made from them."
)


def model_card(name: str, what: str, facts: Sequence[str], training: dict[str, Any]) -> str:
    """Return a card in Markdown.

    Args:
        name: of the model.
        what: what it is, in one sentence.
        facts: a line each.
        training: how it was made, `TrainingRegions.facts`.
    """
    losses = ", ".join(f"{key} {loss:.4f}" for key, loss in training["validation"].items())
    lines = [
        *facts,
        f"Training: {training['steps']:,} steps of {training['samples_per_step']} samples, "
        f"{training['epochs']:.4g} epochs, seed {training['seed']}",
        f"Validation loss (L1): {losses or 'no validation split'}",
        f"Anatomy from: TotalSegmentator with {training['anatomy_weights']} weights",
    ]
    listed = "\n".join(f"- {line}" for line in lines)
    return (
        f"---\n{_header(name, training)}\n---\n\n# {name}\n\n{what}\n\n{listed}\n\n"
        f"| training data | regions | licence |\n| --- | --- | --- |\n{_sources(training)}\n\n{INTENDED_USE}\n"
    )


def _header(name: str, training: dict[str, Any]) -> str:
    """Return the YAML of the header, as the hub's own library writes it."""
    from huggingface_hub import EvalResult, ModelCardData

    losses = [
        EvalResult("image-to-image", "validation", "validation split", "mae", round(loss, 4), metric_name=key)
        for key, loss in training["validation"].items()
    ]
    header = ModelCardData(
        license="other",
        license_name="that-of-the-training-data",
        license_link="README.md",
        library_name="meddiff-fm",
        tags=TAGS,
        datasets=list(training["regions_per_dataset"]),
        metrics=["mae"],
        model_name=name if losses else None,
        eval_results=losses or None,
    )
    return header.to_yaml()


def _sources(training: dict[str, Any]) -> str:
    known = {name: dataset.licence for name, dataset in REGISTRY.items()}
    counts = training["regions_per_dataset"].items()
    return "\n".join(f"| {name} | {count} | {known.get(name) or OWN_SCANS} |" for name, count in counts)
