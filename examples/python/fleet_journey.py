"""Ray: a zoo folded by a cluster, one task a model.

    python examples/python/fleet_journey.py                   a small zoo, Ray on this machine
    python examples/python/fleet_journey.py ZOO FOLDED        folders that all nodes see, or URLs; on a cluster by `ray submit`

In:     models. Out: folded models, a line of each in folded.jsonl, and a page about all of them, folded.html.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import bnfold_gpu


def small_zoo() -> str:
    """A few copies of a trained network."""
    folder = Path(tempfile.mkdtemp())
    network = Path(__file__).parents[2] / "tests" / "data" / "digits-resnet.safetensors"
    for number in range(4):
        (folder / "zoo" / f"digits-{number}").mkdir(parents=True)
        shutil.copy(network, folder / "zoo" / f"digits-{number}" / "model.safetensors")
    return str(folder / "zoo")


zoo = sys.argv[1] if len(sys.argv) > 1 else small_zoo()
folded = sys.argv[2] if len(sys.argv) > 2 else zoo + "-folded"
place = Path() if len(sys.argv) > 2 else Path(folded).parent

# The same call goes on after an interruption: what is done is passed over, and its line stays.
for _ in range(2):
    found = bnfold_gpu.ray.fold_zoo(
        zoo,
        folded,
        manifest=place / "folded.jsonl",
        report=place / "folded.html",
        raise_failures=False,
    )
    print(f"{len(found.folded)} folded, {len(found.skipped)} done before, {len(found.failed)} failed")
for failed in found.failed:
    print(failed.error)
assert len(found.skipped) + len(found.failed) == len(found.outcomes) > 0
