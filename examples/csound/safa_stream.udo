; Opcodes that steer a session of `safa-stream serve` over OSC and take in its sound. Include it before the instruments:
;
;   #include "safa_stream.udo"
;   safa_connect "127.0.0.1", 9600, 9601           ; host, its OSC port, a free port to hear answers on
;
;           safa_prompt Swords, imorph               go over into other words within imorph seconds
;           safa_text Saddress, Stext                any address with a text: "scene/save", "layer/1/prompt", "layer/add"
;           safa_say Saddress                        any address without arguments: "play", "pause", "reanchor"
;           safa_set Saddress, kvalue                any address with a number: "layer/0/gain", "master/low", "guidance"
;   aL, aR  safa_audio ichannel                      the sound, through JACK: Csound's inputs from ichannel on
;   kseconds, ksamples, kplaying, kready, klayers safa_status
;   kleft, kright, krmsleft, krmsright safa_meter
;   Sreason, knew safa_error                         what could not be done; knew is 1 when there is something new
;
; Addresses are those of server/PROTOCOL.md without /safa/. Each opcode that says something belongs into an instrument,
; and says it when a note of that begins; safa_set goes on with every change of its value, 50 times a second at most.

gSsafa_host = "127.0.0.1"
gisafa_port init 9600
gisafa_answers init 0

; A score that was stopped and started again finds the port open.
opcode safa_connect, 0, Sii
 Shost, iport, ilisten xin
 gSsafa_host = Shost
 gisafa_port = iport
 gisafa_listen = ilisten
 gisafa_answers OSCinit ilisten
endop

; Ask to be told of answers, events, the clock and meters, and go on asking: the server forgets after ten minutes.
opcode safa_subscribe, 0, j
 irate xin
 irate = (irate < 0 ? 10 : irate)
 kwhen init 0
 kwhen += metro(1 / 300)
 OSCsend kwhen, gSsafa_host, gisafa_port, "/safa/subscribe", "sif", "", gisafa_listen, irate
endop

opcode safa_say, 0, S
 Saddress xin
 Swhole strcat "/safa/", Saddress
 OSCsend 1, gSsafa_host, gisafa_port, Swhole, ""
endop

opcode safa_text, 0, SS
 Saddress, Stext xin
 Swhole strcat "/safa/", Saddress
 OSCsend 1, gSsafa_host, gisafa_port, Swhole, "s", Stext
endop

opcode safa_prompt, 0, Si
 Swords, imorph xin
 OSCsend 1, gSsafa_host, gisafa_port, "/safa/prompt", "sf", Swords, imorph
endop

opcode safa_set, 0, Sk
 Saddress, kvalue xin
 Swhole strcat "/safa/", Saddress
 klast init -1e9
 kwhen init 0
 if metro(50) == 1 && kvalue != klast then
  kwhen += 1
  klast = kvalue
 endif
 OSCsend kwhen, gSsafa_host, gisafa_port, Swhole, "f", kvalue
endop

opcode safa_audio, aa, i
 ichannel xin
 aleft inch ichannel
 aright inch ichannel + 1
 xout aleft, aright
endop

opcode safa_status, kkkkk, 0
 Ssession = ""
 kseconds init 0
 ksamples init 0
 kplaying init 0
 kready init 0
 klayers init 0
 knew OSClisten gisafa_answers, "/safa/status", "siiifi", Ssession, kseconds, ksamples, kplaying, kready, klayers
 xout kseconds, ksamples, kplaying, kready, klayers
endop

opcode safa_meter, kkkk, 0
 kleft init 0
 kright init 0
 krmsleft init 0
 krmsright init 0
 knew OSClisten gisafa_answers, "/safa/meter", "ffff", kleft, kright, krmsleft, krmsright
 xout kleft, kright, krmsleft, krmsright
endop

opcode safa_error, Sk, 0
 Swhere = ""
 Sreason = ""
 knew OSClisten gisafa_answers, "/safa/error", "ss", Swhere, Sreason
 xout Sreason, knew
endop
