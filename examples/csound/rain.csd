<CsoundSynthesizer>
<CsOptions>
-iadc -odac -+rtaudio=jack -+jack_client=csound -b1024 -B8192 -m0 -d
</CsOptions>
<CsInstruments>
; safa-stream serve --prompt "steady rain" --device csound       (start Csound first: its inputs are the device)
; csound --omacro:SERVER=9600 --omacro:LISTEN=9601 rain.csd      (-b: JACK's period)
sr = 48000
ksmps = 64
nchnls = 2
0dbfs = 1
#include "safa_stream.udo"
safa_connect "127.0.0.1", $SERVER, $LISTEN

instr Answers
 safa_subscribe 5
 Sreason, knew safa_error
 printf "safa-stream: %s\n", knew * timeinstk(), Sreason
 kseconds, ksamples, kplaying, kready, klayers safa_status
 kleft, kright, krmsleft, krmsright safa_meter
 printf "at %d s, %.1f s ready, %d layers, peak %.3f\n", kseconds * (kready > 0 ? 1 : 0), kseconds, kready, klayers, kleft
endin

instr Sound
 aleft, aright safa_audio 1
 outs aleft, aright
endin

instr Words
 Swords strget p4
 safa_prompt Swords, p5
endin

instr Save
 Sname strget p4
 safa_text "scene/save", Sname
endin

instr Swell
 kgain linseg p4, p3, p5
 safa_set "layer/0/gain", kgain
endin

instr Wrong
 safa_set "layer/6/gain", k(0)
endin

instr Place
 safa_set "layer/0/pan", k(p4)
endin
</CsInstruments>
<CsScore>
i "Answers" 0 36000
i "Sound" 0 36000
i "Place" 0.5 0.1 0.25
i "Words" 0.5 0.1 "wind in trees, river:0.25" 4
i "Save" 1 0.1 "by the river"
i "Swell" 1 3 0 -9
i "Swell" 4 1.5 -9 -3
; There is no such layer, and "Answers" says so.
i "Wrong" 1 0.1
</CsScore>
</CsoundSynthesizer>
