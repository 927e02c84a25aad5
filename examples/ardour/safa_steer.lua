ardour {
	["type"]    = "EditorHook",
	name        = "safa-stream: faders and markers",
	license     = "Apache-2.0",
	author      = "safa-stream",
	description = [[Steers safa-stream over OSC, ten times a second. Fader, panner and mute of a bus named "safa N" (with
their automation) are those of layer N. A marker "safa: rain, birds:0.4" changes the words when the playhead passes it,
a marker "safa scene: evening" recalls a scene.]]
}

-- Where the server hears OSC, and seconds that words and scenes take to go over into each other.
local SERVER, MORPH = "osc.udp://127.0.0.1:9600", 4
-- Seconds that a change of a fader takes: as long as it lasts until the next look.
local RAMP = 0.1
-- Farther than this between two looks (in seconds) the playhead was moved, it did not roll.
local JUMP = 2

function signals ()
	return LuaSignal.Set ():add ({ [LuaSignal.LuaTimerDS] = true })
end

function factory ()
	local server = ARDOUR.LuaOSC.Address (SERVER)
	local told, before = {}, nil

	-- Say a value if it is another one than was said last.
	local function say (layer, field, value, kind)
		local address = "/safa/layer/" .. layer .. "/" .. field
		if told[address] ~= value then
			told[address] = value
			server:send (address, kind .. "f", value, RAMP)
		end
	end

	local function decibels (coefficient)
		if coefficient <= 0 then return -90 end
		return math.max (-90, math.min (24, 20 * math.log (coefficient, 10)))
	end

	local function strips ()
		for route in Session:get_routes ():iter () do
			local layer = string.match (route:name (), "^safa (%d)$")
			if layer then
				say (layer, "gain", decibels (route:gain_control ():get_value ()), "f")
				say (layer, "mute", route:mute_control ():get_value () > 0.5 and 1 or 0, "i")
				local pan = route:pan_azimuth_control ()
				if not pan:isnil () then
					-- Ardour's goes from 0, left, to 1, right.
					say (layer, "pan", 2 * pan:get_value () - 1, "f")
				end
			end
		end
	end

	local function markers (from, to)
		for place in Session:locations ():list ():iter () do
			local at = place:start ():samples ()
			if place:is_mark () and from < at and at <= to then
				local scene = string.match (place:name (), "^safa scene: *(.+)$")
				local words = string.match (place:name (), "^safa: *(.+)$")
				if scene then server:send ("/safa/scene/recall", "sf", scene, MORPH) end
				if words then server:send ("/safa/prompt", "sf", words, MORPH) end
			end
		end
	end

	return function (signal, ref, ...)
		strips ()
		local now = Session:transport_sample ()
		if Session:transport_rolling () and before and now > before and now - before < JUMP * Session:sample_rate () then
			markers (before, now)
		end
		before = now
	end
end
