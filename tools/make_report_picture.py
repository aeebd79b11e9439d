"""Write docs/images/report.png: the top of the demo's report, as Chromium shows it.

python tools/make_report_picture.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "images" / "report.png"
SIZE = (1120, 1080)


def main() -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("no chromium and no google-chrome on PATH; install one of them")
    TARGET.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tests").symlink_to(ROOT / "tests")
        shutil.copytree(ROOT / "configs", Path(folder) / "configs")
        environment = {**os.environ, "HOME": folder, "XDG_CACHE_HOME": str(Path.home() / ".cache")}
        run = [sys.executable, "-m", "gpu_pile.cli", "run", "configs/quickstart.yaml"]
        subprocess.run(run, cwd=folder, check=True, env=environment | {"PYTHONPATH": str(ROOT)}, capture_output=True)
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={folder}/browser",
        ]
        shot = [f"--window-size={SIZE[0]},{SIZE[1]}", f"--screenshot={TARGET}"]
        page = (Path(folder) / "demo" / "report.html").as_uri()
        subprocess.run([browser, *options, *shot, page], check=True, env=environment, stderr=subprocess.DEVNULL)
    print(f"{TARGET}: {TARGET.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
