"""The part of a model card that says where the model can be served, as far as its format allows.

Only what the documentation of the servers says; sources and dates are in docs/model-card.md.
"""

from __future__ import annotations

import re

from orchestrator.report.card_facts import CardFacts
from orchestrator.report.card_loading import run_tag
from orchestrator.services.base import AttemptKind

#: The values that vLLM's `--max-lora-rank` may have, from 8 up.
_VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
#: The base models whose Safetensors adapters Ollama imports, by its documentation.
_OLLAMA_ADAPTERS = re.compile(
    r"/(?:(?:Meta-)?Llama-(?:2|3|3\.1|3\.2)-|Mi[sx]tral-|gemma-(?:1\.1-|2-)?\d+b)", re.IGNORECASE
)
_VERTEX_PAGE = (
    "https://cloud.google.com/vertex-ai/generative-ai/docs/model-garden/"
    "deploy-models-with-custom-weights"
)


def deploying_lines(card: CardFacts) -> list[str]:
    """The section, for an adapter or a whole model."""
    if card.view.stand_in:
        return []
    lines = [
        "## How to deploy it",
        "",
        "From the documentation of the servers; none of it was tried with this model.",
        "",
    ]
    if card.is_adapter:
        return [
            *lines,
            *_vllm_adapter(card),
            *_merging(),
            *_ollama_adapter(card),
            *_vertex("merged"),
            *_exported(card),
        ]
    return [*lines, *_vllm_model(card), *_ollama_model(card), *_vertex("model"), *_exported(card)]


def _download(card: CardFacts, folder: str) -> str:
    tag = run_tag(card.view.facts.run.id)
    return f"hf download {card.repo} --revision {tag} --local-dir {folder}"


def _vllm_adapter(card: CardFacts) -> list[str]:
    plan = card.view.facts.run.plan
    found = card.view.adapter.get("rank") if card.view.adapter else None
    rank = found or plan.hyperparameters.rank or 0
    most = next((one for one in _VLLM_RANKS if one >= rank), None)
    if most is None:
        return [f"**vLLM** takes adapters up to rank {_VLLM_RANKS[-1]}: merge this one.", ""]
    return [
        "**vLLM**, beside the base model, where vLLM supports LoRA for it:",
        "",
        "```bash",
        _download(card, "adapter"),
        f"vllm serve {plan.model.hub_id} --enable-lora --max-lora-rank {most} \\",
        f"    --lora-modules {plan.name}=./adapter",
        "```",
        "",
        f"Requests name the model `{plan.name}`.",
        "",
    ]


def _vllm_model(card: CardFacts) -> list[str]:
    served = f"vllm serve {card.repo} --revision {run_tag(card.view.facts.run.id)}"
    return ["**vLLM**:", "", "```bash", served, "```", ""]


def _merging() -> list[str]:
    return [
        "**As a whole model**, for servers without adapters; after the code above:",
        "",
        "```python",
        "merged = model.merge_and_unload()",
        'merged.save_pretrained("merged")',
        'tokenizer.save_pretrained("merged")',
        "```",
        "",
    ]


def _ollama_adapter(card: CardFacts) -> list[str]:
    plan = card.view.facts.run.plan
    if plan.recipe is not None and plan.recipe.quantization != "none":
        return [
            (
                "**Ollama** advises against adapters of a quantized training, as this one's was. "
                "The merged model can be converted to GGUF by llama.cpp, and imported."
            ),
            "",
        ]
    if not _OLLAMA_ADAPTERS.search(f"/{plan.model.hub_id}"):
        return [
            (
                "**Ollama** does not list this base model among those whose Safetensors adapters "
                "it imports. The merged model can be converted to GGUF by llama.cpp, and imported."
            ),
            "",
        ]
    return [
        "**Ollama**, with a `Modelfile` over the same base model, not a quantized one:",
        "",
        "```bash",
        _download(card, "adapter"),
        f"hf download {plan.model.hub_id} --local-dir base",
        "printf 'FROM ./base\\nADAPTER ./adapter\\n' > Modelfile",
        f"ollama create {plan.name}",
        "```",
        "",
    ]


def _ollama_model(card: CardFacts) -> list[str]:
    return [
        (
            "**Ollama** imports Safetensors of the architectures that it lists; others are "
            "converted to GGUF by llama.cpp first:"
        ),
        "",
        "```bash",
        _download(card, "model"),
        "printf 'FROM ./model\\n' > Modelfile",
        f"ollama create {card.view.facts.run.plan.name}",
        "```",
        "",
    ]


def _vertex(folder: str) -> list[str]:
    return [
        (
            f"**A Vertex AI endpoint** ([custom weights]({_VERTEX_PAGE}), a preview) takes whole "
            f"models of the families that its page lists, not quantized. Copy `{folder}` into a "
            "bucket of yours; with its address as `FOLDER`:"
        ),
        "",
        "```python",
        "from vertexai.preview import model_garden",
        "",
        "endpoint = model_garden.CustomModel(gcs_uri=FOLDER).deploy(",
        '    machine_type="g2-standard-12", accelerator_type="NVIDIA_L4", accelerator_count=1',
        ")",
        "```",
        "",
        (
            "The machine is the documentation's example; a larger model needs a larger one. An "
            "endpoint costs money for as long as it exists."
        ),
        "",
    ]


def _exported(card: CardFacts) -> list[str]:
    """What the run made for devices, which is kept, and not published."""
    export = card.view.facts.run.plan.spec.export
    attempt = card.view.facts.newest(AttemptKind.EXPORT)
    made = {event.attempt_id for event in card.view.facts.events if event.kind == "produced"}
    if export is None or attempt is None or attempt.id not in made:
        return []
    name = {"gguf": "GGUF", "litertlm": "LiteRT-LM"}[export.format]
    return [f"The run also made a {name} file, which is not part of this repo.", ""]
