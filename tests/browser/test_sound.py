"""What the page plays is what the server sent, to the sample, whatever the network does; its counters are true."""

from __future__ import annotations

import base64
import json
from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from safa_stream.types import FloatArray
from tests.browser.conftest import Opener, Watched
from tests.browser.rig import Wire, Witness, wait_for

SECONDS = 3
RATE = 48_000


def played(watched: Watched) -> FloatArray:
    """[2, N]: all that came out of the page's worklet."""
    sides = [np.frombuffer(base64.b64decode(side), "<f4") for side in watched.page.evaluate("tapped()")]
    return np.stack(sides)


@dataclass(frozen=True)
class Run:
    """So many samples that were heard just as they were sent: from `heard` on, and from `sent` on."""

    heard: int
    sent: int
    length: int


def runs(heard: FloatArray, sent: FloatArray, least: int = 64) -> list[Run]:
    """Where what was heard equals what was sent, both [2, N], bit by bit, in order."""
    places: dict[float, list[int]] = {}
    for n, value in enumerate(sent[0].tolist()):
        places.setdefault(value, []).append(n)
    found, at, after = list[Run](), 0, 0
    values = heard[0].tolist()
    while at < len(values):
        # A bed repeats what was sent before, so of equal samples the next one is meant.
        found_at = places.get(values[at], [])
        here = bisect_left(found_at, after)
        n = found_at[here] if here < len(found_at) else -1
        length = 0 if n < 0 else _alike(heard[:, at:], sent[:, n:])
        if length >= least:
            found.append(Run(at, n, length))
            after = n + length
        at += max(1, length)
    return found


def _alike(one: FloatArray, other: FloatArray) -> int:
    """How many samples are equal from the beginning on."""
    length = min(one.shape[1], other.shape[1])
    same = np.all(one[:, :length] == other[:, :length], axis=0)
    return length if same.all() else int(np.argmin(same))


def heard_until(second: int) -> str:
    """The condition that the page has come to this second of the session."""
    clock = "document.getElementById('clock').textContent.split(':')"
    return f"{clock}.reduce((sum, part) => 60 * sum + Number(part), 0) >= {second}"


def figure(watched: Watched, name: str) -> str:
    return watched.page.inner_text(f'[data-figure="{name}"] dd')


def compared(watched: Watched, witness: Witness) -> list[Run]:
    """Stop the page's sound; what it played is what the server sent, in order, and what is missing is told."""
    watched.page.click("#play")
    watched.page.wait_for_timeout(600)  # so long until all figures are of now
    sent = witness.sound()
    assert np.ptp(sent) > 0.01
    found = runs(played(watched), sent)
    # The witness came later and could ask for all frames but the very first.
    assert found[0].sent == 0
    # On a busy machine sound may come late or pile up: then it is interrupted or shortened, and the page says so.
    lost = [after.sent - before.sent - before.length for before, after in pairwise(found)]
    assert any(lost) == (figure(watched, "dropped") != "none")
    assert len(found) == 1 or figure(watched, "underruns") != "0" or any(lost)
    return found


def test_what_is_played_is_what_was_sent_to_the_sample(live_port: int, open_page: Opener) -> None:
    wire = Wire(live_port)
    watched = open_page(f"http://127.0.0.1:{wire.port}/", tapped=True)
    session = watched.play()
    witness = Witness(live_port, session["session"], session["token"], after=0)
    watched.until(heard_until(SECONDS + 1))
    assert sum(run.length for run in compared(watched, witness)) >= SECONDS * RATE
    witness.end()
    wire.close()


def test_the_page_goes_on_after_a_cut(live_port: int, open_page: Opener) -> None:
    wire = Wire(live_port)
    watched = open_page(f"http://127.0.0.1:{wire.port}/", tapped=True)
    watched.cut = True
    session = watched.play()
    witness = Witness(live_port, session["session"], session["token"], after=0)
    watched.page.evaluate(
        """() => {
            window.states = [];
            const pill = document.getElementById("connection");
            new MutationObserver(() => states.push(pill.textContent)).observe(pill, { childList: true, subtree: true });
        }"""
    )
    wire.cut(0.3)
    watched.until("states.includes('Resuming') && states.at(-1) === 'Connected'")
    resumed_at = witness.state()["position"]
    watched.until(heard_until(resumed_at // RATE + 1))
    last = compared(watched, witness)[-1]
    assert last.sent + last.length > resumed_at
    witness.end()
    wire.close()


def test_the_client_resumes_without_a_sample_lost_or_repeated(toy_port: int, open_page: Opener) -> None:
    wire = Wire(toy_port)
    watched = open_page(f"http://127.0.0.1:{wire.port}/")
    watched.cut = True
    session = watched.page.evaluate(
        """async () => {
            const { Safa } = await import("/safa.js");
            window.frames = [];
            window.states = [];
            const safa = new Safa(`ws://${location.host}/ws`);
            safa.addEventListener("audio", ({ detail }) => window.frames.push(detail));
            safa.addEventListener("connection", ({ detail }) => window.states.push(detail.state));
            await safa.open({ scene: "low, high:0.5" });
            return safa.session;
        }"""
    )
    witness = Witness(toy_port, session["id"], session["token"], after=0)
    witness.ask("play")
    for _ in range(2):
        arrived = watched.page.evaluate("window.frames.length")
        watched.until(f"window.frames.length > {arrived + 25}")
        wire.cut(0.25)
        watched.until("window.states.at(-1) === 'open'")
    arrived = watched.page.evaluate("window.frames.length")
    watched.until(f"window.frames.length > {arrived + 50}")
    got = watched.page.evaluate(
        """() => {
            const bytes = ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength);
            const text = (floats) => btoa(String.fromCharCode(...bytes(floats)));
            return window.frames.map(({ sequence, start, lost, samples }) => [sequence, start, lost, text(samples)]);
        }"""
    )
    assert [number for number, _, _, _ in got] == list(range(len(got)))
    assert {lost for _, _, lost, _ in got} == {0}
    wait_for(lambda: got[-1][1] in witness.blocks)
    # The witness came later and could ask for all frames but the very first.
    for _, start, _, samples in got[1:]:
        assert np.array_equal(np.frombuffer(base64.b64decode(samples), "<f4").reshape(-1, 2).T, witness.blocks[start])
    joins = [json.loads(text) for text in watched.sent if '"join"' in text]
    assert len(joins) >= 2 and all(join["from"] > 0 for join in joins)
    witness.end()
    wire.close()
