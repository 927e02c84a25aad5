"""How a measurement was made: on which model and machine, with which sampler, and in what time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from safa_stream.evaluation.bench import machine
from safa_stream.evaluation.paper.experiment import Setup
from safa_stream.evaluation.paper.making import first_order
from safa_stream.evaluation.paper.pace import spoken
from safa_stream.models.interface import Model


@dataclass(frozen=True, slots=True)
class Provenance:
    """What every page and every JSON object says of itself."""

    setup: Setup
    model: str
    backend: str
    sampler: str
    machine: str
    seconds: float

    @classmethod
    def since(cls, begun: float, model: Model, setup: Setup, sampler: str | None = None) -> Provenance:
        """Of what was begun at `time.perf_counter()` = begun and is done now; sampler: where it is not the paper's."""
        facts, spent = model.facts, time.perf_counter() - begun
        name = sampler or first_order(model.solver(setup.steps)).name
        return cls(setup, f"{facts.name} {facts.version}", str(model.backend), name, machine(), spent)

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        setup = self.setup
        return {
            "model": self.model,
            "backend": self.backend,
            "sampler": self.sampler,
            "machine": self.machine,
            "took_s": self.seconds,
            "prompts": list(setup.prompts),
            "seeds": list(setup.seeds),
            "steps": setup.steps,
            "guidance": setup.guidance,
        }

    def headline(self) -> str:
        """For the terminal."""
        setup = self.setup
        return (
            f"{self.model} on backend {self.backend}; {len(setup.prompts)} prompts x {len(setup.seeds)} seeds, "
            f"{self.sampler}, {setup.steps} steps, guidance {setup.guidance:g}; {self.machine}; "
            f"{spoken(self.seconds)} min"
        )

    def sentence(self, command: str) -> str:
        """For a page."""
        setup = self.setup
        return (
            f"Model {self.model} on backend {self.backend}; prompts: {', '.join(setup.prompts)}; {len(setup.seeds)} "
            f"seed(s) each; sampler {self.sampler}, {setup.steps} steps, guidance {setup.guidance:g}. "
            f"Made by `{command}` in {spoken(self.seconds)} minutes on {self.machine}."
        )
