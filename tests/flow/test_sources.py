"""What a recipe names is found, or refused in a sentence."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from wieldy.core.data import Data
from wieldy.core.errors import ConfigError, DataError
from wieldy.flow.sources import load_data, load_model, yielded


def test_functions_of_the_users_files_are_called(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from torch import nn\ndef make():\n    return nn.Linear(2, 2)\n")
    assert load_model("net.py:make", tmp_path).in_features == 2


@pytest.mark.parametrize(
    ("body", "spec", "says"),
    [
        ("def make():\n    return 3\n", "net.py:make", "must be or return a torch module; got int"),
        ("def make():\n    raise KeyError('layer')\n", "net.py:make", "raised KeyError"),
        ("import nothing_like_this\n", "net.py:make", "raised ModuleNotFoundError"),
        ("def other():\n    pass\n", "net.py:make", "defines no 'make'"),
        ("", "absent.py:make", "existing file"),
    ],
)
def test_what_a_users_file_does_wrong_is_one_sentence(
    tmp_path: Path, body: str, spec: str, says: str
) -> None:
    (tmp_path / "net.py").write_text(body)
    with pytest.raises(ConfigError, match=says):
        load_model(spec, tmp_path)


def test_data_must_be_data_or_a_known_name(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text("def make():\n    return [1]\n")
    with pytest.raises(ConfigError, match=r"must be or return wieldy\.Data"):
        load_data("data.py:make", tmp_path)
    with pytest.raises(ConfigError, match="optical-digits"):
        load_data("minst", tmp_path)


def test_a_name_needs_a_file_before_the_colon(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"file\.py:name"):
        yielded(":make", tmp_path)


NET = """
import sibling
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)
    def forward(self, x):
        return self.fc(x)
made = Net()
"""


@pytest.mark.parametrize("name", ["Net", "made"])
def test_a_class_and_a_module_do_as_well_and_what_lies_beside_the_file_is_found(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "sibling.py").write_text("")
    (tmp_path / "net.py").write_text(NET)
    assert load_model(f"net.py:{name}", tmp_path).fc.in_features == 2


@pytest.mark.parametrize("name", ["net.safetensors", "net.pt"])
def test_weights_come_from_a_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "net.py").write_text("from torch import nn\ndef make():\n    return nn.Linear(2, 2)\n")
    state = nn.Linear(2, 2).state_dict()
    save_file(state, tmp_path / name) if name.endswith("safetensors") else torch.save(state, tmp_path / name)
    assert torch.equal(load_model("net.py:make", tmp_path, name).weight, state["weight"])


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("ran",)


def test_weights_that_do_not_fit_or_are_none_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.py").write_text("from torch import nn\ndef make():\n    return nn.Linear(2, 2)\n")
    save_file(nn.Linear(3, 2).state_dict(), tmp_path / "other.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"nothing")
    (tmp_path / "torn.pt").write_bytes(b"nothing")
    torch.save(Evil(), tmp_path / "evil.pt")
    torch.save([1], tmp_path / "list.pt")
    for name, says in (
        ("other.safetensors", "does not fit net.py:make: .*size mismatch"),
        ("absent.pt", "cannot be read"),
        ("torn.safetensors", "holds no state_dict"),
        ("torn.pt", "holds no state_dict"),
        ("evil.pt", "holds no state_dict"),
        ("list.pt", "holds no state_dict"),
    ):
        with pytest.raises(ConfigError, match=says):
            load_model("net.py:make", tmp_path, name)
    assert "ran" not in capsys.readouterr().out


def test_data_may_be_a_dict_of_what_data_takes(tmp_path: Path) -> None:
    rows = "import numpy as np\nrows = np.zeros((20, 2)), np.arange(20) % 2\n"
    (tmp_path / "data.py").write_text(rows + "def make():\n    return dict(train=rows)\n")
    assert load_data("data.py:make", tmp_path).train.size == 14


class Loader:
    """Yields fewer batches each time, and may raise."""

    def __init__(self, *, raises: bool = False) -> None:
        self.left, self.raises = 4, raises

    def __iter__(self):
        self.left -= 1
        for _ in range(self.left):
            yield np.zeros((2, 3), np.float32), np.zeros(2, np.int64)
        if self.raises:
            raise OSError("disk on fire")


def test_a_loader_that_raises_or_ends_early_is_named() -> None:
    with pytest.raises(DataError, match="train: the loader raised OSError: disk on fire"):
        Data(Loader(raises=True), Loader(), Loader())
    data = Data(Loader(), Loader(), Loader())
    with pytest.raises(DataError, match="yielded 3 when it was first read, and now 2"):
        list(data.train.batches(2))
