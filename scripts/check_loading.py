#!/usr/bin/env python3
"""Runs every snippet of docs/loading.md against its real library: a folded file must load and compute the same.

    scripts/check_loading.py --venv VENV [--bin target/release/bnfold-gpu] [--only timm keras ...] [--table]
                             [--allow-missing mlx ...] [--candle COMMAND ...]

Stage:  after the build; it sees the program only through its command line, and the libraries only through the page.
In:     docs/loading.md; a virtual environment, made if it is not there, into which packages are installed that are missing.
Out:    a line a snippet: its name, the library's version, the largest difference. Exit status 0 only if all are right.

Comments in the page say what a snippet is, and what should come of it:
  run: NAME            the fenced blocks that follow are run in turn; `y` is what the network computed before folding
  differs: NAME        the text of the comment is run (lines after `$ ` by the shell), and `y` is something else
  raises ERROR: NAME   it raises this error
  refused: NAME        its last command ends with exit status 1
  save: LIBRARY        the block writes the original, for libraries that have no such file
  file: NAME           the block is what other snippets import
The first word of NAME is the library. Each runs in a process and a folder of its own, by `loading_case.py`, on a network
made at random; `build` makes it anew, `images` is a batch of its inputs. Nothing is downloaded but packages.
A library that cannot be installed counts as a failure unless --allow-missing names it. candle's snippet is an example of
this package, which takes two files and prints their largest difference.
"""
import argparse, json, os, pathlib, re, shutil, subprocess, sys, tempfile, tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "loading.md"
LIMIT = 1e-5  # of the largest output
WRONG = 1e-2  # What computes something else is off by this at least.
TORCH = ["torch", "torchvision", "safetensors", "numpy"]
PACKAGES = {
    "timm": [*TORCH, "timm"],
    "torchvision": TORCH,
    "transformers": [*TORCH, "transformers"],
    "ultralytics": [*TORCH, "ultralytics"],
    "segmentation_models_pytorch": [*TORCH, "segmentation-models-pytorch"],
    "keras": ["torch", "numpy", "safetensors", "keras"],
    "mlx": ["mlx[cpu]", "numpy"],
}
CANDLE = ["cargo", "run", "--quiet", "--locked", "--example", "load_in_candle", "--"]
COMMENT = re.compile(r"<!-- (run|differs|raises \w+|refused|save|file): ([^\n]*?)(?: -->|\n(.*?)-->)", re.DOTALL)
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def library(name):
    return re.split(r"[ ,]", name)[0]


def hidden_steps(text):
    """Runs of Python, and commands after `$ `."""
    steps = []
    for line in text.splitlines(keepends=True):
        language = "sh" if line.startswith("$ ") else "python"
        if language == "python" and steps and steps[-1][0] == "python":
            steps[-1][1] += line
        else:
            steps.append([language, line.removeprefix("$ ")])
    return steps


def read_page(text):
    """Yields (kind, name, steps). What belongs to a comment ends with the next comment or heading."""
    for found in COMMENT.finditer(text):
        kind, name, hidden = found.groups()
        after = re.split(r"^<!-- |^#", text[found.end() :], maxsplit=1, flags=re.MULTILINE)[0]
        yield kind, name, hidden_steps(hidden) if hidden else [list(block) for block in BLOCK.findall(after)]


class Environment:
    """A virtual environment, and the program under test where a shell finds it."""

    def __init__(self, venv, binary, folder):
        self.python = os.path.join(os.path.abspath(venv), "bin", "python")
        if not os.path.exists(self.python):
            subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        os.symlink(os.path.abspath(binary), os.path.join(folder, "bnfold-gpu"))
        path = folder + os.pathsep + os.environ["PATH"]
        self.variables = {**os.environ, "PATH": path, "KERAS_BACKEND": "torch", "HF_HUB_OFFLINE": "1", "YOLO_AUTOINSTALL": "false"}
        self.installed = {}

    def has(self, library):
        if library not in self.installed:
            command = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES[library]]
            self.installed[library] = subprocess.run(command).returncode == 0
        return self.installed[library]

    def run(self, case):
        command = [self.python, ROOT / "scripts" / "loading_case.py"]
        run = subprocess.run(command, input=json.dumps(case), capture_output=True, text=True, env=self.variables)
        try:
            return json.loads(run.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            return {"version": "", "error": (run.stderr.strip().splitlines() or ["no output"])[-1]}


def candle(case, environment, command):
    """The same for candle; None without a compiler."""
    if not shutil.which(command[0]):
        return None
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    version = next(package["version"] for package in lock["package"] if package["name"] == "candle-nn")
    with tempfile.TemporaryDirectory() as folder:
        original = shutil.copy(ROOT / "tests/data/digits-resnet.safetensors", os.path.join(folder, "model.safetensors"))
        for _, step in case["steps"]:
            subprocess.run(step, shell=True, cwd=folder, env=environment.variables, check=True, capture_output=True)
        files = [original, os.path.join(folder, "model.folded.safetensors")]
        run = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        return {"version": version, "error": run.stderr.strip()}
    return {"version": version, "difference": float(run.stdout)}


def judge(kind, result):
    """Whether what came of a snippet is what the page says, and in words what it was."""
    error, difference = result.get("error"), result.get("difference")
    if kind.startswith("raises "):
        return error is not None and error.startswith(kind.split()[1] + ":"), (error or "no error").splitlines()[0]
    if kind == "refused":
        return error == "Refused: 1", error or "no error"
    if error is not None or difference is None:
        return False, error or "no `y`"
    if kind == "differs":
        return difference > WRONG, f"differs by {difference:.1e}"
    return difference <= LIMIT, f"{difference:.1e}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", required=True)
    parser.add_argument("--bin", default=str(ROOT / "target/release/bnfold-gpu"))
    parser.add_argument("--only", nargs="*", help="libraries")
    parser.add_argument("--allow-missing", nargs="*", default=[], metavar="NAME", help="libraries that need not be there")
    parser.add_argument("--candle", nargs="+", default=CANDLE, metavar="WORD", help="what runs the example")
    parser.add_argument("--table", action="store_true", help="end with the table of docs/loading.md")
    arguments = parser.parse_args()
    snippets = list(read_page(PAGE.read_text()))
    given = {kind: {name: steps[0][1] for found, name, steps in snippets if found == kind} for kind in ("save", "file")}
    rows, failed = [], 0
    with tempfile.TemporaryDirectory() as folder:
        environment = Environment(arguments.venv, arguments.bin, folder)
        for kind, name, steps in snippets:
            of = library(name)
            if kind in given or arguments.only and of not in arguments.only:
                continue
            case = {"name": name, "steps": steps, "files": given["file"], "save": given["save"].get(of)}
            if of == "candle":
                result = candle(case, environment, arguments.candle)
            else:
                result = environment.run(case) if environment.has(of) else None
            if result is None:
                failed += of not in arguments.allow_missing
                print(f"not run  {name}", flush=True)
                continue
            passed, words = judge(kind, result)
            failed += not passed
            print(f"{'ok    ' if passed else 'FAILED'}  {name}: {of} {result['version']}, {words}", flush=True)
            if kind == "run":
                rows.append(f"| {name} | {of} {result['version']} | {words} |")
    print(f"{failed} failed")
    if arguments.table:
        print("\n".join(["", "| snippet | library | largest difference |", "|---|---|---|", *rows]))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
