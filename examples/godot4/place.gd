## Rain all around and a fire in one place: layers of one session, each through a player of its own.
##
## The player's own attenuation does what distance does; the session is told only what changes the sound itself. Under
## this node: `Rain` (AudioStreamPlayer) and `Fire` (AudioStreamPlayer3D), each with a SafaStream under it;
## `Rain/SafaStream` opens the session.
extends Node

@export var rain_layer := 0
@export var fire_layer := 1
## Whoever hears, such as the camera.
@export var listener: Node3D

@onready var _rain: SafaStream = $Rain/SafaStream
@onready var _fire: SafaStream = $Fire/SafaStream


func _ready() -> void:
	_rain.layer = rain_layer
	_fire.follows = true
	_rain.opened.connect(_opened, CONNECT_ONE_SHOT)


func _opened(_session: String, _token: String) -> void:
	_rain.say("layer.add", {"layer": fire_layer, "prompts": "campfire"})
	_fire.follow(_rain, fire_layer)


func _process(_delta: float) -> void:
	# Far from the fire the rain comes to the fore: the game's state, said sparingly.
	var far := listener.global_position.distance_to($Fire.global_position)
	_rain.glide(rain_layer, clampf(far - 20.0, -12.0, 0.0))
