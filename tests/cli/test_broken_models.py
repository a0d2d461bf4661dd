"""Whatever is wrong with a network, the command line says it in a sentence with a way out."""

import re
from pathlib import Path

import broken
import pytest

from wieldy.cli.main import run_verb


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", broken.BROKEN)
def test_a_broken_network_is_refused_in_one_sentence_with_a_way_out(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.py").write_text(f"import broken\n\nmake = broken.BROKEN[{name!r}][0]\n")
    (tmp_path / "data.py").write_text("import broken\n\nmake = broken.data\n")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: model.py:make\ndata: data.py:make\nbudget: {latency: 50%}\nbatch: 1\n")
    out = tmp_path / "out"
    assert run_verb(["run", str(recipe), "--out", str(out)]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: ")
    assert "Traceback" not in said
    assert len(re.findall(r"^(?:internal )?error:", said, re.MULTILINE)) == 1
    for words in broken.BROKEN[name][1]:
        assert words in said, said
    assert not [path for path in out.rglob("*") if path.suffix in (".wieldy", ".html", ".json")]
