-- ardour7-lua ardour_new.lua: a session by the script SAFA_SCRIPT, in the folder SAFA_SESSION.
-- Not JACK: what asks it for much from several threads at once, as this interpreter does, can bring its server down.
AudioEngine:set_backend ("None (Dummy)", "", "")
assert (AudioEngine:start () == 0)
Session = create_session (os.getenv ("SAFA_SESSION"), "safa", 48000)
assert (Session)
ARDOUR.LuaAPI.usleep (500000)
function ardour (about) print ("SCRIPT", about["type"], about.name) end
dofile (os.getenv ("SAFA_SCRIPT"))
factory () ()
close_session ()
quit ()
