"""The gate: every configuration that is declared, each in a clean virtual environment, from a clean copy.

    .ci/run                      all of it
    .ci/run suite lint           some of it, with the machine's `python`: what a forge's matrix calls

suite        README's own test command, word for word, with the machine's `python`
newest       the suite again and the tests marked `thorough`, on the newest Python found here and the newest JAX it is
             served; of the machine's own `python`, where that is the newest, only these
two-devices  the tests marked `devices`, in processes with two of them, on the newest Python
end-to-end   import and a short script, the package installed as a user does, on every other Python declared, with the
             newest JAX and with the version between it and the oldest
examples     README's first command, then the tests of the examples run by an interpreter with exactly those extras
lint         lint, format, types, import directions
docs         the code of the documentation's pages, beside the libraries they speak of, and its site: built without a
             network, warnings as errors

Every configuration is run though another failed; a Python that is not here is a line of the table. Ends with 1 if any
failed.
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
DECLARED = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
NEXT = f"3.{max(int(version[2:]) for version in DECLARED) + 1}"
TORCH = {"3.11": ["torch==2.13.0"]}  # the optional peer is compared with where its CPU build is at hand
BETWEEN = "jax<0.12"  # the version that no suite runs
CONFIGURATIONS = ("suite", "newest", "two-devices", "end-to-end", "examples", "lint", "docs")
VERSIONS = "import sys, jax, jaxlib; print('%d.%d.%d' % sys.version_info[:3], jax.__version__, jaxlib.__version__)"

rows, endings = [], []


def run(*command, **environment):
    """Run a command in the copy, show what it says, and return whether it succeeded and its last lines."""
    print("+", *command, flush=True)
    process = subprocess.Popen(
        [str(part) for part in command], cwd=copy, env=os.environ | environment, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    told = []
    for line in process.stdout:
        print(line, end="", flush=True)
        told = [*told[-40:], line.rstrip()]
    return process.wait() == 0, told


def shell(command):
    return run("bash", "-euc", command)


def report(name, python, begun, done, told, devices=1):
    """One row of the table; the closing line of pytest is kept for the end."""
    closing = next((line for line in reversed(told) if re.search(r"\d+ (passed|failed|error).* in [\d.]+s", line)), "")
    tests = re.sub(r",? \d+ (deselected|warnings?)", "", re.sub(r"=+ ?|,? in [\d.]+s.*", "", closing)) or "-"
    found = subprocess.run([python, "-c", VERSIONS], capture_output=True, text=True) if python else None
    versions = found.stdout.split() if found and found.returncode == 0 else ["-", "-", "-"]
    rows.append([name, *versions, devices, tests, f"{time.time() - begun:.0f}", "passed" if done else "FAILED"])
    endings.append(f"{name}: {closing}") if closing else None
    print("==", *rows[-1], flush=True)


def absent(name, version, reason):
    rows.append([name, version, "-", "-", "-", "-", "-", f"not run: {reason}"])


def interpreter(version):
    """A Python of this version that can make environments: on the path, or where pyenv keeps them."""
    kept = {os.environ.get("PYENV_ROOT", ""), os.path.expanduser("~/.pyenv")}
    kept = [path for root in kept if root for path in glob.glob(f"{root}/versions/{version}.*/bin/python")]
    for path in [shutil.which(f"python{version}"), *sorted(kept, reverse=True)]:
        asked = "import sys, ensurepip; print('%d.%d' % sys.version_info[:2])"
        answer = path and subprocess.run([path, "-c", asked], capture_output=True, text=True)
        if answer and answer.stdout.strip() == version:
            return path
    return None


def environment(name, python, *wanted):
    """A new environment of `python` with `wanted` in it; its interpreter."""
    shutil.rmtree(work / name, ignore_errors=True)
    fresh = work / name / "bin" / "python"
    done = run(python, "-m", "venv", work / name)[0] and run(fresh, "-m", "pip", "install", "--quiet", *wanted)[0]
    return fresh, done


def suite():
    """The README's test command, the optional peers put in before the tests run."""
    begun, (lead, tests) = time.time(), re.search(r"^(python3? -m venv .*) && (.*pytest)$", README, re.M).groups()
    done, told = shell(lead)
    peers = TORCH.get(machine, [])
    done = done and (not peers or run(".venv/bin/pip", "install", "--quiet", *peers)[0])
    done, told = shell(f"{lead} && {tests}") if done else (False, told)
    report("suite", copy / ".venv/bin/python", begun, done, told)


def newest():
    """Where the machine's Python is the newest, what its suite left out."""
    name, tests = ("thorough", "thorough") if best == machine else ("suite again", "thorough or not thorough")
    base, peers = found.get(best, "python"), TORCH.get(best, [])
    begun, (python, done) = time.time(), environment("newest", base, "-e", ".[test]", *peers)
    done, told = run(python, "-m", "pytest", "-m", tests, "--durations=40") if done else (False, [])
    report(name, python, begun, done, told)


def two_devices():
    begun, python, done = time.time(), work / "newest/bin/python", True
    if not python.exists():
        python, done = environment("newest", found.get(best, "python"), "-e", ".[test]")
    done, told = run(python, "-m", "pytest", "-m", "devices", JAX_NUM_CPU_DEVICES="2") if done else (False, [])
    report("two devices", python, begun, done, told, devices=2)


def end_to_end():
    suites = {"suite": machine, "newest": best}
    for version in [*DECLARED, NEXT]:
        if version in [suites.get(name) for name in asked]:
            continue
        if version not in found:
            absent("end to end", version, f"no python{version} here" + ", nor declared" * (version == NEXT))
            continue
        begun, (python, done) = time.time(), environment("other", found[version], ".[train,data]")
        for jax in ("", BETWEEN):
            done = done and (not jax or run(python, "-m", "pip", "install", "--quiet", jax)[0])
            done, told = run(python, "-I", copy / ".ci" / "smoke.py") if done else (False, [])
            report("end to end", python, begun, done, told)
            begun = time.time()


def examples():
    """The interpreter of README's first command runs what the tests of the examples start."""
    begun, first = time.time(), re.search(r"^python3? -m venv .*quickstart\.py$", README, re.M)[0]
    exact, lead = work / "examples", first.replace(".venv", str(work / "examples"))
    done, told = shell(lead)
    tester = next((path for path in (copy / ".venv/bin/python", work / "newest/bin/python") if path.exists()), None)
    if done and tester is None:
        tester, done = environment("tester", "python", "-e", ".[test]")
    if done:
        done, told = run(tester, "-m", "pytest", "examples/tests", FNN_EXAMPLES_PYTHON=str(exact / "bin/python"))
    report("examples", exact / "bin/python", begun, done, told)


def lint():
    begun, (python, done) = time.time(), environment("lint", "python", "-e", ".[lint]")
    bin = python.parent
    checks = (("ruff", "check", "."), ("ruff", "format", "--check", "."), ("mypy",), ("lint-imports",))
    results = [run(bin / tool, *rest)[0] for tool, *rest in checks] if done else []
    done = done and all(results)
    report("lint, types", python, begun, done, [])


def docs():
    wanted = ["-e", ".[docs,test,bench]", *TORCH.get(machine, [])]
    begun, (python, done) = time.time(), environment("docs", "python", *wanted)
    done, told = run(python, "-m", "pytest", "-n", "2", "--dist", "loadfile", "docs/tests") if done else (False, [])
    report("docs", python, begun, done, told)


def show():
    table = [["configuration", "Python", "jax", "jaxlib", "devices", "tests", "seconds", "result"], *rows]
    table = [[str(cell) for cell in row] for row in table]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    print(
        "\n"
        + "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
        )
    )
    print("\n" + "\n".join(sorted(endings, key=lambda line: line.startswith("suite:"))))


asked = sys.argv[1:] or CONFIGURATIONS
if set(asked) - set(CONFIGURATIONS):
    sys.exit(
        f"no configuration {', '.join(sorted(set(asked) - set(CONFIGURATIONS)))}; there are {', '.join(CONFIGURATIONS)}"
    )
os.environ.pop("PYTHONPATH", None)
# Most modules put in are never imported, and those that are, Python compiles then: half the time of an environment.
os.environ["PIP_COMPILE"] = "0"
# Real data beside the checkout is used where it stands; tests that need it skip with a reason where it does not.
os.environ.setdefault("FNN_DATA", str(ROOT.parent / "shared" / "data"))
machine = subprocess.check_output(
    ["python", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], text=True
).strip()
found = {version: path for version in [*DECLARED, NEXT] if (path := interpreter(version))}
found.setdefault(machine, "python")
best = max((version for version in found if version in DECLARED), key=lambda version: int(version[2:]), default=machine)
with tempfile.TemporaryDirectory() as folder:
    work, copy = Path(folder), Path(folder) / "copy"
    listed = subprocess.check_output(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT)
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    for name in asked:
        print(f"\n== {name}", flush=True)
        globals()[name.replace("-", "_")]()
show()
sys.exit(any(row[-1] == "FAILED" for row in rows))
