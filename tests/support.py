"""Where the tests find the project's own files, and data that only some machines have."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"
SHARED = ROOT.parent / "shared"  # CIFAR-10 and PyTorch recordings; tests skip where it is absent
