"""docs/how-to/method.md, followed word for word, and the method that it makes in params.yaml."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import howto

PARAMS = """
import sys
from pathlib import Path
import yaml
from medground import params
values = yaml.safe_load(Path(sys.argv[1]).read_text())
values |= yaml.safe_load(Path("page.yaml").read_text())
Path("params.yaml").write_text(yaml.safe_dump(values))
p = params.load()
from medground.attribution import by_entry
print(dict(by_entry("smoothgrad").configured(p).settings))
values["attribute"]["smoothgrad"]["copies"] = 0
Path("params.yaml").write_text(yaml.safe_dump(values))
try:
    params.load()
except params.MedgroundError as error:
    print(error)
"""


def test_a_method_of_a_package_of_ones_own(tmp_path):
    done = howto.follow("method.md", tmp_path)
    assert [command for command, _ in done] == ["python check.py"]
    (shown,) = [text for kind, _, text in howto.blocks(howto.ROOT / "docs/how-to/method.md") if kind == "yaml"]
    (tmp_path / "page.yaml").write_text(shown)
    (tmp_path / "use.py").write_text(PARAMS)
    said = howto.run(f"python use.py {howto.ROOT / 'profiles/phantom.yaml'}", tmp_path)
    assert "{'copies': 16, 'noise': 0.1, 'seed': 1}" in said
    assert "attribute.smoothgrad.copies is 0; it must be a whole number from 1 to 1000" in said
