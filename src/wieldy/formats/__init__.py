"""How a tensor is stored: the contract between the method that writes it and the kernel that reads it.

Each format has the `suffixes` of its parts' names, the `dtypes` that it holds, and `encode`, `decode` and
`byte_count`; all but dense also say whether they hold an array without loss.
"""

from wieldy.formats.dense import DenseFormat
from wieldy.formats.integer import IntegerFormat
from wieldy.formats.level_blocks import LevelBlockFormat
from wieldy.formats.sparse import SparseFormat
from wieldy.formats.unified import UnifiedFormat

Format = DenseFormat | SparseFormat | IntegerFormat | UnifiedFormat

FORMATS: dict[str, Format] = {
    "dense": DenseFormat(),
    "csr": SparseFormat(1),
    "csr_f16": SparseFormat(1, "float16"),
    "block_4x1": SparseFormat(4),
    "block_4x1_f16": SparseFormat(4, "float16"),
    "block_8x1": SparseFormat(8),
    "block_8x1_f16": SparseFormat(8, "float16"),
    "int8": IntegerFormat(8),
    "int7": IntegerFormat(7),
    "int8_1x4": LevelBlockFormat(8, 1),
    "int8_4x4": LevelBlockFormat(8, 4),
    "int7_1x4": LevelBlockFormat(7, 1),
    "int7_4x4": LevelBlockFormat(7, 4),
    "unified_1x4": UnifiedFormat(1, 4),
    "unified_4x1": UnifiedFormat(4, 1),
    "unified_4x4": UnifiedFormat(4, 4),
    "unified_8x8": UnifiedFormat(8, 8),
}

BY_BLOCK = {  # the format in float32 in which so many output channels share a pattern
    form.block: name
    for name, form in FORMATS.items()
    if isinstance(form, SparseFormat) and form.dtype == "float32"
}
BY_SHAPE = {  # the format of blocks (rows, columns) that share one magnitude
    (form.rows, form.columns): name for name, form in FORMATS.items() if isinstance(form, UnifiedFormat)
}
