"""Real file systems for tests that need one of their own: only root may mount, so elsewhere they are skipped."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


class Mounts:
    """Small file systems under a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mounted: list[Path] = []

    def tmpfs(self, size_mib: int) -> Path:
        return self._mount("-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs")

    def ext4(self, image: Path, options: str = "defaults") -> Path:
        """Mount an image, which is made with 192 MiB when it is not there; its journal is replayed."""
        if not image.exists():
            if not shutil.which("mkfs.ext4"):
                pytest.skip("mkfs.ext4 is not installed")
            with image.open("wb") as file:
                file.truncate(192 << 20)
            subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
        return self._mount("-o", f"loop,{options}", str(image))

    def _mount(self, *arguments: str) -> Path:
        target = self._folder / f"mounted{len(list(self._folder.glob('mounted*')))}"
        target.mkdir()
        done = subprocess.run(["mount", *arguments, target], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"this machine does not let us mount: {done.stderr.strip()}")
        self._mounted.append(target)
        return target

    def remount(self, target: Path, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", target], check=True)

    def device(self, target: Path) -> str:
        """The name of its block device: loop7."""
        found = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
        return next(Path(fields[0]).name for fields in found if fields[1] == str(target))

    def unmount(self, target: Path) -> None:
        self._mounted.remove(target)
        subprocess.run(["umount", target], check=True)

    def close(self) -> None:
        for target in reversed(self._mounted):
            subprocess.run(["umount", "--lazy", target], check=True)


@pytest.fixture
def mounts(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    folder = tmp_path / "mounts"
    folder.mkdir()
    mounts = Mounts(folder)
    yield mounts
    mounts.close()
