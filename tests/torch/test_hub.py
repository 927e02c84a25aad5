"""Models by id: a small hub on this machine that speaks the real one's protocol, and all that can go wrong with it."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from safa_stream.errors import ModelError
from safa_stream.models import load
from safa_stream.models.pretrained.catalogue import installed
from safa_stream.models.pretrained.hub import Hub
from tests.torch.checkpoints import write

pytestmark = pytest.mark.filterwarnings("ignore")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "someone/tiny-audioldm"


@dataclass
class SmallHub:
    """What it holds, what it answers, and what it was asked for. refusing: the hub's code for all requests."""

    files: dict[str, bytes]
    refusing: str | None = None
    breaking: str | None = None
    asked: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body)."""
        if self.refusing is not None:
            status = 403 if self.refusing == "GatedRepo" else 404
            return status, {"X-Error-Code": self.refusing, "X-Error-Message": self.refusing}, b"{}"
        if path.startswith(f"/api/models/{NAME}/tree/"):
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in self.files.items()
            ]
            return 200, {"Content-Type": "application/json"}, json.dumps(entries).encode()
        if path.startswith("/api/models/"):
            siblings = [{"rfilename": name, "size": len(content)} for name, content in self.files.items()]
            about = {"id": NAME, "sha": COMMIT, "private": False, "tags": [], "downloads": 0, "siblings": siblings}
            return 200, {"Content-Type": "application/json"}, json.dumps(about).encode()
        name = path.split("/", 5)[-1]
        content = self.files[name]
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        return 200, headers, content


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("origin"), "audioldm")


@pytest.fixture
def hub(folder: Path) -> Iterator[SmallHub]:
    """A hub with one model, and with what is never wanted of it."""
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    files |= {
        "unet/diffusion_pytorch_model.bin": b"pickle",
        "text_encoder/model.fp16.safetensors": b"half",
        "a.ckpt": b"",
    }
    small = SmallHub(files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            small.asked.append(f"{self.command} {path}")
            status, headers, body = small.answer(path)
            length = len(body)
            if self.command == "GET" and small.breaking is not None and path.endswith(small.breaking):
                body, length = body[: length // 2], length // 2
            self.send_response(status)
            for key, value in (headers | {"Content-Length": str(length)}).items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    small.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield small
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_id_is_downloaded_once_and_only_what_is_needed(hub: SmallHub, tmp_path: Path) -> None:
    place = Hub(hub.url, tmp_path)
    folder = place.fetched(NAME)
    got = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert not [name for name in got if name.endswith((".bin", ".ckpt")) or "fp16" in name]
    assert {"README.md", "unet/diffusion_pytorch_model.safetensors", "tokenizer/tokenizer.json"} <= got
    facts = load(str(folder), "torch").facts
    assert (facts.name, facts.version, facts.licence) == (NAME, COMMIT[:12], "cc-by-nc-sa-4.0")
    (made,) = installed(tmp_path)
    assert (made.name, made.pipeline, made.sample_rate) == (NAME, "AudioLDMPipeline", 16000)
    hub.asked.clear()
    assert place.fetched(NAME) == folder and hub.asked == []


def test_a_broken_download_is_said_and_gone_on_with(hub: SmallHub, tmp_path: Path) -> None:
    place, hub.breaking = Hub(hub.url, tmp_path), "vocoder/model.safetensors"
    with pytest.raises(ModelError, match=f"download of {NAME} was interrupted .*run this again to go on"):
        place.fetched(NAME)
    with pytest.raises(ModelError, match="only in part in .* cannot be reached .*run this again"):
        Hub("http://127.0.0.1:9", tmp_path).fetched(NAME)
    kept = place.cached(NAME)
    assert kept is not None
    had = {path.relative_to(kept).as_posix() for path in kept.rglob("*")}
    hub.breaking = None
    hub.asked.clear()
    assert (place.fetched(NAME) / "vocoder" / "model.safetensors").is_file()
    large = "unet/diffusion_pytorch_model.safetensors"
    assert len([asked for asked in hub.asked if asked.startswith("GET") and asked.endswith(large)]) == (
        large not in had
    )


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("GatedRepo", "is gated: accept its terms at .*someone/tiny-audioldm, then log in with `hf auth login`"),
        ("RepoNotFound", "there is no model someone/tiny-audioldm on "),
        ("RevisionNotFound", "does not give someone/tiny-audioldm"),
    ],
)
def test_what_the_hub_refuses_is_one_line(hub: SmallHub, tmp_path: Path, code: str, said: str) -> None:
    hub.refusing = code
    with pytest.raises(ModelError, match=said) as error:
        Hub(hub.url, tmp_path).fetched(NAME)
    assert "\n" not in str(error.value)


def test_no_network_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is not in .* cannot be reached .*or give the path of a folder") as error:
        Hub("http://127.0.0.1:9", tmp_path).fetched(NAME)
    assert "\n" not in str(error.value)


def test_pickled_weights_are_not_downloaded(hub: SmallHub, tmp_path: Path) -> None:
    hub.files["unet/pytorch.bin"] = hub.files.pop("unet/diffusion_pytorch_model.safetensors")
    with pytest.raises(ModelError, match="has only pickled weights in unet, which can run code"):
        Hub(hub.url, tmp_path).fetched(NAME)
    assert not list(tmp_path.rglob("*.bin"))


def test_other_repositories_are_refused_before_anything_large_is_downloaded(hub: SmallHub, tmp_path: Path) -> None:
    index = json.loads(hub.files["model_index.json"])
    hub.files["model_index.json"] = json.dumps(index | {"_class_name": "FluxPipeline"}).encode()
    with pytest.raises(ModelError, match="is a FluxPipeline, which is not known"):
        Hub(hub.url, tmp_path).fetched(NAME)
    del hub.files["model_index.json"]
    shutil.rmtree(tmp_path)
    with pytest.raises(ModelError, match="is no pipeline of diffusers"):
        Hub(hub.url, tmp_path).fetched(NAME)
    assert not [asked for asked in hub.asked if "safetensors" in asked]
