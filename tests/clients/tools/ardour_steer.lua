-- ardour7-lua ardour_steer.lua: plays the session in SAFA_SESSION past its marker and calls the script SAFA_SCRIPT
-- ten times a second, as Ardour's window does; fader, panner and mute button of the bus "safa 0" were moved before.
-- Not JACK: what asks it for much from several threads at once, as this interpreter does, can bring its server down.
AudioEngine:set_backend ("None (Dummy)", "", "")
assert (AudioEngine:start () == 0)
Session = load_session (os.getenv ("SAFA_SESSION"), "safa")
assert (Session)
function ardour (about) print ("SCRIPT", about["type"], about.name) end
-- Until Ardour's own threads have connected all of it: JACK's library takes requests of one thread at a time.
ARDOUR.LuaAPI.usleep (1000000)
dofile (os.getenv ("SAFA_SCRIPT"))
local look = factory ()
local bus = Session:route_by_name ("safa 0")
assert (not bus:isnil ())
bus:gain_control ():set_value (0.5, PBD.GroupControlDisposition.NoGroup)
bus:pan_azimuth_control ():set_value (0.75, PBD.GroupControlDisposition.NoGroup)
look ()
local marker
for place in Session:locations ():list ():iter () do
	-- Ardour marks its xruns, too.
	if place:is_mark () and string.match (place:name (), "^safa:") then marker = place:start ():samples () end
end
-- A session that was just loaded may not hear the first request, and a machine that is busy with other things may look
-- too late, so that the playhead seems to have been moved: it is asked again.
for pass = 1, 3 do
	Session:request_locate (marker - 24000, false, ARDOUR.LocateTransportDisposition.MustRoll, ARDOUR.TransportRequestSource.TRS_UI)
	for step = 1, 20 do
		ARDOUR.LuaAPI.usleep (100000)
		look ()
	end
end
print ("AT", Session:transport_sample ())
Session:request_stop (false, false, ARDOUR.TransportRequestSource.TRS_UI)
close_session ()
quit ()
