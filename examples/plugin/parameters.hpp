// The plugin's parameters, in the order that hosts and the bridge count them (server/safa_server/bridge/parameters.py).
#pragma once

#include <cstdint>

namespace safa {

enum Parameter : uint32_t {
    kDry, kWet, kGain,
    kWeight1, kWeight2, kWeight3, kWeight4, kWeight5, kWeight6,
    kXy, kX, kY,
    kMorph, kGuidance, kFreeze, kNow, kSeed,
    kLayer1, kLayer2, kLayer3, kLayer4,
    kFollow, kWait, kBuffer, kNumber,
    kInputs,
    kUnderruns = kInputs, kLatency, kStatus, kReady,
    kCount
};

enum Form : uint32_t { kReal, kWhole, kSwitch };

struct Description {
    const char *symbol, *name, *unit;
    float least, most, usual;
    Form form;
    bool automatable;
    const char* about;
};

constexpr Description kDescriptions[kCount] = {
    {"dry", "Dry", "", 0, 1, 1, kReal, true, "How much of the input is heard, delayed by the reported latency."},
    {"wet", "Wet", "", 0, 1, 1, kReal, true, "How much of the session is heard."},
    {"gain", "Gain", "dB", -60, 12, 0, kReal, true, "The session's master gain; -60 is silence."},
    {"weight_1", "Weight 1", "", 0, 1, 1, kReal, true, "How much of the first prompt."},
    {"weight_2", "Weight 2", "", 0, 1, 0, kReal, true, "How much of the second prompt."},
    {"weight_3", "Weight 3", "", 0, 1, 0, kReal, true, "How much of the third prompt."},
    {"weight_4", "Weight 4", "", 0, 1, 0, kReal, true, "How much of the fourth prompt."},
    {"weight_5", "Weight 5", "", 0, 1, 0, kReal, true, "How much of the fifth prompt."},
    {"weight_6", "Weight 6", "", 0, 1, 0, kReal, true, "How much of the sixth prompt."},
    {"xy", "XY", "", 0, 1, 0, kReal, true, "From the weights (0) to what the point X, Y means between the prompts (1)."},
    {"x", "X", "", 0, 1, 0.5f, kReal, true, "The point on the blend surface, left to right."},
    {"y", "Y", "", 0, 1, 0.5f, kReal, true, "The point on the blend surface, top to bottom."},
    {"morph", "Morph", "s", 0, 60, 4, kReal, true, "How long a change of prompts takes."},
    {"guidance", "Guidance", "", 0, 10, 0, kReal, true, "How closely to follow the words; 0 is the model's own."},
    {"freeze", "Freeze", "", 0, 1, 0, kSwitch, true, "Holds the scene: morphs stand still."},
    {"now", "Now", "", 0, 1, 0, kSwitch, true, "Prompts change as soon as one view can be made, not with the next one."},
    {"seed", "Seed", "", 0, 999, 0, kWhole, true, "Another seed: the same words, another place."},
    {"layer_1", "Layer 1", "dB", -60, 12, 0, kReal, true, "Gain of the first layer."},
    {"layer_2", "Layer 2", "dB", -60, 12, 0, kReal, true, "Gain of the second layer."},
    {"layer_3", "Layer 3", "dB", -60, 12, 0, kReal, true, "Gain of the third layer."},
    {"layer_4", "Layer 4", "dB", -60, 12, 0, kReal, true, "Gain of the fourth layer."},
    {"follow", "Follow transport", "", 0, 1, 0, kSwitch, false, "The session runs while the host's transport rolls."},
    {"wait", "Wait (offline)", "", 0, 1, 0, kSwitch, false, "For rendering: waits for the sound, 30 s at most. Never live."},
    {"buffer", "Buffer", "ms", 20, 2000, 200, kReal, false, "Sound kept ready; more rides out longer stalls."},
    {"number", "Number", "", 1, 16, 1, kWhole, false, "Tells instances apart in the bridge's prompts file."},
    {"underruns", "Underruns", "", 0, 1000000, 0, kWhole, false, "Times that sound was not there when it was due."},
    {"control_latency", "Control latency", "", 0, 400000, 0, kWhole, false, "Frames from a control to its sound, as told to the host."},
    {"status", "Status", "", 0, 3, 0, kWhole, false, "0 no bridge, 1 connecting, 2 playing, 3 server away."},
    {"ready", "Ready", "ms", 0, 60000, 0, kReal, false, "Sound that is ready in the ring."},
};

}  // namespace safa
