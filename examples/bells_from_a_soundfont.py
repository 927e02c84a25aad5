"""More bells to train on: random strikes of the bells of a General MIDI soundfont, a folder of FLAC files.

    apt install fluidsynth fluid-soundfont-gm && pip install mido soundfile
    python examples/bells_from_a_soundfont.py /usr/share/sounds/sf2/FluidR3_GM.sf2 recordings/bells

Struck bells are rare among free recordings, and a model learns strikes from many of them. The notes are drawn here, so
the files have the soundfont's licence (FluidR3 GM: MIT, Frank Wen).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

import mido
import numpy as np
import soundfile

#: General MIDI programs (from 0) and the notes that they are struck at.
BELLS = {
    "celesta": (8, 60, 96),
    "glockenspiel": (9, 72, 103),
    "music_box": (10, 60, 96),
    "vibraphone": (11, 53, 89),
    "tubular_bells": (14, 50, 77),
    "fx_crystal": (98, 55, 91),
    "tinkle_bell": (112, 60, 91),
}
#: Strikes a second of a file's sections, which last SECTION seconds each.
RATES, SECTION = (0.12, 0.25, 0.5, 0.9), 16.0
RINGING, RATE = 5.0, 48_000
TICKS, BEAT = 480, 500_000  # a quarter note of half a second


def notes(lowest: int, highest: int, seconds: float, draw: np.random.Generator) -> list[tuple[float, int, int]]:
    """Strikes as (second, note, velocity): in each section a few pitches, struck rarely or more often, sometimes two
    or three at once."""
    out = []
    for begin in np.arange(0.0, seconds, SECTION):
        pitches = draw.choice(np.arange(lowest, highest + 1), size=int(draw.integers(2, 7)), replace=False)
        time, rate = float(begin), float(draw.choice(RATES))
        while (time := time + float(draw.exponential(1.0 / rate))) < min(begin + SECTION, seconds - RINGING):
            for _ in range(int(draw.choice([1, 1, 1, 2, 3]))):
                out.append((time, int(draw.choice(pitches)), int(draw.integers(40, 115))))
                time += float(draw.choice([0.0, 0.03, 0.12]))
    return sorted(out)


def song(program: int, strikes: list[tuple[float, int, int]]) -> mido.MidiFile:
    """The strikes of one bell as a MIDI file; every note is held for RINGING seconds, or until it is struck again."""
    events = [(time, mido.Message("note_on", note=note, velocity=velocity)) for time, note, velocity in strikes]
    events += [(time + RINGING, mido.Message("note_off", note=note)) for time, note, _ in strikes]
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=BEAT), mido.Message("program_change", program=program)])
    last = 0
    for time, message in sorted(events, key=lambda event: event[0]):
        tick = round(mido.second2tick(time, TICKS, BEAT))
        track.append(message.copy(time=tick - last))
        last = tick
    return mido.MidiFile(ticks_per_beat=TICKS, tracks=[track])


def render(soundfont: Path, made: mido.MidiFile, out: Path, seconds: float) -> None:
    """A MIDI file to FLAC by fluidsynth, cut or filled to its length."""
    with tempfile.TemporaryDirectory() as folder:
        midi, wave = Path(folder, "song.mid"), Path(folder, "song.wav")
        made.save(midi)
        command = ["fluidsynth", "-ni", "-q", "-g", "0.6", "-r", str(RATE), "-F", str(wave), str(soundfont), str(midi)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        samples, _ = soundfile.read(wave, always_2d=True)
    whole = np.zeros((round(seconds * RATE), samples.shape[1]))
    whole[: len(samples)] = samples[: len(whole)]
    soundfile.write(out, whole, RATE, subtype="PCM_16")


def main() -> None:
    """Read the arguments and make the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("soundfont", type=Path)
    parser.add_argument("out", type=Path, help="folder of the files")
    parser.add_argument("--minutes", type=float, default=24.0, help="all files together (default: 24)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if not given.soundfont.is_file():
        parser.error(f"there is no soundfont {given.soundfont}")
    if shutil.which("fluidsynth") is None:
        parser.error("fluidsynth is missing: apt install fluidsynth")
    given.out.mkdir(parents=True, exist_ok=True)
    seconds = 60.0 * given.minutes / len(BELLS)
    for name, (program, lowest, highest) in BELLS.items():
        draw = np.random.default_rng([given.seed, program])
        strikes = notes(lowest, highest, seconds, draw)
        path = given.out / f"{given.soundfont.stem}-strikes__{name}.flac"
        render(given.soundfont, song(program, strikes), path, seconds)
        print(f"{path}: {len(strikes)} strikes in {seconds:.0f} s")


if __name__ == "__main__":
    main()
