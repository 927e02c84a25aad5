"""What the package promises on the outside: version, commands, imports, exports, documents."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import os
import re
import resource
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import safa_stream

ROOT = Path(__file__).parents[1]
PACKAGES = ("safa_stream", "server/safa_server", "exporters/safa_exporters")
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part in ("dist", "build") for part in path.relative_to(ROOT).parts)
)
HEAVY = ("torch", "onnxruntime", "onnx", "diffusers", "transformers")
CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, CONTRACTS = CONFIGURATION["project"], CONFIGURATION["tool"]["importlinter"]["contracts"]


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a fresh interpreter that sees the three packages."""
    places = [str(ROOT / name) for name in (".", "server", "exporters")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)


def blocks(path: Path, language: str) -> list[str]:
    """The fenced code blocks of a document in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(path: Path) -> list[str]:
    """The lines of a document's shell blocks that call safa-stream, with continuation lines joined."""
    lines = "\n".join(blocks(path, "bash")).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if re.match(r"\s*(\S*/)?safa-stream\s", line)]


def anchors(path: Path) -> set[str]:
    """The anchors that a document's headings make."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def module_files() -> list[tuple[str, str]]:
    """Every module as (package folder, file name), package markers left out."""
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name != "__init__.py":
                found.append((path.parent.relative_to(ROOT).as_posix(), path.name))
    return found


class TestVersion:
    def test_one_version_everywhere(self) -> None:
        released = re.search(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
        assert released is not None
        assert safa_stream.__version__ == PROJECT["version"] == released[1]

    def test_an_installed_copy_says_the_same(self) -> None:
        if importlib.util.find_spec("safa_stream.cli") and (found := _installed_version()) is not None:
            assert found == PROJECT["version"]


def _installed_version() -> str | None:
    from importlib import metadata

    try:
        return metadata.version("safa-stream")
    except metadata.PackageNotFoundError:
        return None


def processor_seconds() -> float:
    """What processes started from here took of the processor, whatever else it was busy with."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


class TestCommandLine:
    def test_help_comes_at_once(self) -> None:
        heavy = (*HEAVY, "numpy", "soundfile", "soxr")
        code = (
            "import sys\nfrom safa_stream.cli import main\n"
            "try:\n    code = main(['--help'])\nexcept SystemExit as stop:\n    code = stop.code\n"
            f"print('HEAVY', sorted({{name.split('.')[0] for name in sys.modules}} & set({heavy!r})))\n"
            "sys.exit(code or 0)"
        )
        took = []
        for _ in range(3):
            begun = processor_seconds()
            done = run(code)
            took.append(processor_seconds() - begun)
            assert done.returncode == 0, done.stderr
            assert "render" in done.stdout
            assert "HEAVY []" in done.stdout
        assert min(took) < 1.0

    def test_the_console_script_is_the_command_line(self) -> None:
        module, _, function = PROJECT["scripts"]["safa-stream"].partition(":")
        assert callable(getattr(importlib.import_module(module), function))

    @pytest.mark.parametrize(
        "path", [p for p in DOCUMENTS if commands(p)], ids=lambda p: p.relative_to(ROOT).as_posix()
    )
    def test_documented_commands_are_understood(self, path: Path) -> None:
        from safa_stream.cli.main import build_parser

        for line in commands(path):
            words = shlex.split(line, comments=True)
            try:
                build_parser().parse_args(words[1:])
            except SystemExit as stop:
                assert stop.code == 0, f"{path.name}: {line}"

    def test_the_readme_shows_every_command(self) -> None:
        shown = {shlex.split(line)[1] for line in commands(ROOT / "README.md")}
        assert {"render", "train", "eval", "bench"} <= shown


class TestImports:
    def test_the_core_imports_no_inference_library(self) -> None:
        core = ["engine", "joint", "stream", "decode", "trajectory", "solvers", "operators", "layout", "scene", "types"]
        code = "import sys, safa_stream\n" + "\n".join(f"import safa_stream.{name}" for name in core)
        done = run(code + f"\nprint(sorted({{name.split('.')[0] for name in sys.modules}} & set({HEAVY!r})))")
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == "[]"

    def test_importing_the_package_is_light(self) -> None:
        done = run("import sys, safa_stream\nprint('numpy' in sys.modules)")
        assert done.stdout.strip() == "False", done.stderr

    def test_every_public_name_exists(self) -> None:
        assert safa_stream.__all__
        for name in safa_stream.__all__:
            assert getattr(safa_stream, name) is not None
        assert set(safa_stream.__all__) <= set(dir(safa_stream))

    @pytest.mark.parametrize("package", PACKAGES)
    def test_packages_are_typed(self, package: str) -> None:
        assert (ROOT / package / "py.typed").exists()
        assert (ROOT / package / "__init__.py").exists()


class TestArchitecture:
    @pytest.mark.parametrize("folder", sorted({folder for folder, _ in module_files()}))
    def test_every_module_has_its_line(self, folder: str) -> None:
        text = (ROOT / "docs/ARCHITECTURE.md").read_text(encoding="utf-8")
        section = re.search(rf"^### `{re.escape(folder)}`\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
        assert section is not None, f"docs/ARCHITECTURE.md has no section on {folder}"
        named = set(re.findall(r"^\| `([\w.]+)` \|", section[1], re.MULTILINE))
        assert named == {name for where, name in module_files() if where == folder}

    def test_layers_are_those_that_are_checked(self) -> None:
        layers = next(contract["layers"] for contract in CONTRACTS if contract.get("exhaustive"))
        text = (ROOT / "docs/ARCHITECTURE.md").read_text(encoding="utf-8")
        for layer in layers:
            assert re.search(rf"^ +{re.escape(layer)}\s", text, re.MULTILINE), layer

    def test_no_module_is_left_out_of_the_rule_on_inference_libraries(self) -> None:
        rule = next(contract for contract in CONTRACTS if "onnxruntime" in contract.get("forbidden_modules", ()))
        folder = ROOT / "safa_stream"
        children = {
            path.stem for path in (*folder.glob("*.py"), *(path.parent for path in folder.glob("*/__init__.py")))
        }
        children -= {"__init__", "models", "training", "evaluation"}
        assert set(rule["source_modules"]) == {f"safa_stream.{name}" for name in children} | {"safa_server"}


class TestDocuments:
    @pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
    def test_links_lead_somewhere(self, path: Path) -> None:
        text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            found = (path.parent / name).resolve() if name else path
            assert found.exists(), f"{path.name}: {target}"
            if anchor:
                assert anchor in anchors(found), f"{path.name}: {target}"

    @pytest.mark.parametrize("path", [p for p in DOCUMENTS if blocks(p, "python")], ids=lambda p: p.name)
    def test_python_examples_use_what_exists(self, path: Path) -> None:
        for block in blocks(path, "python"):
            modules: dict[str, ModuleType] = {}
            tree = ast.parse(block)
            for node in ast.walk(tree):
                if isinstance(node, ast.Import):
                    for alias in node.names:
                        modules[alias.asname or alias.name] = importlib.import_module(alias.name)
                elif isinstance(node, ast.ImportFrom) and node.module is not None:
                    module = importlib.import_module(node.module)
                    assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
                    assert hasattr(modules[node.value.id], node.attr), ast.unparse(node)

    def test_the_licence_is_whole(self) -> None:
        text = (ROOT / "LICENSE").read_text(encoding="utf-8")
        assert "Apache License" in text
        assert "END OF TERMS AND CONDITIONS" in text


class TestNotice:
    ROW = "class\tfile\tsource\tauthor\tlicence\nrain\train/a.wav\tsite:a\tAnn\t{}\nrain\train/b.wav\tsite:b\tBo\tCC0\n"

    def notice(self, folder: Path, licence: str) -> subprocess.CompletedProcess[str]:
        manifest = folder / "MANIFEST.tsv"
        manifest.write_text(self.ROW.format(licence), encoding="utf-8")
        tool = [sys.executable, str(ROOT / "tools/notice.py"), str(manifest)]
        return subprocess.run(tool, capture_output=True, text=True, check=False)

    def test_authors_are_named_with_licence_and_source(self, tmp_path: Path) -> None:
        done = self.notice(tmp_path, "CC-BY-4.0")
        assert "  Ann | CC-BY-4.0 | site:a\n" in done.stdout
        assert "  Bo\n" in done.stdout

    def test_a_licence_that_forbids_shipping_is_refused(self, tmp_path: Path) -> None:
        done = self.notice(tmp_path, "CC-BY-NC-4.0")
        assert done.returncode != 0
        assert "CC-BY-NC-4.0" in done.stderr

    def test_the_shipped_notice_names_attribution_and_changes(self) -> None:
        text = (ROOT / "NOTICE").read_text(encoding="utf-8")
        assert len(re.findall(r" \| CC-BY", text)) >= 40
        assert "converted to 48 kHz Opus" in text
        assert "Frank Wen" in text


class TestShippedModel:
    FOLDER = ROOT / "safa_stream/models/builtin/shipped"

    def test_its_files_are_there(self) -> None:
        for name in ("weights.safetensors", "denoiser.onnx", "decoder.onnx", "config.json", "MODEL_CARD.md"):
            assert (self.FOLDER / name).stat().st_size > 0
        assert sum(path.stat().st_size for path in self.FOLDER.iterdir()) <= 40e6

    def test_its_card_names_every_sound(self) -> None:
        card = (self.FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
        for sound in json.loads((self.FOLDER / "config.json").read_text(encoding="utf-8"))["sounds"]:
            assert re.search(rf"^\| {re.escape(sound)} \|", card, re.MULTILINE), sound
