-- ardour7-lua ardour_new.lua: a JACK session by the script SAFA_SCRIPT, in the folder SAFA_SESSION.
AudioEngine:set_backend ("JACK", "", "")
assert (AudioEngine:start () == 0)
Session = create_session (os.getenv ("SAFA_SESSION"), "safa", 48000)
assert (Session)
function ardour (about) print ("SCRIPT", about["type"], about.name) end
dofile (os.getenv ("SAFA_SCRIPT"))
factory () ()
local input = Session:route_by_name ("safa-stream"):input ()
print ("CONNECTED", input:audio (0):connected_to ("PortAudio:out_0"), input:audio (1):connected_to ("PortAudio:out_1"))
close_session ()
quit ()
