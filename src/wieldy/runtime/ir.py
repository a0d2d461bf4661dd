"""A package as OpenVINO's own format: two files, NAME.xml and NAME.bin, that OpenVINO runs without wieldy."""

from pathlib import Path

from wieldy.core.errors import StorageError
from wieldy.package.read import Package
from wieldy.runtime.engine import openvino
from wieldy.runtime.integers import stored_integers
from wieldy.runtime.lower import lower_package


def export_ir(package: Package, path: str | Path, *, batch: int = 1) -> Path:
    """Write a package as OpenVINO IR: zeros as numbers, levels as int8 constants, weights in full precision.

    Args:
        package: an opened package.
        path: the .xml file; the weights go to the .bin beside it.
        batch: examples per call; the shapes are static, because that is what runs fastest.

    Returns:
        `path`.

    Raises:
        StorageError: the files cannot be written.
        SchemaError: the package's nodes do not fit each other.

    Cost: a copy of the weights.
    """
    path = Path(path).with_suffix(".xml")
    model = lower_package(package, batch, integers=stored_integers(package))
    if not path.parent.is_dir():
        raise StorageError(f"{path}: there is no folder {path.parent}. Make it first.")
    try:
        openvino().save_model(model, path, compress_to_fp16=False)
    except RuntimeError as error:
        raise StorageError(f"{path}: could not be written ({str(error).strip().splitlines()[-1]}).") from None
    return path
