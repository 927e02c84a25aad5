"""The software bill of materials of a wheel: CycloneDX JSON of all that its extras bring, and of the model it ships.

python -m tools.sbom dist/*.whl     writes dist/NAME-VERSION.cdx.json, checked against CycloneDX's own schema

Components have the versions, files and hashes that pip chooses with `constraints.txt` on the machine that this runs on;
the property "safa:resolved-for" says which that is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from tools.dependencies import Dependency, dependencies, project, report_of

MODEL = "safa_stream/models/builtin/shipped"
#: A licence that is told as a text, not as an expression, is cut there.
LONGEST_LICENCE = 200


@dataclass(frozen=True, slots=True)
class ShippedModel:
    """The built-in model, as its own configuration and the wheel have it. files: SHA-256 by name."""

    version: str
    licence: str
    weights_sha256: str
    files: Mapping[str, str]


def model_in(wheel: Path) -> ShippedModel:
    """The model in a wheel. Ends the program where the weights are not those that the configuration names."""
    with zipfile.ZipFile(wheel) as opened:
        inside = [name for name in opened.namelist() if name.startswith(f"{MODEL}/")]
        files = {Path(name).name: hashlib.sha256(opened.read(name)).hexdigest() for name in inside}
        config = json.loads(opened.read(f"{MODEL}/config.json"))
    if files["weights.safetensors"] != config["weights_sha256"]:
        raise SystemExit(f"{wheel}: the weights are not those that config.json names")
    return ShippedModel(config["version"], config["licence"], config["weights_sha256"], files)


def bom_of(
    found: Sequence[Dependency], root: str, wheel_sha256: str, model: ShippedModel, machine: Mapping[str, str]
) -> Bom:
    """The bill: the wheel is what it describes, dependencies and model are components of it."""
    parts = {one.name: _component(one, wheel_sha256 if one.name == root else None) for one in found}
    weights = _weights(model)
    bom = Bom()
    bom.metadata.component = parts[root]
    bom.metadata.properties.add(Property(name="safa:resolved-for", value=_machine(machine)))
    for name, part in parts.items():
        if name != root:
            bom.components.add(part)
    bom.components.add(weights)
    for one in found:
        needed = [parts[name] for name in one.requires]
        bom.register_dependency(parts[one.name], [*needed, weights] if one.name == root else needed)
    bom.register_dependency(weights)
    return bom


def text_of(bom: Bom) -> str:
    """As JSON (CycloneDX 1.6). Raises ValueError where it breaks the schema."""
    text = JsonV1Dot6(bom).output_as_string(indent=2)
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if wrong is not None:
        raise ValueError(f"the bill of materials is not valid CycloneDX: {wrong}")
    return text


def _component(one: Dependency, own_sha256: str | None) -> Component:
    sha256 = own_sha256 or one.sha256
    hashes = [] if sha256 is None else [HashType(alg=HashAlgorithm.SHA_256, content=sha256)]
    address = PackageURL("pypi", None, one.name, one.version)
    page = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION, url=XsUri(f"https://pypi.org/project/{one.name}/")
    )
    return Component(
        name=one.name,
        version=one.version,
        type=ComponentType.LIBRARY if own_sha256 is None else ComponentType.APPLICATION,
        bom_ref=str(address),
        purl=address,
        description=one.summary or None,
        licenses=_licences(one.licence),
        hashes=hashes,
        properties=[Property(name="safa:file", value=one.file)] if own_sha256 is None else [],
        external_references=[page] if own_sha256 is None else [],
    )


def _licences(said: str | None) -> list[Any]:
    """An SPDX expression where it is one, else the name that the package gives it."""
    if said is None:
        return []
    return [LicenseFactory().make_from_string(said[:LONGEST_LICENCE])]


def _weights(model: ShippedModel) -> Component:
    return Component(
        name="safa-stream-builtin",
        version=model.version,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=f"model:safa-stream-builtin@{model.version}",
        description="Weights and graphs of the built-in model. What they were trained on, and whom to credit: NOTICE.",
        licenses=_licences(model.licence),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=model.weights_sha256)],
        components=[
            Component(
                name=f"{MODEL}/{name}",
                type=ComponentType.FILE,
                bom_ref=f"model-file:{name}",
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)],
            )
            for name, sha256 in sorted(model.files.items())
        ],
    )


def _machine(environment: Mapping[str, str]) -> str:
    names = ("implementation_name", "python_version", "sys_platform", "platform_machine")
    return " ".join(environment[name] for name in names)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the bill beside the wheel."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, metavar="WHEEL")
    parser.add_argument("--report", type=Path, metavar="FILE", help="pip's report, where there is one already")
    options = parser.parse_args(arguments)
    wheel: Path = options.wheel
    root, extras = project()
    report = report_of(f"{wheel.resolve()}[{','.join(extras)}]", options.report)
    found = dependencies(report, root, extras)
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    bom = bom_of(found, root, sha256, model_in(wheel), report["environment"])
    target = wheel.with_name("-".join(wheel.name.split("-")[:2]) + ".cdx.json")
    target.write_text(text_of(bom) + "\n", encoding="utf-8")
    print(f"wrote {target}: {len(bom.components)} components")
    return 0


if __name__ == "__main__":
    sys.exit(main())
