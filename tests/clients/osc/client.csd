<CsoundSynthesizer>
<CsOptions>
-odac -+rtaudio=null -m0 -d
</CsOptions>
<CsInstruments>
; csound --omacro:SERVER=9000 --omacro:LISTEN=9003 client.csd
; rtaudio=null keeps real time without a sound card (-n would finish the score at once)
sr = 48000
ksmps = 64
nchnls = 2
0dbfs = 1
giOsc OSCinit $LISTEN

; Csound sends from ports of its own, so it subscribes the one that it listens on.
instr 1
 OSCsend 1, "127.0.0.1", $SERVER, "/safa/subscribe", "sif", "localhost", $LISTEN, 5
endin

instr 2
 OSCsend 1, "127.0.0.1", $SERVER, "/safa/layer/0/gain", "ff", -4.5, 0.1
 OSCsend 1, "127.0.0.1", $SERVER, "/safa/prompt", "sf", "wind, birds:0.25", 2
 OSCsend 1, "127.0.0.1", $SERVER, "/safa/layer/6/gain", "f", 0
endin

instr 3
 knumber init 0
 kseconds init 0
 ksamples init 0
 kplaying init 0
 kready init 0
 klayers init 0
 kleft init 0
 kright init 0
 krmsleft init 0
 krmsright init 0
 Swhere = ""
 Sreason = ""
 Ssession = ""
 knew OSClisten giOsc, "/safa/ok", "si", Swhere, knumber
 if knew == 1 then
  printf "GOT ok %s %d\n", knumber + 1, Swhere, knumber
 endif
 kbad OSClisten giOsc, "/safa/error", "ss", Swhere, Sreason
 if kbad == 1 then
  printf "GOT error %s %s\n", timeinstk(), Swhere, Sreason
 endif
 kstate OSClisten giOsc, "/safa/status", "siiifi", Ssession, kseconds, ksamples, kplaying, kready, klayers
 if kstate == 1 then
  printf "GOT status %s %d %d %d %f %d\n", timeinstk(), Ssession, kseconds, ksamples, kplaying, kready, klayers
 endif
 kmeter OSClisten giOsc, "/safa/meter", "ffff", kleft, kright, krmsleft, krmsright
 if kmeter == 1 then
  printf "GOT meter %f %f %f %f\n", timeinstk(), kleft, kright, krmsleft, krmsright
 endif
endin
</CsInstruments>
<CsScore>
i3 0 2.2
i1 0.3 0.1
i2 0.8 0.1
</CsScore>
</CsoundSynthesizer>
