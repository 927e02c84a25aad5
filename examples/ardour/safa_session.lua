ardour {
	["type"]    = "SessionInit",
	name        = "safa-stream",
	license     = "Apache-2.0",
	author      = "safa-stream",
	description = [[A stereo track that records what `safa-stream serve --device` plays, and busses named "safa 0" to "safa 2"
whose faders, panners and mute buttons steer its layers (with the script "safa-stream: faders and markers").]]
}

-- Ports of the server: PortAudio's, as every JACK client has a name.
local OUTPUTS = { "PortAudio:out_0", "PortAudio:out_1" }
local LAYERS = 3

function factory () return function ()
	local tracks = Session:new_audio_track (2, 2, nil, 1, "safa-stream", ARDOUR.PresentationInfo.max_order, ARDOUR.TrackMode.Normal, true)
	for layer = 0, LAYERS - 1 do
		-- They carry no sound: their controls are what is read. One input, for Ardour holds the panner of two in the middle.
		Session:new_audio_route (1, 2, nil, 1, "safa " .. layer, ARDOUR.PresentationInfo.Flag.AudioBus, ARDOUR.PresentationInfo.max_order)
	end
	-- Ardour connects new tracks from a thread of its own, and JACK's library takes requests of one thread at a time.
	ARDOUR.LuaAPI.usleep (1000000)
	for track in tracks:iter () do
		local input = track:input ()
		input:disconnect_all (nil)
		for channel, output in ipairs (OUTPUTS) do
			input:connect (input:audio (channel - 1), output, nil)
		end
		track:rec_enable_control ():set_value (1, PBD.GroupControlDisposition.NoGroup)
	end
	Session:save_state ("")
end end
