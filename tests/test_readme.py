"""What the README shows in Python runs as it stands."""

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_the_notebook_example():
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names: dict[str, list] = {}
    exec(example, names)
    assert [frame.shape for frame in names["frames"]] == [(128, 128, 3)] * 16
