// An effect that plays a session of a safa-stream server beside its input. It never meets the server: frames come from,
// and events go to, memory that a bridge process (safa-stream bridge) shares with it.
#include "DistrhoPlugin.hpp"

#include "file_mapping.hpp"
#include "parameters.hpp"
#include "reader.hpp"
#include "segment.hpp"

#include <array>
#include <chrono>
#include <map>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

START_NAMESPACE_DISTRHO

using namespace safa;

// Beyond the frames that lie ready: what is between a command's sample and its being heard. A block of the session
// (20 ms), its limiter (5 ms), and what a resampler holds back.
static constexpr double kMarginSeconds = 0.12;
static constexpr double kLongestLatencySeconds = 3.0;
static constexpr double kPatienceSeconds = 30.0;
static constexpr double kBridgeGoneSeconds = 2.0;
static constexpr uint32_t kChunk = 256;
static constexpr const char* kStates[2] = {"prompts", "scene"};

class SafaStream : public Plugin {
public:
    SafaStream() : Plugin(kCount, 0, 2)
    {
        for (uint32_t i = 0; i < kCount; ++i)
            fValues[i] = kDescriptions[i].usual;
    }

protected:
    const char* getLabel() const override { return "safastream"; }
    const char* getDescription() const override { return "Endless soundscapes from a safa-stream server"; }
    const char* getMaker() const override { return "safa-stream"; }
    const char* getLicense() const override { return "Apache-2.0"; }
    uint32_t getVersion() const override { return d_version(1, 0, 0); }
    int64_t getUniqueId() const override { return d_cconst('S', 'a', 'f', 'a'); }

    void initParameter(uint32_t index, DISTRHO_NAMESPACE::Parameter& parameter) override
    {
        const Description& one = kDescriptions[index];
        parameter.symbol = one.symbol;
        parameter.name = one.name;
        parameter.unit = one.unit;
        parameter.description = one.about;
        parameter.ranges.min = one.least;
        parameter.ranges.max = one.most;
        parameter.ranges.def = one.usual;
        parameter.hints = index >= kInputs ? kParameterIsOutput : one.automatable ? kParameterIsAutomatable : 0;
        if (one.form == kSwitch)
            parameter.hints |= kParameterIsBoolean | kParameterIsInteger;
        else if (one.form == kWhole)
            parameter.hints |= kParameterIsInteger;
    }

    void initState(uint32_t index, State& state) override
    {
        state.key = kStates[index];
        state.label = index == 0 ? "Prompts, one a line" : "Scene";
        state.hints = index == 0 ? kStateIsHostWritable : kStateIsOnlyForDSP;
    }

    float getParameterValue(uint32_t index) const override { return fValues[index].load(std::memory_order_relaxed); }

    // Any thread: what changed is told by the next block.
    void setParameterValue(uint32_t index, float value) override
    {
        fValues[index].store(value, std::memory_order_relaxed);
    }

    // States come and go on threads that may wait, never on the audio thread.
    String getState(const char* key) const override
    {
        const std::lock_guard<std::mutex> guard(fStateLock);
        std::string now;
        if (std::strcmp(key, "scene") == 0 && fSegment != nullptr && fSegment->fromBridge.read(now) && sceneIsOurs())
            return String(now.c_str());
        const auto found = fStates.find(key);
        return String(found == fStates.end() ? "" : found->second.c_str());
    }

    void setState(const char* key, const char* value) override
    {
        const std::lock_guard<std::mutex> guard(fStateLock);
        fStates[key] = value;
        writeStates();
    }

    void activate() override
    {
        const double rate = getSampleRate();
        fReader.prepare(rate);
        fLine.assign(2 * static_cast<size_t>(rate * kLongestLatencySeconds + 1), 0.0f);
        fLineAt = 0;
        fLongestBlock = std::max(fLongestBlock, getBufferSize());
        fRolling = -1;
        fTempo = 0;
        if (!makeSegment())
            return;
        setLead();
        fDelay = fLatency;
        fDryNow = value(kDry);
        fWetNow = value(kWet);
        fSegment->rate.store(static_cast<uint32_t>(rate + 0.5), std::memory_order_release);
        fSegment->active.store(1, std::memory_order_release);
    }

    void deactivate() override
    {
        if (fSegment != nullptr)
            fSegment->active.store(0, std::memory_order_release);
    }

    void run(const float** inputs, float** outputs, uint32_t frames) override
    {
        if (fSegment == nullptr) {
            for (int channel = 0; channel < 2; ++channel)
                std::memmove(outputs[channel], inputs[channel], frames * sizeof(float));
            return;
        }
        fLongestBlock = std::max(fLongestBlock, frames);
        setLead();
        tell(frames);
        const bool offline = value(kWait) > 0.5f;
        if (offline)
            wait(frames);
        const bool playing = value(kFollow) < 0.5f || getTimePosition().playing;
        const uint32_t refill = offline ? 1 : fLead / 2;
        const float dry = value(kDry), wet = value(kWet);
        const float dryStep = (dry - fDryNow) / frames, wetStep = (wet - fWetNow) / frames;
        for (uint32_t done = 0; done < frames; done += kChunk) {
            const uint32_t count = std::min(kChunk, frames - done);
            float sound[2][kChunk];
            fReader.read(*fSegment, sound[0], sound[1], count, playing, refill);
            for (uint32_t i = 0; i < count; ++i) {
                const uint32_t at = done + i;
                // A gain that stands is multiplied by as it is: at 1 the session's frames leave unchanged.
                const float dryNow = dryStep == 0.0f ? dry : fDryNow + dryStep * static_cast<float>(at + 1);
                const float wetNow = wetStep == 0.0f ? wet : fWetNow + wetStep * static_cast<float>(at + 1);
                const float turned = static_cast<float>(at + 1) / static_cast<float>(frames);
                for (int channel = 0; channel < 2; ++channel) {
                    fLine[2 * fLineAt + channel] = inputs[channel][at];
                    float input = delayed(fDelay, channel);
                    if (fDelay != fLatency)
                        input += turned * (delayed(fLatency, channel) - input);
                    outputs[channel][at] = dryNow * input + wetNow * sound[channel][i];
                }
                fLineAt = (fLineAt + 1) % (fLine.size() / 2);
            }
        }
        fDelay = fLatency;
        fDryNow = dry;
        fWetNow = wet;
        report(frames);
    }

private:
    float value(uint32_t index) const { return fValues[index].load(std::memory_order_relaxed); }

    float delayed(uint32_t by, int channel) const
    {
        const size_t length = fLine.size() / 2;
        return fLine[2 * ((fLineAt + length - by) % length) + channel];
    }

    // A segment of its own for every instance that is put to use; hosts that only look at the plugin get none.
    bool makeSegment()
    {
        if (fSegment != nullptr)
            return true;
        std::random_device random;
        const std::string name = std::to_string(processId()) + "-" + std::to_string(random()) + ".safa";
        void* memory = fMapping.create(folder() + "/" + name, sizeof(Segment));
        if (memory == nullptr) {
            d_stderr("safa-stream: cannot share memory in %s", folder().c_str());
            return false;
        }
        Segment* segment = static_cast<Segment*>(memory);
        segment->begin(processId());
        const std::lock_guard<std::mutex> guard(fStateLock);
        fSegment = segment;
        writeStates();
        return fMapping.publish();
    }

    // Keys and values, each ended by a zero. Under fStateLock.
    void writeStates()
    {
        if (fSegment == nullptr || fStates.empty())
            return;
        std::string text;
        for (const auto& [key, value] : fStates)
            text += key + '\0' + value + '\0';
        fSegment->fromPlugin.write(text);
    }

    // Whether the bridge's scene is that of the states as they are now; a host may save right after it has set them.
    bool sceneIsOurs() const
    {
        return fSegment->textTaken.load(std::memory_order_acquire) ==
               fSegment->fromPlugin.number.load(std::memory_order_relaxed);
    }

    // Frames that are to lie ready, and the latency that follows from them: a command is in time if it reaches the
    // server before the frames at its sample have been asked for.
    void setLead()
    {
        const double rate = getSampleRate();
        const uint32_t wanted = static_cast<uint32_t>(value(kBuffer) * rate / 1000);
        const uint32_t lead = std::min<uint32_t>(std::max(wanted, 2 * fLongestBlock), kFrames / 2);
        if (lead == fLead && rate == fLeadRate)
            return;
        fLead = lead;
        fLeadRate = rate;
        const uint32_t longest = static_cast<uint32_t>(fLine.size() / 2) - 1;
        fLatency = std::min(lead + static_cast<uint32_t>(kMarginSeconds * rate), longest);
        fSegment->lead.store(fLead, std::memory_order_release);
        fSegment->latency.store(fLatency, std::memory_order_release);
        setLatency(fLatency);
    }

    // What changed since the last block, as events; what finds no room is told later.
    void tell(uint32_t frames)
    {
        const uint32_t attached = fSegment->attached.load(std::memory_order_acquire);
        if (attached != fAttached) {
            fAttached = attached;
            fTold.fill(false);
            fRolling = -1;
            fTempo = 0;
        }
        if (attached == 0)
            return;
        for (uint32_t i = 0; i < kInputs; ++i) {
            const float now = value(i);
            if ((!fTold[i] || now != fSaid[i]) && fSegment->push(kParameterEvent, i, now)) {
                fTold[i] = true;
                fSaid[i] = now;
            }
        }
        const TimePosition& position = getTimePosition();
        const int rolling = position.playing ? 1 : 0;
        if (rolling != fRolling && fSegment->push(kTransportEvent, rolling, static_cast<double>(position.frame))) {
            fRolling = rolling;
            fTempo = 0;
        }
        // Hosts round; what is off by less than a block is no jump.
        const double off = static_cast<double>(position.frame) - static_cast<double>(fNextFrame);
        if (rolling == 1 && fWasRolling && std::fabs(off) > frames) {
            fSegment->push(kJumpEvent, 0, static_cast<double>(fNextFrame), static_cast<double>(position.frame));
            fTempo = 0;
        }
        fWasRolling = rolling == 1;
        fNextFrame = position.frame + frames;
        const TimePosition::BarBeatTick& bbt = position.bbt;
        if (bbt.valid && (bbt.beatsPerMinute != fTempo || bbt.beatsPerBar != fBar)) {
            const double beat = (bbt.bar - 1) * static_cast<double>(bbt.beatsPerBar) + bbt.beat - 1 +
                                (bbt.ticksPerBeat > 0 ? bbt.tick / bbt.ticksPerBeat : 0);
            if (fSegment->push(kTempoEvent, 0, bbt.beatsPerMinute, beat, bbt.beatsPerBar)) {
                fTempo = bbt.beatsPerMinute;
                fBar = bbt.beatsPerBar;
            }
        }
    }

    // Only where the user has said that nobody listens: sleeps until a block's frames are there. Gives up after a
    // while without any, and does not wait again before sound is back.
    void wait(uint32_t frames)
    {
        uint64_t ready = Reader::ready(*fSegment);
        if (ready > 0)
            fGivenUp = false;
        auto patient = std::chrono::steady_clock::now();
        while (ready < frames && !fGivenUp) {
            std::this_thread::sleep_for(std::chrono::microseconds(500));
            // A bridge that comes now wants to hear everything before it begins.
            if (fSegment->attached.load(std::memory_order_relaxed) != fAttached)
                tell(frames);
            const uint64_t now = Reader::ready(*fSegment);
            const auto time = std::chrono::steady_clock::now();
            if (now > ready)
                patient = time;
            ready = now;
            fGivenUp = std::chrono::duration<double>(time - patient).count() > kPatienceSeconds;
        }
    }

    void report(uint32_t frames)
    {
        const uint64_t alive = fSegment->alive.load(std::memory_order_relaxed);
        fSilentFor = alive == fAlive ? fSilentFor + frames : 0;
        fAlive = alive;
        const bool gone = fSilentFor > kBridgeGoneSeconds * getSampleRate() || fAttached == 0;
        const uint32_t status = gone ? static_cast<uint32_t>(kNoBridge) : fSegment->status.load(std::memory_order_relaxed);
        fSegment->processed.fetch_add(frames, std::memory_order_relaxed);
        setParameterValue(kUnderruns, static_cast<float>(fSegment->underruns.load(std::memory_order_relaxed)));
        setParameterValue(kLatency, static_cast<float>(fLatency));
        setParameterValue(kStatus, static_cast<float>(status));
        setParameterValue(kReady, static_cast<float>(1000.0 * Reader::ready(*fSegment) / getSampleRate()));
    }

    std::array<std::atomic<float>, kCount> fValues;
    std::array<float, kInputs> fSaid{};
    std::array<bool, kInputs> fTold{};
    mutable std::mutex fStateLock;
    std::map<std::string, std::string> fStates;
    FileMapping fMapping;
    Segment* fSegment = nullptr;
    Reader fReader;
    // The input, delayed by the latency: frames of two channels in a circle.
    std::vector<float> fLine{0.0f, 0.0f};
    size_t fLineAt = 0;
    uint32_t fLead = 0, fLatency = 0, fDelay = 0, fLongestBlock = 0, fAttached = 0;
    double fLeadRate = 0, fTempo = 0;
    float fBar = 0, fDryNow = 1, fWetNow = 1;
    int fRolling = -1;
    bool fWasRolling = false, fGivenUp = false;
    uint64_t fNextFrame = 0, fAlive = 0, fSilentFor = 0;

    DISTRHO_DECLARE_NON_COPYABLE_WITH_LEAK_DETECTOR(SafaStream)
};

Plugin* createPlugin() { return new SafaStream(); }

END_NAMESPACE_DISTRHO
