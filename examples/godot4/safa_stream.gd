## A live soundscape in Godot 4: hears a session of `safa-stream serve` through the player that is its parent, and steers it.
##
## Put this node under an AudioStreamPlayer, AudioStreamPlayer2D or AudioStreamPlayer3D; the player's stream is made here.
## One node opens a session (or joins the one that is given); others [method follow] it, each with the layer heard at its
## place. The server's lead and the generator's buffer carry it through pictures that take long.
class_name SafaStream
extends Node

signal opened(session: String, token: String)
## Whatever the session tells: "applied", "view", "bed.began", ...
signal event(message: Dictionary)
## An error's code, field and reason.
signal refused(message: Dictionary)
## That the server could not send.
signal lost(samples: int)
## Over; nothing is tried again.
signal ended(reason: String)

const HEADER := 48
const MAGIC := 0x41464153 # "SAFA"
const ACK_EVERY := 10
const RETRY: Array[float] = [0.2, 0.5, 1.0, 2.0, 4.0]

@export var url := "ws://127.0.0.1:8600/ws"
@export var server_token := ""
@export_multiline var prompt := "rain on a tent, distant thunder:0.4"
## Empty: open one.
@export var session := ""
## Of the session; with it, it can be steered from here.
@export var token := ""
## Hear this layer alone; -1: all.
@export var layer := -1
## Wait for [method follow] instead of opening a session.
@export var follows := false
@export var buffer_seconds := 0.5

## Frames that the player was given.
var pushed := 0
## Times that it found nothing to play, since it began.
var skips := 0

var _socket: WebSocketPeer
var _greeted := false
var _playback: AudioStreamGeneratorPlayback
var _rate := 48000
var _waiting: Array[PackedVector2Array] = []
var _held := 0
var _primed := false
var _sequence := -1
var _number := 0
var _opening := 0
var _attempt := 0
var _wait := 0.0
var _over := false
var _said := {}


func _ready() -> void:
	_rate = int(AudioServer.get_mix_rate())
	var generator := AudioStreamGenerator.new()
	generator.mix_rate = _rate
	generator.buffer_length = buffer_seconds
	var player := get_parent()
	player.stream = generator
	player.play()
	_playback = player.get_stream_playback()


func _exit_tree() -> void:
	_over = true
	if _socket:
		_socket.close()


## Hear a layer of the session that another node has, once that is open.
func follow(other: Node, its_layer: int) -> void:
	layer = its_layer
	if other.session == "":
		await other.opened
	session = other.session
	token = other.token
	follows = false


## Send a message of server/PROTOCOL.md; returns its id, which the answer carries. 0: there is no connection.
func say(type: String, fields := {}) -> int:
	if not _socket or _socket.get_ready_state() != WebSocketPeer.STATE_OPEN:
		return 0
	_number += 1
	var message: Dictionary = fields.duplicate()
	message["type"] = type
	message["id"] = _number
	_socket.send_text(JSON.stringify(message))
	return _number


## Move a layer to other words.
func morph(words: String, seconds := 4.0, now := false, its_layer := 0) -> int:
	return say("prompt", {"prompts": words, "morph": seconds, "now": now, "layer": its_layer})


## A gain (dB) that changes in every picture: said at most ten times a second, and only when it has moved by half a dB.
func glide(its_layer: int, gain: float, every := 0.1, least := 0.5) -> void:
	var now := Time.get_ticks_msec() / 1000.0
	var last: Array = _said.get(its_layer, [])
	if last and (now - last[1] < every or absf(gain - last[0]) < least):
		return
	if say("mix", {"layer": its_layer, "gain": gain, "ramp": every}):
		_said[its_layer] = [gain, now]


func _dial() -> void:
	_socket = WebSocketPeer.new()
	_greeted = false
	_socket.supported_protocols = PackedStringArray(["safa.v1"])
	# A picture that takes a second must not cost sound: room for five seconds of frames.
	_socket.inbound_buffer_size = 1 << 21
	_socket.max_queued_packets = 512
	if server_token != "":
		_socket.handshake_headers = PackedStringArray(["Authorization: Bearer " + server_token])
	if _socket.connect_to_url(url) != OK:
		_dropped()


func _greet() -> void:
	_greeted = true
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


## A lost connection is taken up again: the server sends what followed the last frame that came.
func _dropped() -> void:
	_socket = null
	_wait = RETRY[mini(_attempt, RETRY.size() - 1)]
	_attempt += 1


func _process(delta: float) -> void:
	if _socket:
		_poll()
	elif not _over and not follows:
		_wait -= delta
		if _wait <= 0.0:
			_dial()
	_feed()


func _poll() -> void:
	_socket.poll()
	if _socket.get_ready_state() == WebSocketPeer.STATE_OPEN and not _greeted:
		_greet()
	while _socket and _socket.get_available_packet_count() > 0:
		var packet := _socket.get_packet()
		if _socket.was_string_packet():
			_message(JSON.parse_string(packet.get_string_from_utf8()))
		else:
			_frame(packet)
	if _socket and _socket.get_ready_state() == WebSocketPeer.STATE_CLOSED:
		_dropped()


func _message(message: Dictionary) -> void:
	match message["type"]:
		"opened":
			session = message["session"]
			if message["token"]:
				token = message["token"]
			opened.emit(session, token)
		"error":
			refused.emit(message)
			if int(message.get("id", 0)) == _opening:
				_end(message["reason"])
		"dropped":
			lost.emit(int(message["samples"]))
		_:
			event.emit(message)


func _end(reason: String) -> void:
	_over = true
	_socket.close()
	_socket = null
	ended.emit(reason)


func _frame(packet: PackedByteArray) -> void:
	if packet.size() < HEADER or packet.decode_u32(0) != MAGIC:
		return
	var sequence := packet.decode_u64(16)
	if sequence <= _sequence:
		return # sent again after a lost connection, and here already
	_sequence = sequence
	_attempt = 0
	if sequence % ACK_EVERY == 0:
		_socket.send_text(JSON.stringify({"type": "ack", "sequence": sequence}))
	var samples := packet.slice(HEADER).to_float32_array()
	var block := PackedVector2Array()
	block.resize(packet.decode_u32(12))
	for n in block.size():
		block[n] = Vector2(samples[2 * n], samples[2 * n + 1])
	_waiting.append(block)
	_held += block.size()


func _feed() -> void:
	if not _playback:
		return
	# Begin with a full buffer.
	if _waiting and not _primed:
		_primed = _held >= 0.8 * buffer_seconds * _rate
	while _primed and _waiting and _playback.get_frames_available() >= _waiting[0].size():
		var block: PackedVector2Array = _waiting.pop_front()
		_playback.push_buffer(block)
		pushed += block.size()
		_held -= block.size()
	skips = _playback.get_skips()
