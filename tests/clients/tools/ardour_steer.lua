-- ardour7-lua ardour_steer.lua: plays the session in SAFA_SESSION past its marker and calls the script SAFA_SCRIPT
-- ten times a second, as Ardour's window does; fader, panner and mute button of the bus "safa 0" were moved before.
AudioEngine:set_backend ("JACK", "", "")
assert (AudioEngine:start () == 0)
Session = load_session (os.getenv ("SAFA_SESSION"), "safa")
assert (Session)
function ardour (about) print ("SCRIPT", about["type"], about.name) end
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
-- Twice, for a machine that is busy with other things may look too late: then the playhead seems to have been moved.
for pass = 1, 2 do
	Session:request_locate (marker - 24000, false, ARDOUR.LocateTransportDisposition.MustRoll, ARDOUR.TransportRequestSource.TRS_UI)
	local before = false
	for step = 1, 100 do
		ARDOUR.LuaAPI.usleep (100000)
		look ()
		local now = Session:transport_sample ()
		if before and now > marker + 9600 then break end
		before = before or now < marker
	end
end
print ("AT", Session:transport_sample ())
Session:request_stop (false, false, ARDOUR.TransportRequestSource.TRS_UI)
close_session ()
quit ()
