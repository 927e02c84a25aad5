# A live soundscape in Godot 3: hears a session of `safa-stream serve` through the player that is its parent, and steers it.
#
# Put this node under an AudioStreamPlayer, AudioStreamPlayer2D or AudioStreamPlayer3D; the player's stream is made here.
# One node opens a session (or joins the one that is given); others `follow` it, each with the layer heard at its place.
# The server's lead and the generator's buffer carry it through pictures that take long.
class_name SafaStream
extends Node

signal opened(session, token)
signal event(message)          # whatever the session tells: "applied", "view", "bed.began", ...
signal refused(message)        # an error's code, field and reason
signal lost(samples)           # that the server could not send
signal ended(reason)           # over; nothing is tried again

export var url := "ws://127.0.0.1:8600/ws"
export var server_token := ""
export(String, MULTILINE) var prompt := "rain on a tent, distant thunder:0.4"
export var session := ""       # empty: open one
export var token := ""         # of the session; with it, it can be steered from here
export var layer := -1         # hear this layer alone; -1: all
export var follows := false    # wait for `follow` instead of opening a session
export var buffer_seconds := 0.5

const HEADER := 48
const MAGIC := 0x41464153      # "SAFA"
const ACK_EVERY := 10
const RETRY := [0.2, 0.5, 1.0, 2.0, 4.0]

var pushed := 0                # frames that the player was given
var skips := 0                 # times that it found nothing to play, since it began

var _socket: WebSocketClient
var _playback: AudioStreamGeneratorPlayback
var _rate := 48000
var _bytes := StreamPeerBuffer.new()
var _waiting := []             # PoolVector2Array each, not yet taken by the player
var _head := 0                 # index of the first of them
var _held := 0                 # frames in them
var _primed := false
var _sequence := -1            # of the last frame
var _number := 0
var _opening := 0
var _attempt := 0
var _wait := 0.0
var _broken := false
var _over := false
var _said := {}                # see glide

func _ready() -> void:
	_rate = int(AudioServer.get_mix_rate())
	var generator := AudioStreamGenerator.new()
	generator.mix_rate = _rate
	generator.buffer_length = buffer_seconds
	var player = get_parent()
	player.stream = generator
	player.play()
	_playback = player.get_stream_playback()

func _exit_tree() -> void:
	_over = true
	if _socket:
		_socket.disconnect_from_host()

# Hear a layer of the session that another node has, once that is open.
func follow(other: Node, its_layer: int) -> void:
	layer = its_layer
	if other.session == "":
		yield(other, "opened")
	session = other.session
	token = other.token
	follows = false

# Send a message of server/PROTOCOL.md; returns its id, which the answer carries. 0: there is no connection.
func say(type: String, fields := {}) -> int:
	if not _socket or _socket.get_connection_status() != WebSocketClient.CONNECTION_CONNECTED:
		return 0
	_number += 1
	var message: Dictionary = fields.duplicate()
	message["type"] = type
	message["id"] = _number
	_socket.get_peer(1).put_packet(to_json(message).to_utf8())
	return _number

# Move a layer to other words.
func morph(words: String, seconds := 4.0, now := false, its_layer := 0) -> int:
	return say("prompt", {"prompts": words, "morph": seconds, "now": now, "layer": its_layer})

# A gain (dB) that changes in every picture: said at most ten times a second, and only when it has moved by half a dB.
func glide(its_layer: int, gain: float, every := 0.1, least := 0.5) -> void:
	var now := OS.get_ticks_msec() / 1000.0
	var last = _said.get(its_layer)
	if last and (now - last[1] < every or abs(gain - last[0]) < least):
		return
	if say("mix", {"layer": its_layer, "gain": gain, "ramp": every}):
		_said[its_layer] = [gain, now]

func _dial() -> void:
	_socket = WebSocketClient.new()
	# A picture that takes a second must not cost sound: room for five seconds of frames.
	_socket.set_buffers(2048, 512, 64, 512)
	_socket.connect("connection_established", self, "_connected")
	_socket.connect("connection_error", self, "_gone")
	_socket.connect("connection_closed", self, "_gone")
	_socket.connect("data_received", self, "_received")
	var headers := PoolStringArray()
	if server_token != "":
		headers.append("Authorization: Bearer " + server_token)
	_broken = _socket.connect_to_url(url, PoolStringArray(["safa.v1"]), false, headers) != OK

func _connected(_protocol := "") -> void:
	_socket.get_peer(1).set_write_mode(WebSocketPeer.WRITE_MODE_TEXT)
	var fields := {"format": "f32", "channels": 2, "rate": _rate}
	if layer >= 0:
		fields["layer"] = layer
	if session == "":
		fields["scene"] = prompt
		_opening = say("open", fields)
		return
	fields["session"] = session
	fields["control"] = token != ""
	if token != "":
		fields["token"] = token
	if _sequence >= 0:
		fields["from"] = _sequence
	_opening = say("join", fields)

# The socket must not be let go while it is telling.
func _gone(_clean := false) -> void:
	_broken = true

# A lost connection is taken up again: the server sends what followed the last frame that came.
func _dropped() -> void:
	_socket = null
	_wait = RETRY[int(min(_attempt, RETRY.size() - 1))]
	_attempt += 1

func _process(delta: float) -> void:
	if _socket:
		_socket.poll()
		if _over or _broken:
			_dropped()
	elif not _over and not follows:
		_wait -= delta
		if _wait <= 0.0:
			_dial()
	_feed()

func _received() -> void:
	var peer := _socket.get_peer(1)
	var packet := peer.get_packet()
	if not peer.was_string_packet():
		_frame(packet)
		return
	var message: Dictionary = parse_json(packet.get_string_from_utf8())
	match message["type"]:
		"opened":
			session = message["session"]
			if message["token"]:
				token = message["token"]
			emit_signal("opened", session, token)
		"error":
			emit_signal("refused", message)
			if int(message.get("id", 0)) == _opening:
				_end(message["reason"])
		"dropped":
			emit_signal("lost", int(message["samples"]))
		"closing":
			emit_signal("event", message)
		_:
			emit_signal("event", message)

func _end(reason: String) -> void:
	_over = true
	_socket.disconnect_from_host()
	emit_signal("ended", reason)

func _frame(packet: PoolByteArray) -> void:
	_bytes.data_array = packet
	_bytes.seek(0)
	if packet.size() < HEADER or _bytes.get_u32() != MAGIC:
		return
	_bytes.seek(12)
	var count := _bytes.get_u32()
	var sequence := _bytes.get_u64()
	if sequence <= _sequence:
		return # sent again after a lost connection, and here already
	_sequence = sequence
	_attempt = 0
	if sequence % ACK_EVERY == 0:
		_socket.get_peer(1).put_packet(to_json({"type": "ack", "sequence": sequence}).to_utf8())
	_bytes.seek(HEADER)
	var block := PoolVector2Array()
	block.resize(count)
	for n in range(count):
		var left := _bytes.get_float()
		block[n] = Vector2(left, _bytes.get_float())
	_waiting.append(block)
	_held += count

func _feed() -> void:
	if not _playback:
		return
	# Begin with a full buffer.
	if _head < _waiting.size() and not _primed:
		_primed = _held >= 0.8 * buffer_seconds * _rate
	while _primed and _head < _waiting.size() and _playback.get_frames_available() >= _waiting[_head].size():
		_playback.push_buffer(_waiting[_head])
		pushed += _waiting[_head].size()
		_held -= _waiting[_head].size()
		_head += 1
	if _head > 64:
		_waiting = _waiting.slice(_head, _waiting.size() - 1) if _head < _waiting.size() else []
		_head = 0
	skips = _playback.get_skips()
