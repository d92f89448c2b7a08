#!/usr/bin/env python3
"""Pack a built program into the archive that a release offers.

    scripts/package.py PROGRAM TARGET [--out dist]

Stage:  after `cargo build --release`, in .github/workflows/release.yml; it sees the program only through its command line.
In:     PROGRAM, built for this machine, which prints its own man page and completions; TARGET, the triple that it was
        built for, with a suffix where one target has two builds; README, changelog, licences and docs/ of this checkout
Out:    OUT/bnfold-gpu-VERSION-TARGET.tar.gz (.zip where PROGRAM ends in .exe), with everything below one folder of that name
        OUT/bnfold-gpu-VERSION-TARGET.tar.gz.sha256, as `sha256sum --check` reads it
        on stdout the path of the archive

The same files give the same archive: entries are sorted, and have the owner 0 and the time SOURCE_DATE_EPOCH (1980-01-01 if
it is not set, the first day that a zip can say). Exit status 0, 1 if the program does not run, 2 for wrong usage.
Needs Python 3.9 and nothing else.
"""

import argparse
import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"]
# The names under which shells look for completions.
COMPLETIONS = {
    "bash": "bnfold-gpu.bash",
    "elvish": "bnfold-gpu.elv",
    "fish": "bnfold-gpu.fish",
    "powershell": "_bnfold-gpu.ps1",
    "zsh": "_bnfold-gpu",
}
EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", "315532800"))


def printed(program, *arguments):
    """What the program prints."""
    done = subprocess.run([program, *arguments], capture_output=True)
    if done.returncode != 0:
        sys.exit(f"error: {program} {' '.join(arguments)}: exit status {done.returncode}: {done.stderr.decode().strip()}")
    return done.stdout


def contents(program):
    """Name, mode and bytes of everything in the archive."""
    files = {program.name: (0o755, program.read_bytes())}
    with tempfile.TemporaryDirectory() as folder:
        printed(program, "man", "--out", folder)
        files |= {f"man/{page.name}": (0o644, page.read_bytes()) for page in Path(folder).iterdir()}
    for shell, name in COMPLETIONS.items():
        files[f"completions/{name}"] = (0o644, printed(program, "completions", shell))
    pages = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*") if path.is_file())
    for name in [*DOCUMENTS, *pages]:
        files[name] = (0o644, (ROOT / name).read_bytes())
    return sorted((name, mode, data) for name, (mode, data) in files.items())


def tar_gz(folder, files):
    """The bytes of a .tar.gz."""
    packed = io.BytesIO()
    # An empty name and a fixed time: gzip's header says neither when nor where.
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=EPOCH) as zipped:
        with tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for name, mode, data in files:
                entry = tarfile.TarInfo(f"{folder}/{name}")
                entry.mode, entry.size, entry.mtime = mode, len(data), EPOCH
                archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def zip_(folder, files):
    """The bytes of a .zip."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, mode, data in files:
            entry = zipfile.ZipInfo(f"{folder}/{name}", time.gmtime(EPOCH)[:6])
            entry.external_attr, entry.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            entry.create_system = 3
            archive.writestr(entry, data)
    return packed.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", type=Path)
    parser.add_argument("target")
    parser.add_argument("--out", type=Path, default=Path("dist"))
    arguments = parser.parse_args()
    program = arguments.program.resolve()
    if not program.is_file():
        parser.error(f"{arguments.program} is no file: build it first")

    version = printed(program, "--version").split()[-1].decode()
    folder = f"bnfold-gpu-{version}-{arguments.target}"
    pack, ending = (zip_, ".zip") if program.suffix == ".exe" else (tar_gz, ".tar.gz")
    data = pack(folder, contents(program))

    arguments.out.mkdir(parents=True, exist_ok=True)
    archive = arguments.out / (folder + ending)
    archive.write_bytes(data)
    # Unix line ends on Windows too: sha256sum reads no others.
    line = f"{hashlib.sha256(data).hexdigest()}  {archive.name}\n"
    (arguments.out / (archive.name + ".sha256")).write_bytes(line.encode())
    print(archive)


if __name__ == "__main__":
    main()
