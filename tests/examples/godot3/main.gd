# Plays a session through the example's node, records the Master bus, and writes what was received and recorded.
extends SceneTree

var recorder := AudioEffectRecord.new()
var stream
var received := PoolByteArray()
var done_at := 0

class Tapped:
	extends "res://safa_stream.gd"
	var tap := PoolByteArray()

	# What the player is given, as bytes.
	func _frame(packet: PoolByteArray) -> void:
		var before: int = _sequence
		._frame(packet)
		if _sequence != before:
			tap.append_array(packet.subarray(HEADER, packet.size() - 1))

func _initialize() -> void:
	recorder.format = AudioStreamSample.FORMAT_16_BITS
	AudioServer.add_bus_effect(0, recorder)
	recorder.set_recording_active(true)
	var player := AudioStreamPlayer.new()
	stream = Tapped.new()
	stream.url = OS.get_environment("SAFA_URL")
	stream.session = OS.get_environment("SAFA_SESSION")
	stream.token = OS.get_environment("SAFA_TOKEN")
	stream.layer = int(OS.get_environment("SAFA_LAYER"))
	stream.buffer_seconds = 1.0
	stream.connect("opened", self, "_opened")
	stream.connect("event", self, "_event")
	stream.connect("refused", self, "_refused")
	stream.connect("ended", self, "_ended")
	player.add_child(stream)
	get_root().add_child(player)

func _opened(_session: String, _token: String) -> void:
	print("opened at ", int(AudioServer.get_mix_rate()))
	if stream.pushed == 0:
		# What a game does in every picture is said once.
		for _n in range(50):
			stream.glide(stream.layer, -3.0)
		stream.say("mix", {"layer": 7, "gain": 0})

func _event(message: Dictionary) -> void:
	if message["type"] == "applied":
		print("applied ", message["command"])

func _refused(message: Dictionary) -> void:
	print("refused ", message["code"])

func _ended(reason: String) -> void:
	print("ended ", reason)
	quit(1)

func _idle(_delta: float) -> bool:
	var wanted := int(OS.get_environment("SAFA_FRAMES"))
	if done_at == 0 and stream.pushed >= wanted:
		done_at = OS.get_ticks_msec()
		print("pushed ", stream.pushed, " skips ", stream.skips)
	# What the generator still holds has to be heard.
	if done_at > 0 and OS.get_ticks_msec() - done_at > 1500:
		recorder.set_recording_active(false)
		recorder.get_recording().save_to_wav(OS.get_environment("SAFA_OUT") + "/recorded.wav")
		var file := File.new()
		file.open(OS.get_environment("SAFA_OUT") + "/received.f32", File.WRITE)
		file.store_buffer(stream.tap)
		file.close()
		print("written")
		# The node says goodbye before the engine goes down.
		stream.get_parent().free()
		done_at = -1
	elif done_at < 0:
		done_at -= 1
		if done_at < -10:
			quit()
	return false
