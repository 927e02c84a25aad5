// Frames from the ring as sound: unchanged, but for what is around silence. When frames run out the last one fades to
// zero, and the first ones after a silence fade in, so nothing ever steps. The audio thread's: it counts and copies.
#pragma once

#include "segment.hpp"

#include <algorithm>
#include <cmath>

namespace safa {

class Reader {
public:
    static constexpr uint32_t kLongestFade = 1024;
    static constexpr double kPi = 3.14159265358979323846;

    // Not on the audio thread. A fade takes 5 ms: too short to hear as a fade, too long to click.
    void prepare(double rate)
    {
        fFade = std::min(kLongestFade, static_cast<uint32_t>(rate * 0.005));
        for (uint32_t i = 0; i < fFade; ++i) {
            const double c = std::cos(kPi / 2 * (i + 1) / fFade);
            fFalling[i] = static_cast<float>(c * c);
        }
        fSounding = fStarved = false;
        fFallen = fFade;
    }

    // Frames that could be delivered now.
    static uint64_t ready(const Segment& segment)
    {
        const uint64_t discard = segment.discard.load(std::memory_order_acquire);
        const uint64_t written = segment.written.load(std::memory_order_acquire);
        const uint64_t from = std::max(discard, segment.read.load(std::memory_order_relaxed));
        const bool ours = segment.fedRate.load(std::memory_order_acquire) == segment.rate.load(std::memory_order_relaxed);
        return ours && written > from ? written - from : 0;
    }

    // Fills left and right. playing: false lets the sound fade and keeps the frames; refill: frames that have to be
    // there before sound begins, so that one gap does not become many.
    void read(Segment& segment, float* left, float* right, uint32_t count, bool playing, uint32_t refill)
    {
        uint64_t at = segment.read.load(std::memory_order_relaxed);
        const uint64_t discard = segment.discard.load(std::memory_order_acquire);
        if (at < discard) {
            at = discard;
            fall();
        }
        segment.read.store(at, std::memory_order_relaxed);
        const bool resting = segment.resting.load(std::memory_order_relaxed) != 0;
        const uint64_t there = playing ? ready(segment) : 0;
        if (!fSounding && there > 0 && (there >= refill || resting)) {
            fSounding = true;
            fStarved = false;
            fRisen = 0;
        }
        const uint32_t delivered = fSounding ? static_cast<uint32_t>(std::min<uint64_t>(count, there)) : 0;
        for (uint32_t i = 0; i < delivered; ++i) {
            const float* frame = segment.sound + 2 * ((at + i) % kFrames);
            float gain = 1.0f;
            if (fRisen < fFade) {
                gain = fFalling[fFade - 1 - fRisen];
                // A session begins with the silence that its limiter looks ahead; the fade waits for what follows.
                fRisen += fRisen > 0 || frame[0] != 0.0f || frame[1] != 0.0f;
            }
            fEnd[0] = left[i] = gain * frame[0] + tail(0);
            fEnd[1] = right[i] = gain * frame[1] + tail(1);
            fFallen += fFallen < fFade;
        }
        if (delivered < count) {
            if (fSounding) {
                fall();
                fStarved = playing && !resting;
                if (fStarved)
                    segment.underruns.fetch_add(1, std::memory_order_relaxed);
            }
            if (fStarved)
                segment.missing.fetch_add(count - delivered, std::memory_order_relaxed);
        }
        for (uint32_t i = delivered; i < count; ++i) {
            left[i] = tail(0);
            right[i] = tail(1);
            fFallen += fFallen < fFade;
        }
        // Events of this block were stored before: who sees this index sees them.
        segment.read.store(at + delivered, std::memory_order_release);
    }

private:
    float tail(int channel) const { return fFallen < fFade ? fTail[channel] * fFalling[fFallen] : 0.0f; }

    void fall()
    {
        if (!fSounding)
            return;
        fSounding = false;
        fTail[0] = fEnd[0];
        fTail[1] = fEnd[1];
        fFallen = 0;
    }

    uint32_t fFade = 1, fFallen = 1, fRisen = 0;
    bool fSounding = false, fStarved = false;
    float fEnd[2] = {0, 0}, fTail[2] = {0, 0};
    float fFalling[kLongestFade] = {};
};

}  // namespace safa
