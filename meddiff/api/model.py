"""`MedDiffFM`: a pretrained model and everything that it does with one scan."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import SimpleITK as sitk

from meddiff.anatomy.masks import read_mask, upright_labels
from meddiff.anatomy.numbering import MaskFile
from meddiff.api.arguments import DrawnLesion, Place, check_seed, choice, mask_file, name_of, place, wanted_lesion
from meddiff.api.controls import control_of
from meddiff.api.images import Files, Given, Image, Source, as_given
from meddiff.config import REGION_OF, Config, MachineConfig, Organ, Region, parse_section
from meddiff.errors import CaseError, UserError
from meddiff.machine.faults import machine_fault
from meddiff.machine.progress import Watcher, watched_by
from meddiff.model.bundle_files import BundleConfig, read_config
from meddiff.model.control_bundle import slice_factor
from meddiff.model.foundation import CONFIG, find_bundle, read_anatomy_config
from meddiff.tasks import anomaly, denoising, lesion_files, super_resolution, synthesis
from meddiff.tasks.fit import anatomy_misfits, check_fit, scan_misfits, thinning_misfits
from meddiff.tasks.sampler import Sampler
from meddiff.tasks.scan import Scan, read_scan
from meddiff.volumes import volumes
from meddiff.weights import FOUNDATION, LESIONS, SUPER_RESOLUTION, shipped_bundle


class MedDiffFM:
    """A model that is ready for scans; make it with `from_pretrained`.

    Scans and masks are given as files (NIfTI, NRRD, MHA, a DICOM folder), as `sitk.Image`, or as `Voxels`, an array
    with its geometry. The result is of the same kind and lies on the scan's own voxels; of a file it is a `sitk.Image`.

    An anatomy mask is given in the same ways; without one TotalSegmentator makes it, which needs the extra `anatomy`.
    A `MaskFile` says, too, by which version of TotalSegmentator its labels count.
    A scan or a mask that would spoil the result is refused; with `model.anyway = True` the tasks go on, and log it.

    Weights are read when a task first needs them. Several threads may share one model: their tasks take turns. A task
    can be stopped as any Python code, and the model then goes on with the next; nothing outlives a task but its result.
    """

    def __init__(
        self, bundle: Path, controls: dict[str, Path | str | None], config: Config, progress: Watcher | None
    ) -> None:
        self.config, self.progress, self.anyway = config, progress, False
        self._bundle, self._controls = bundle, controls
        self._samplers: dict[str | None, Sampler] = {}
        self._lock = threading.Lock()

    @classmethod
    def from_pretrained(
        cls,
        model: Path | str | None = None,
        lesions: Path | str | None = None,
        super_resolution: Path | str | None = None,
        config: Config | None = None,
        device: str | None = None,
        progress: Watcher | None = None,
    ) -> "MedDiffFM":
        """Return a model of a bundle.

        Args:
            model: the bundle's folder, or its id on the Hugging Face hub; none: the package's own.
            lesions: folder of the ControlNet for lesions; none: the package's own.
            super_resolution: folder of the ControlNet for thin slices; none: the package's own.
            config: settings of the tasks; none: the defaults, with the anatomy weights that the model was trained with.
            device: auto, cpu, cuda or mps; none: the configured.
            progress: called with a task's name, steps done, and of how many; what it raises ends it. None: log lines.

        Raises:
            UserError: there is no such bundle.

        >>> told = []
        >>> model = MedDiffFM.from_pretrained("model", device="cpu", progress=lambda *step: told.append(step))
        """
        folder = find_bundle(model or shipped_bundle(FOUNDATION))
        config = config or Config(anatomy=read_anatomy_config(folder))
        if device:
            machine = parse_section(MachineConfig, config.machine.model_dump() | {"device": device}, "machine")
            config = config.model_copy(update={"machine": machine})
        return cls(folder, {LESIONS: lesions, SUPER_RESOLUTION: super_resolution}, config, progress)

    @property
    def name(self) -> str:
        return read_config(self._bundle / CONFIG, BundleConfig).name

    def denoise(
        self,
        ct: Given[Image],
        region: Region | str,
        anatomy: Source | MaskFile | None = None,
        noise_hu: float | None = None,
        seed: int = 0,
    ) -> Image:
        """Return a scan with less noise, int16 HU on its own voxels, by the method of `config.denoising`.

        Args:
            ct: the scan.
            region: the part to work on: han, chest or abdomen.
            anatomy: mask of the scan; see the class.
            noise_hu: standard deviation of the noise; none: measured in the scan's soft tissue.
            seed: of the noise that the model is given.

        Raises:
            UserError: the scan or the mask cannot be used, or the result would be worse than the scan; says why.

        >>> import SimpleITK as sitk
        >>> clean = model.denoise(sitk.ReadImage("ct.nii.gz"), "chest", sitk.ReadImage("anatomy.nii.gz"))
        >>> clean.GetSpacing()
        (6.0, 6.0, 6.0)
        """
        with self._turn(ct, seed) as files:
            how, sampler = self.config.denoising, self._sampler()
            # Of a guided filter nothing comes out that the scan does not hold.
            scan = self._read_scan(sampler, place(files, ct, region, anatomy), how.method == "guided")
            return as_given(denoising.denoise_scan(sampler, scan, how, noise_hu, seed, self.anyway), ct)

    def detect(
        self,
        ct: Given[Image],
        organ: Organ | str,
        anatomy: Source | MaskFile | None = None,
        timestep: int | None = None,
        masked: bool = True,
        seed: int = 0,
    ) -> Image:
        """Return the scan minus the model's estimate of it, float32 HU on its own voxels, 0 outside of the organ.

        Args:
            ct: the scan.
            organ: where to look: lung or liver.
            anatomy: mask of the scan; see the class.
            timestep: of the noise that hides a lesion; none: the paper's.
            masked: show the model the organ alone, as the paper does.
            seed: of the noise.

        Raises:
            UserError: the scan or the mask cannot be used, or there is no such organ in it.

        >>> import SimpleITK as sitk
        >>> hu, labels = (sitk.GetArrayFromImage(sitk.ReadImage(f"{name}.nii.gz")) for name in ("ct", "anatomy"))
        >>> found = model.detect(Voxels(hu, (6, 6, 6)), "lung", Voxels(labels, (6, 6, 6)))
        >>> bool(found.values_zyx[labels == 118].any())
        False
        """
        organ = choice(Organ, organ)
        with self._turn(ct, seed) as files:
            sampler = self._sampler()
            scan = self._read_scan(sampler, place(files, ct, REGION_OF[organ], anatomy))
            mask = anomaly.organ_of(scan, organ, self.config.anomaly.closing_mm)
            t = anomaly.timesteps(self.config.anomaly, organ)[-1] if timestep is None else timestep
            probe = anomaly.Probe(t, self.config.anomaly.draws, masked)
            found = anomaly.anomaly_map(sampler, scan, organ, mask, probe, seed)
            return as_given(scan.as_map(found * scan.window.width_hu / 2), ct)

    def synthesize(
        self,
        anatomy: Given[Image] | MaskFile,
        region: Region | str,
        seed: int = 0,
        out: Path | str | None = None,
        preview: bool = False,
    ) -> Image:
        """Return a CT with the anatomy of a mask, int16 HU on the mask's grid at the model's spacing.

        Args:
            anatomy: the mask, with the rest of the body as label 118.
            region: what the mask shows.
            seed: of the noise.
            out: a file to write, too; beside it a long volume keeps its state until then, from which it goes on.
            preview: draw the whole region in one window, in seconds, and interpolate: coarse, and its metadata say so.

        Raises:
            UserError: the mask cannot be used.

        >>> model.synthesize("anatomy.nii.gz", "chest", seed=1).GetSize()
        (32, 32, 16)
        """
        region, out = choice(Region, region), Path(out) if out else None
        with self._turn(anatomy, seed) as files:
            sampler = self._sampler().preview() if preview else self._sampler()
            mask = self._read_mask(sampler, mask_file(files, anatomy), region)
            return as_given(synthesis.synthesize_mask(sampler, mask, region, self.config.regions, seed, out), anatomy)

    def inpaint(
        self,
        ct: Given[Image],
        region: Region | str,
        lesion: Source | DrawnLesion,
        anatomy: Source | MaskFile | None = None,
        seed: int = 0,
    ) -> tuple[Image, Image]:
        """Return a scan with a lesion drawn into it, int16 HU, and the lesion's mask, uint8, both on its own voxels.

        Args:
            ct: the scan; beyond the lesion and its margin every voxel stays as it was.
            region: the part to work on.
            lesion: its mask, or where to draw one.
            anatomy: mask of the scan; see the class.
            seed: of the noise, and of a drawn mask.

        Raises:
            UserError: the scan or a mask cannot be used, or there is no ControlNet for lesions.

        >>> ct, mask = model.inpaint("ct.nii.gz", "chest", DrawnLesion("lung", diameter_mm=12), "anatomy.nii.gz")
        >>> ct.GetSize() == mask.GetSize()
        True
        """
        with self._turn(ct, seed) as files:
            sampler = self._sampler(LESIONS)
            scan = self._read_scan(sampler, place(files, ct, region, anatomy))
            made = lesion_files.inpaint_scan(sampler, scan, wanted_lesion(files, lesion, seed), self.config)
            return as_given(made.ct, ct), as_given(made.mask, ct)

    def generate_lesion(
        self,
        anatomy: Given[Image] | MaskFile,
        region: Region | str,
        lesion: Source | DrawnLesion,
        patch: bool = False,
        seed: int = 0,
    ) -> tuple[Image, Image]:
        """Return a CT with the anatomy of a mask and a lesion, int16 HU, and the lesion's mask, uint8.

        Args:
            anatomy: the mask, with the rest of the body as label 118.
            region: what it shows.
            lesion: its mask, or where to draw one.
            patch: draw the patch around the lesion alone.
            seed: of the noise, and of a drawn mask.

        Raises:
            UserError: a mask cannot be used, or there is no ControlNet for lesions.
        """
        region = choice(Region, region)
        with self._turn(anatomy, seed) as files:
            sampler, wanted = self._sampler(LESIONS), wanted_lesion(files, lesion, seed)
            mask = self._read_mask(sampler, mask_file(files, anatomy), region)
            made = lesion_files.generate_lesion(sampler, mask, region, wanted, self.config, patch)
            return as_given(made.ct, anatomy), as_given(made.mask, anatomy)

    def super_resolve(
        self, ct: Given[Image], region: Region | str, anatomy: Source | MaskFile | None = None, seed: int = 0
    ) -> Image:
        """Return a region of a scan with thick slices at the model's spacing, int16 within the region's HU window.

        Args:
            ct: the scan; its slices are as thick as those that the ControlNet was trained with.
            region: the part to work on; the result holds it alone.
            anatomy: mask of the scan; see the class.
            seed: of the noise.

        Raises:
            UserError: the scan or the mask cannot be used, or there is no ControlNet for super-resolution.
        """
        with self._turn(ct, seed) as files:
            sampler = self._sampler(SUPER_RESOLUTION)
            thinning = self.config.super_resolution.model_copy(update={"factor": slice_factor(sampler.weights.parent)})
            settings = self.config.model_copy(update={"super_resolution": thinning})
            where = place(files, ct, region, anatomy)
            own_grid = volumes.read_grid(where[0])
            check_fit(thinning_misfits(own_grid.spacing_mm.tolist(), sampler.model.spacing_mm), self.anyway)
            thick, grid = super_resolution.read_thick(*where, sampler.model, settings)
            check_fit(anatomy_misfits(thick.anatomy_zyx, thick.region, sampler.model.scans), self.anyway)
            thin = volumes.like(super_resolution.super_resolve(sampler, thick, thinning, seed), grid)
            return as_given(volumes.in_order_of(thin, own_grid), ct)

    @contextmanager
    def _turn(self, given: Source | MaskFile, seed: int) -> Iterator[Files]:
        """Wait for other threads' tasks, and name what cannot be used."""
        check_seed(seed)
        with self._lock, watched_by(self.progress), Files() as files:
            try:
                yield files
            except CaseError as error:
                if machine_fault(error):
                    raise
                raise UserError(name_of(given) + files.without_folder(str(error))) from error

    def _read_scan(self, sampler: Sampler, where: Place, anyway: bool = False) -> Scan:
        scan = read_scan(*where, sampler.model, self.config)
        check_fit(scan_misfits(scan, sampler.model.scans), anyway or self.anyway)
        return scan

    def _read_mask(self, sampler: Sampler, file: MaskFile, region: Region) -> sitk.Image:
        mask = read_mask(file, sampler.model.spacing_mm)
        check_fit(anatomy_misfits(upright_labels(mask), region, sampler.model.scans), self.anyway)
        return mask

    def _sampler(self, control: str | None = None) -> Sampler:
        """Return the model in its configured precision, under the control of a ControlNet where one is named."""
        if control not in self._samplers:
            folder = control_of(control, self._controls[control], self._bundle) if control else None
            self._samplers[control] = Sampler(self._bundle, self.config.sampling, self.config.machine, folder)
        return self._samplers[control]
