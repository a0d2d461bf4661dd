"""One tree for every error that a person may meet.

::

    WieldyError                 exit code
    ├── InputError              2   what was handed in cannot be used
    │   ├── ConfigError             a setting, recipe or option
    │   │   └── DivergedError           a training whose weights grow without end
    │   ├── DataError               images, labels, loaders
    │   ├── ShapeError              an array of the wrong shape or dtype
    │   ├── TraceError              a network that cannot be followed
    │   │   └── UnsupportedOpError      an operator outside the allow-list
    │   ├── PackageError            a file that is no sound package
    │   │   ├── NotAPackageError        another kind of file
    │   │   ├── TruncatedError          bytes are missing
    │   │   ├── DigestError             bytes were changed
    │   │   └── SchemaError             its contents break the contract
    │   │       ├── EntriesError            other files in it than its three parts
    │   │       ├── VersionError            a contract of the future
    │   │       ├── ManifestError           a manifest that is none
    │   │       ├── ProgramError            a program that is none
    │   │       ├── OperatorError           an operator that is not allowed, or its arguments
    │   │       ├── UndefinedError          a name that nothing defines before its use
    │   │       ├── NamingError             a name that is taken, or that misleads
    │   │       ├── TensorsError            tensors that are missing, extra or of an unknown format
    │   │       ├── PackingError            parts of a tensor that contradict each other
    │   │       ├── OutsideError            an index outside its tensor
    │   │       ├── OversizeError           more is claimed than may be
    │   │       ├── NotFiniteError          NaN or infinity
    │   │       ├── DisagreementError       parts that say different things of the same
    │   │       └── MisfitError             shapes that do not fit each other
    │   ├── DependencyError         an extra that is not installed
    │   ├── TierError               an instruction set that is not to be had here
    │   └── KernelError             a compiled kernel that is missing or cannot run here
    ├── VerdictError            1   a goal was not met
    │   ├── BudgetError             no plan reaches the budget
    │   └── SignatureError          a package is not what a key's owner signed
    ├── RankError               2   another process of a training is gone
    ├── StorageError            2   a file could not be written; the old one is intact
    └── InternalError           3   our own fault

Every message names the thing, the rule, the value and a way out.
"""

from typing import ClassVar

EXIT_MET = 0
EXIT_VERDICT = 1
EXIT_INPUT = 2
EXIT_INTERNAL = 3
EXIT_INTERRUPTED = 130


class WieldyError(Exception):
    """Base of all errors raised on purpose."""

    exit_code: ClassVar[int] = EXIT_INTERNAL


class InputError(WieldyError):
    """What was handed in cannot be used."""

    exit_code = EXIT_INPUT


class ConfigError(InputError):
    """A setting, recipe or option is wrong.

    Attributes:
        key: under which keys of its file the setting stands, outermost first, where that is known.
    """

    def __init__(self, message: str = "", key: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.key = key


class DivergedError(ConfigError):
    """A training's loss or metric is no longer finite."""


class DataError(InputError):
    """Images, labels or a loader are wrong."""


class ShapeError(InputError):
    """An array has the wrong shape or dtype."""


class TraceError(InputError):
    """A network cannot be followed by the tracer."""


class UnsupportedOpError(TraceError):
    """A network uses an operator that is not supported."""


class PackageError(InputError):
    """A file is no sound package."""


class NotAPackageError(PackageError):
    """The file is of another kind."""


class TruncatedError(PackageError):
    """Bytes of the file are missing."""


class DigestError(PackageError):
    """Bytes of the file differ from what its manifest names."""


class SchemaError(PackageError):
    """The contents of a package break its contract."""


class EntriesError(SchemaError):
    """A package holds other files than its three parts, or holds them otherwise."""


class VersionError(SchemaError):
    """A package follows a contract that this version does not know."""


class ManifestError(SchemaError):
    """A manifest is not what a manifest looks like."""


class ProgramError(SchemaError):
    """A program is not what a program looks like."""


class OperatorError(SchemaError):
    """A node names an operator that is not on the allow-list, or gives it wrong arguments."""


class UndefinedError(SchemaError):
    """A name is used that nothing before it defines."""


class NamingError(SchemaError):
    """A name is taken already, or would be read as another."""


class TensorsError(SchemaError):
    """Tensors are missing, extra, of an unknown format, or in no sound safetensors file."""


class PackingError(SchemaError):
    """The parts of a packed tensor contradict each other or its shape."""


class OutsideError(SchemaError):
    """An index points outside its tensor."""


class OversizeError(SchemaError):
    """A part, a tensor or a value claims more than a package may."""


class NotFiniteError(SchemaError):
    """A tensor holds NaN or infinity."""


class DisagreementError(SchemaError):
    """Two parts of a package say different things of the same."""


class MisfitError(SchemaError):
    """A node does not fit what it is given, or yields another shape than the program says."""


class DependencyError(InputError):
    """A package of an optional extra is not installed."""


class TierError(InputError):
    """An instruction set was asked for that cannot be had in this process."""


class KernelError(InputError):
    """A compiled kernel is missing, or this CPU cannot run the variant asked for."""


class VerdictError(WieldyError):
    """A goal was not met, or a verdict changed."""

    exit_code = EXIT_VERDICT


class BudgetError(VerdictError):
    """No plan that was measured reaches the budget."""


class SignatureError(VerdictError):
    """A package or its evidence is not what the owner of a key signed, or not signed at all."""


class RankError(WieldyError):
    """Of several processes that train together, one is gone."""

    exit_code = EXIT_INPUT


class StorageError(WieldyError):
    """A file could not be written; what stood there before is intact."""

    exit_code = EXIT_INPUT


class InternalError(WieldyError):
    """Something that only a fault of ours can cause."""

    exit_code = EXIT_INTERNAL
