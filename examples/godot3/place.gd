# Rain all around and a fire in one place: layers of one session, each through a player of its own.
#
# The player's own attenuation does what distance does; the session is told only what changes the sound itself. Under this
# node: `Rain` (AudioStreamPlayer) and `Fire` (AudioStreamPlayer3D), each with a SafaStream under it; `Rain/SafaStream`
# opens the session.
extends Node

export var rain_layer := 0
export var fire_layer := 1
export(NodePath) var listener  # whoever hears: a Spatial, such as the camera

onready var _rain = $Rain/SafaStream
onready var _fire = $Fire/SafaStream

func _ready() -> void:
	_rain.layer = rain_layer
	_fire.follows = true
	_rain.connect("opened", self, "_opened", [], CONNECT_ONESHOT)

func _opened(_session: String, _token: String) -> void:
	_rain.say("layer.add", {"layer": fire_layer, "prompts": "campfire"})
	# The fire's node waits in `follow` until there is something to join.
	_fire.follow(_rain, fire_layer)

func _process(_delta: float) -> void:
	# Far from the fire the rain comes to the fore: the game's state, said sparingly.
	var far: float = get_node(listener).global_transform.origin.distance_to($Fire.global_transform.origin)
	_rain.glide(rain_layer, clamp(far - 20.0, -12.0, 0.0))
