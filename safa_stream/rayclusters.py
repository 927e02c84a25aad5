"""Ray clusters: started on this machine or joined, quietly, with a bounded wait, and always left cleanly.

    with connected("local") as cluster:
        cluster.ray.get(...)

Ray (extra `cluster`) is loaded when the first cluster is asked for. Nothing here knows what is done on a cluster.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import safa_stream
from safa_stream.errors import ClusterError, UsageError

OLDEST = (2, 50)
INSTALL = "pip install 'safa-stream[cluster]'"
#: What `connected` takes beside HOST:PORT.
LOCAL, AUTO = "local", "auto"
#: Named actors of the project are found by its own processes only.
NAMESPACE = "safa-stream"
#: Bytes of the object store of a cluster that is started here; the least that Ray takes is 75 MiB.
STORE = 128 << 20
#: Seconds until a head, and until every node, must have answered.
HEAD_SECONDS, NODE_SECONDS = 10.0, 60.0
#: The longest path of a folder whose sockets still have names that the system takes (107 bytes).
LONGEST_TEMPORARY = 40


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What runs on a node. address: of the node; versions as text, None where that is not installed there."""

    address: str
    python: str
    safa_stream: str | None


@dataclass(frozen=True, slots=True)
class Cluster:
    """A connection to a cluster. ray: the library; address: HOST:PORT of the head.

    started: whether the cluster was started by `connected`, and ends with it; nodes: those that were there then.
    """

    ray: Any
    address: str
    started: bool
    nodes: tuple[NodeFacts, ...]


@contextmanager
def connected(
    address: str,
    *,
    cpus: int | None = None,
    gpus: int | None = None,
    store: int = STORE,
    namespace: str = NAMESPACE,
    patience: float = HEAD_SECONDS,
) -> Iterator[Cluster]:
    """Be connected to a Ray cluster inside the block.

    address: "local" starts a cluster on this machine, which ends with the block, whatever RAY_ADDRESS says; "auto"
    joins the one of RAY_ADDRESS, of the Ray job that this process is, or of this machine; HOST:PORT joins that one. A
    process that is connected already (a Ray worker is) keeps its connection: the block uses it and leaves it open.
    cpus, gpus, store: of a cluster that is started: slots (default: what is here) and bytes of its object store.
    patience: seconds in which a head must answer. Signals that come while a cluster begins or ends are heard after it.

    Raises UsageError for an address that cannot be joined from here, ClusterError where Ray is absent or too old, the
    head does not answer, or a node has another Python or safa-stream than this process.
    """
    ray = library()
    if ray.is_initialized():
        here = str(ray.get_runtime_context().gcs_address)
        if address not in (LOCAL, AUTO, here):
            raise UsageError(
                f"this process is connected to the Ray cluster at {here}: it cannot join {address} as well"
            )
        yield _checked(ray, here, started=False)
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "namespace": namespace}
    folder = _temporary() if address == LOCAL else None
    with _unprinted():
        try:
            if folder is not None:
                _start(ray, cpus, gpus, store, folder, quiet)
            else:
                _join(ray, _head(address, patience), quiet)
            yield _checked(ray, str(ray.get_runtime_context().gcs_address), started=folder is not None)
        finally:
            with _signals_after(held=True):
                ray.shutdown()
                if folder is not None:
                    shutil.rmtree(folder, ignore_errors=True)


def library() -> Any:
    """The module `ray`. Raises ClusterError where it is absent or older than needed."""
    try:
        ray: Any = import_module("ray")
    except ImportError as error:
        raise ClusterError(f"clusters need Ray: {INSTALL}") from error
    found = str(ray.__version__)
    if tuple(int(part) for part in found.split(".")[:2]) < OLDEST:
        needed = ".".join(map(str, OLDEST))
        raise ClusterError(f"Ray {found} is older than {needed}, which is needed: {INSTALL}")
    return ray


def unlike(nodes: Sequence[NodeFacts], python: str, version: str) -> str | None:
    """What hinders a process with this Python and safa-stream from working with these nodes, in one line.

    What is sent between processes is read by the other's Python; the same job has to be the same sound everywhere.
    """
    for node in nodes:
        if node.safa_stream is None:
            return f"node {node.address} has no safa-stream: install safa-stream {version} on every node"
        if node.safa_stream != version:
            return (
                f"node {node.address} has safa-stream {node.safa_stream}, this process {version}: "
                "install the same on every node"
            )
        if node.python.split(".")[:2] != python.split(".")[:2]:
            return f"node {node.address} runs Python {node.python}, this process {python}: use the same on every node"
    return None


def _start(ray: Any, cpus: int | None, gpus: int | None, store: int, folder: str, quiet: dict[str, Any]) -> None:
    try:
        with _signals_after(held=True), _without_warnings():
            ray.init(
                address="local", num_cpus=cpus, num_gpus=gpus, object_store_memory=store, include_dashboard=False,
                _temp_dir=folder, **quiet,
            )  # fmt: skip
    except Exception as error:
        raise ClusterError(f"no Ray cluster can be started here: {one_line(error)}") from error


def _join(ray: Any, head: str, quiet: dict[str, Any]) -> None:
    try:
        with _signals_after(held=False), _without_warnings():
            ray.init(address=head, **quiet)
    except Exception as error:
        said = str(error)
        if "Version mismatch" in said:
            said = "the cluster has another Ray or Python than this process: " + " ".join(said.split())
        elif "No node info found" in said or "No node info found" in str(error.__cause__):
            said = "this machine is none of its nodes: run the command on one of them, or by `ray job submit`"
        raise ClusterError(f"the Ray cluster at {head} cannot be joined: {said.splitlines()[0]}") from error


def _head(address: str, patience: float) -> str:
    """HOST:PORT of a head that answers. Ray itself waits for minutes, and tells it to nobody."""
    named = os.environ.get("RAY_ADDRESS", "") if address == AUTO else address
    if "://" in named:
        raise UsageError(
            f"{named} is for Ray's remote clients: run the command on a node of the cluster and say HOST:PORT of its "
            "head or auto, or hand it to `ray job submit`"
        )
    services: Any = import_module("ray._private.services")
    try:
        head = str(services.canonicalize_bootstrap_address_or_die(address))
    except ConnectionError:
        raise ClusterError(
            "no Ray cluster was found: start one with `ray start --head`, say HOST:PORT, or use --cluster local"
        ) from None
    except ValueError:
        raise UsageError(f"a cluster is {LOCAL}, {AUTO} or HOST:PORT, not {named!r}") from None
    grpc: Any = import_module("grpc")
    channel = grpc.insecure_channel(head)
    try:
        grpc.channel_ready_future(channel).result(timeout=patience)
    except grpc.FutureTimeoutError:
        raise ClusterError(f"no Ray head answers at {head} within {patience:g} s") from None
    finally:
        channel.close()
    return head


def _checked(ray: Any, address: str, started: bool) -> Cluster:
    """The cluster, whose nodes were asked what runs there."""
    nodes = _ask(ray)
    hindrance = unlike(nodes, platform.python_version(), safa_stream.__version__)
    if hindrance is not None:
        raise ClusterError(hindrance)
    return Cluster(ray, address, started, nodes)


def _ask(ray: Any) -> tuple[NodeFacts, ...]:
    strategies: Any = import_module("ray.util.scheduling_strategies")

    # Inside a function it is sent as code, so that it also runs where the project is absent or another.
    def tell() -> tuple[str, str | None]:
        from importlib import import_module
        from platform import python_version

        try:
            return python_version(), str(import_module("safa_stream").__version__)
        except ImportError:
            return python_version(), None

    alive = [node for node in ray.nodes() if node["Alive"]]
    task = ray.remote(num_cpus=0, max_retries=1)(tell)
    asked = {
        task.options(
            scheduling_strategy=strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(): str(node["NodeManagerAddress"])
        for node in alive
    }
    ready, silent = ray.wait(list(asked), num_returns=len(asked), timeout=NODE_SECONDS)
    if silent:
        raise ClusterError(f"node {asked[silent[0]]} did not answer within {NODE_SECONDS:g} s")
    facts = []
    for answer in ready:
        try:
            python, version = ray.get(answer)
        except Exception as error:
            raise ClusterError(f"node {asked[answer]} cannot run anything: {one_line(error)}") from error
        facts.append(NodeFacts(asked[answer], python, version))
    return tuple(facts)


def told(error: Exception) -> Exception:
    """What an actor raised, without the trace that Ray wraps it in; any other error as it is."""
    cause = getattr(error, "cause", None)
    return told(cause) if isinstance(cause, Exception) else error


def one_line(error: BaseException) -> str:
    """What an error says, without the trace that Ray puts into it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _temporary() -> str:
    """A folder of one's own for a cluster's sockets and logs: no other cluster's, and found by no `auto`."""
    usual = tempfile.gettempdir()
    return tempfile.mkdtemp(prefix="safa-ray-", dir=usual if len(usual) <= LONGEST_TEMPORARY else "/tmp")


@contextmanager
def _unprinted() -> Iterator[None]:
    """Ray prints obituaries of workers to standard output, where results are, and has no switch for that."""
    worker: Any = import_module("ray._private.worker")
    printing = worker.print_to_stdstream
    worker.print_to_stdstream = lambda *words, **named: None
    try:
        yield
    finally:
        worker.print_to_stdstream = printing


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Ray warns of its own future, which is not for whoever makes sound."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _signals_after(held: bool) -> Iterator[None]:
    """Ray puts a handler of its own for SIGTERM; afterwards the handlers are those that were there.

    held: signals that come inside the block are raised after it, so that no half of a cluster is left.
    """
    came: list[int] = []
    previous: dict[int, Any] = {}
    # Only a process's main thread hears signals, and only there can handlers be set.
    with suppress(ValueError):
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.getsignal(number)
            if held:
                signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        with suppress(ValueError):
            for each, handler in previous.items():
                signal.signal(each, handler)
        for each in came:
            signal.raise_signal(each)
