-- ardour7-lua ardour_new.lua: a JACK session by the script SAFA_SCRIPT, in the folder SAFA_SESSION.
AudioEngine:set_backend ("JACK", "", "")
assert (AudioEngine:start () == 0)
Session = create_session (os.getenv ("SAFA_SESSION"), "safa", 48000)
assert (Session)
function ardour (about) print ("SCRIPT", about["type"], about.name) end
dofile (os.getenv ("SAFA_SCRIPT"))
factory () ()
-- Ardour hears of JACK's connections a moment after they were made, and saves those that it has heard of.
for step = 1, 100 do
	ARDOUR.LuaAPI.usleep (100000)
	Session:save_state ("")
	local file = assert (io.open (os.getenv ("SAFA_SESSION") .. "/safa.ardour"))
	local text = file:read ("a")
	file:close ()
	if string.find (text, "PortAudio:out_1", 1, true) then break end
end
close_session ()
quit ()
