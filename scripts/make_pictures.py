#!/usr/bin/env python3
"""Makes the pictures in docs/pictures/: a run in a terminal (SVG), and the report page in a browser (PNG).

In: the program (`cargo build --release`), the networks in tests/data/, Debian's `chromium`. Out: terminal.svg, whose text
is what the program prints, and report.png. Times and dates differ from run to run; everything else is the same.

    python3 scripts/make_pictures.py
"""

import argparse
import html
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "data"

# What the terminal shows, typed in a folder that holds the networks.
COMMANDS = [
    "bnfold-gpu --input digits-resnet.safetensors --eps 1e-5",
    "bnfold-gpu plan --input conv-norm-relu.safetensors conv-relu-norm.safetensors --eps 1e-5",
    "bnfold-gpu verify --original digits-resnet.safetensors --folded digits-resnet.folded.safetensors --eps 1e-5",
]
COLUMNS = 120
CHARACTER, LINE, MARGIN = 7.8, 19, 18
PROMPT = "$ "

STYLE = """
text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #d7dae0; white-space: pre }
.typed { fill: #ffffff; font-weight: 600 }
.warning { fill: #e5c07b }
.error { fill: #ef7a7a }
.note { fill: #8b93a1 }
"""

PAGE = (1280, 860)


def run(program, command, folder):
    """What a command prints, stderr included, as a terminal mixes them."""
    words = shlex.split(command)
    # The first word is the name that the report shows; no path of this machine gets into a picture.
    done = subprocess.run(words, executable=program, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise SystemExit(f"error: `{command}` ended with status {done.returncode}:\n{done.stdout}")
    return done.stdout.rstrip("\n").split("\n")


def kind(line):
    """The class of a line: the program colours the first word of warnings and errors where a person looks."""
    return next((name for name in ("warning", "error", "note") if line.startswith(f"{name}:")), "")


def wrapped(line):
    """The line as a terminal of COLUMNS columns breaks it."""
    return [line[at : at + COLUMNS] for at in range(0, max(len(line), 1), COLUMNS)]


def terminal(program, folder):
    rows = []
    for command in COMMANDS:
        rows += [("typed", part) for part in wrapped(PROMPT + command)]
        for line in run(program, command, folder):
            rows += [(kind(line), part) for part in wrapped(line)]
        rows.append(("", ""))
    rows.pop()
    width, height = round(COLUMNS * CHARACTER + 2 * MARGIN), len(rows) * LINE + 2 * MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">',
        "<title>Folding, planning and verifying in a terminal</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{width}" height="{height}" rx="8" fill="#1f232b"/>',
    ]
    for number, (name, text) in enumerate(rows):
        if text:
            y = MARGIN + (number + 0.75) * LINE
            # The length is stated, so that columns stay in place whatever font there is.
            length = f'textLength="{len(text) * CHARACTER:.1f}" lengthAdjust="spacingAndGlyphs"'
            lines.append(f'<text class="{name}" x="{MARGIN}" y="{y:.1f}" {length} xml:space="preserve">{html.escape(text)}</text>')
    return "\n".join([*lines, "</svg>", ""])


def report(program, folder, picture):
    """A screenshot of the page about a small zoo, the example of docs/zoo.md."""
    (folder / "zoo" / "digits").mkdir(parents=True)
    shutil.copy(DATA / "digits-resnet.safetensors", folder / "zoo" / "digits" / "model.safetensors")
    shutil.copytree(DATA / "twins", folder / "zoo" / "twins")
    run(program, "bnfold-gpu --input zoo --output folded --report folded.html", folder)
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"]
    browser += [f"--user-data-dir={folder / 'profile'}", f"--window-size={PAGE[0]},{PAGE[1]}", "--virtual-time-budget=3000"]
    page = (folder / "folded.html").as_uri()
    subprocess.run([*browser, f"--screenshot={picture}", page], check=True, capture_output=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=ROOT / "target" / "release" / "bnfold-gpu")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    arguments = parser.parse_args()
    program, out = arguments.program.resolve(), arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for network in [DATA / "digits-resnet.safetensors", *(DATA / "twins").glob("conv-*.safetensors")]:
            shutil.copy(network, folder)
        (out / "terminal.svg").write_text(terminal(program, folder))
    with tempfile.TemporaryDirectory() as name:
        report(program, Path(name), out / "report.png")
    for picture in sorted(out.iterdir()):
        print(f"{picture.name}: {picture.stat().st_size} bytes")


if __name__ == "__main__":
    main()
