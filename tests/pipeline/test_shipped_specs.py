"""Every spec that is shipped goes all the way on this machine, with a tiny model in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.shipped import shipped_names
from orchestrator.spec import load_spec
from tests.pipeline.test_rehearse import document, run

# One of Vertex is rehearsed by `test_rehearse` every time, and one of hf-jobs by `make test`.
#: As many as the samples have, about; the support router has more.
ROWS = 40


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("name", list(shipped_names()))
def test_every_shipped_spec_is_rehearsed_with_tiny(name: str, tmp_path: Path) -> None:
    spec = load_spec(shipped_names()[name]).spec
    result = document(run(["rehearse", name, "--limit", str(ROWS), "--json"], tmp_path))
    assert result["state"] == ("PUBLISHED" if spec.publish else "COLLECTED")
    assert result["stand_in"] == "tiny"
    asked = ("generate",) if spec.evaluation else ()
    chain = ("tune", *asked, *(("merge", "export") if spec.export else ()))
    assert len(result["service_jobs"]) == len(chain)
    assert "a random 2-layer model" in result["differences"][0]
    assert result["metrics"]["loss"]["points"] > 0
    assert Path(result["adapter_path"], "adapter_config.json").is_file()
